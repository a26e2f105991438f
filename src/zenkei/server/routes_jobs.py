"""Jobs: list, show, why one waits, and what people do to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from zenkei import spec as specs
from zenkei.api import views
from zenkei.api.requests import Cancel, CancelMany, Edit, ListQuery, Rerun
from zenkei.control.queries import JobView
from zenkei.model.access import Principal
from zenkei.model.errors import InvalidInput
from zenkei.model.ids import WHOLE, JobId
from zenkei.model.job import Job, JobState
from zenkei.ports.store import JobFilter
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.follow_array import array_view
from zenkei.server.services import Services, in_thread

router = APIRouter()
AS_THE_JOB_SAYS = Cancel()
NO_KEY = Rerun()
Done = Callable[[Principal, JobId], tuple[Job, ...]]


@router.get("/v1/jobs")
async def list_jobs(svc: Svc, who: Who, query: Annotated[ListQuery, Query()]) -> Response:
    """Newest first; `arrays` has the states of all members of each array that has some here.

    lines: of each array only its newest member that fits, with the time of the last change.
    """
    where = JobFilter(
        states=_states(query.state),
        owner=query.owner,
        project=query.project,
        queue=query.queue,
        name=query.name,
        number=query.number,
    )

    def read() -> dict[str, Any]:
        if query.lines:
            lines = svc.queries.lines(who, where, cursor=query.cursor, limit=query.limit)
            found, older = [(line.newest, line.changed_us) for line in lines.items], lines.next
        else:
            page = svc.queries.jobs(who, where, cursor=query.cursor, limit=query.limit)
            found, older = [(row, row.changed_us) for row in page.items], page.next
        counts = svc.queries.counts_of({r.id.number for r, _ in found if r.id.member != WHOLE})
        return {
            "jobs": [_row(svc, row) | {"changed_us": at_us} for row, at_us in found],
            "next": older,
            "arrays": {str(number): states for number, states in counts.items()},
        }

    return Json(await in_thread(read))


@router.get("/v1/jobs/{job}")
async def show_job(svc: Svc, who: Who, job: JobText) -> Response:
    """Everything about a job; of a whole array, its members."""
    found = await job_id(svc, who, job)

    def read() -> dict[str, Any]:
        rows = svc.queries.rows(who, found)
        if rows[0].id.member != WHOLE and found.member == WHOLE:
            counts = Counter(row.state for row in rows)
            members = [_row(svc, row) for row in rows]
            return array_view(rows) | {"states": counts, "jobs": members}
        kept = svc.results.reproduction.verdicts(who, found)
        return _everything(svc.queries.show(who, found)) | {"verdicts": kept}

    return Json(await in_thread(read))


@router.get("/v1/jobs/{job}/explain")
async def explain_job(svc: Svc, who: Who, job: JobText) -> Response:
    """Why a job waits, with numbers. `reason` is null if it does not wait for the planner."""
    found = await job_id(svc, who, job)

    def read() -> dict[str, Any]:
        row = svc.queries.row(who, found)
        reason, explanation = svc.queries.reason(row), svc.queries.explain(who, found)
        return {
            "job": views.job_row(row),
            "reason": views.reason_view(reason),
            "explanation": views.explanation_view(explanation),
        }

    return Json(await in_thread(read))


@router.post("/v1/jobs/{job}/cancel")
async def cancel_job(
    svc: Svc, who: Who, job: JobText, body: Annotated[Cancel, Body()] = AS_THE_JOB_SAYS
) -> Response:
    """End a job, or all members of an array, for good."""
    found = await job_id(svc, who, job)
    rows = await in_thread(svc.commands.cancel, who, found, grace_s=body.grace_s)
    return Json({"jobs": [views.job_row(row) for row in rows]})


@router.post("/v1/cancel")
async def cancel_jobs(svc: Svc, who: Who, body: Annotated[CancelMany, Body()]) -> Response:
    """End all jobs that fit. `others`: how many more fit and are not the caller's to end."""
    where = JobFilter(
        states=_states(body.state),
        owner=body.user,
        project=body.project,
        queue=body.queue,
        name=body.name,
    )
    found = await in_thread(
        svc.commands.cancel_matching,
        who,
        where,
        grace_s=body.grace_s,
        newest=body.newest,
        dry_run=body.dry_run,
    )
    states = Counter(row.state for row in found.jobs)
    return Json(
        {
            "jobs": [str(row.id) for row in found.jobs],
            "states": states,
            "others": found.others,
            "newest": found.newest,
            "dry_run": body.dry_run,
        }
    )


@router.post("/v1/jobs/{job}/edit")
async def edit_job(svc: Svc, who: Who, job: JobText, body: Annotated[Edit, Body()]) -> Response:
    """Let it, or those members that wait, ask for something else."""
    found = await job_id(svc, who, job)
    rows = await in_thread(svc.commands.edit, who, found, body.changes)
    return Json({"jobs": [views.job_row(row) for row in rows]})


@router.post("/v1/jobs/{job}/hold")
async def hold_job(svc: Svc, who: Who, job: JobText) -> Response:
    """Keep it from starting; stop it if it runs."""
    return await _do(svc, who, job, svc.commands.hold)


@router.post("/v1/jobs/{job}/release")
async def release_job(svc: Svc, who: Who, job: JobText) -> Response:
    """Let it go on."""
    return await _do(svc, who, job, svc.commands.release)


@router.post("/v1/jobs/{job}/rerun", status_code=201)
async def rerun_job(
    svc: Svc, who: Who, job: JobText, body: Annotated[Rerun, Body()] = NO_KEY
) -> Response:
    """A new job with all that this one had: spec, code, environment lock, data versions, seed."""
    found = await job_id(svc, who, job)
    jobs = await in_thread(svc.commands.rerun, who, found, request_key=body.request_key)
    first = jobs[0]
    made = first if first.member == WHOLE else JobId(first.number)
    return Json({"id": str(made), "jobs": [str(one) for one in jobs]}, status_code=201)


async def _do(svc: Services, who: Principal, text: str, command: Done) -> Response:
    found = await job_id(svc, who, text)
    rows = await in_thread(command, who, found)
    return Json({"jobs": [views.job_row(row) for row in rows]})


def _row(svc: Services, row: Job) -> views.View:
    """A line of a list: with the planner's reason where the job waits for it."""
    view = views.job_row(row)
    reason = svc.queries.reason(row)
    view["reason"] = reason.text if reason is not None else None
    return view


def _everything(view: JobView) -> dict[str, Any]:
    shown = views.job_row(view.job)
    shown["reason"] = view.reason.text if view.reason is not None else None
    return shown | {
        "cause": views.cause_view(view.job),
        "digests": views.digests(view.job),
        "git": views.git_view(view.git),
        "spec": orjson.loads(specs.canonical(view.spec)),
        "attempts": [views.attempt_view(attempt) for attempt in view.attempts],
        "after": [{"job": str(d.job), "after": d.after} for d in view.dependencies],
        "waits": views.reason_view(view.reason),
        "result": views.result_view(view.result),
        "usage": view.usage,
        "checkpoints": [views.checkpoint_view(point) for point in view.checkpoints],
        "progress": view.progress,
        "origin": view.origin,
    }


def _states(text: str) -> frozenset[JobState]:
    try:
        return frozenset(JobState(part) for part in text.split(",") if part)
    except ValueError:
        raise InvalidInput(
            "bad-state",
            f"`{text[:100]}` is not a list of states",
            hint=f"states: {', '.join(JobState)}",
        ) from None
