"""Verdicts on repeated runs, what differs between two jobs, names and lineage of results.

What reads files (verdict, difference) answers as a stream that stays alive however long it takes;
its last event `done` has the answer.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.responses import Response

from zenkei.api.requests import Body as Form
from zenkei.control.lineage import Lineage
from zenkei.model.ids import JobId
from zenkei.model.verdict import Tolerance
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.lineagesvg import svg
from zenkei.server.services import in_thread
from zenkei.server.working import Said, work

router = APIRouter()
Attempt = Annotated[int, Query(ge=0, lt=10**6)]
Distance = Annotated[float, Field(ge=0, le=1e300, allow_inf_nan=False)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Other = Annotated[str, Query(min_length=1, max_length=40)]
Name = Annotated[str, Field(max_length=100)]
Project = Annotated[str, Query(max_length=200)]
Id = Annotated[str, Field(min_length=1, max_length=40)]


class ToleranceForm(Form):
    """How far apart two numbers may lie: |a - b| ≤ t · max(|a|, |b|), or |a - b| ≤ t.

    named: t of metrics and paths that fit a pattern; ignored: those that are not compared.
    """

    everywhere: Distance = 0.0
    named: dict[Pattern, Distance] = Field(default_factory=dict, max_length=100)
    ignored: list[Pattern] = Field(default_factory=list, max_length=100)

    def value(self) -> Tolerance:
        return Tolerance(
            everywhere=self.everywhere,
            named=tuple(self.named.items()),
            ignored=tuple(self.ignored),
        )


class Judge(Form):
    """against: the job that repeats the one of the path."""

    against: Id
    tolerance: ToleranceForm = ToleranceForm()


class ResultDiff(Form):
    """other: the job to compare with."""

    other: Id
    tolerance: ToleranceForm = ToleranceForm()


class TagResult(Form):
    """attempt 0: the last one."""

    attempt: int = Field(default=0, ge=0, lt=10**6)


LAST = TagResult()


@router.post("/v1/jobs/{job}/verdict")
async def judge(svc: Svc, who: Who, job: JobText, body: Annotated[Judge, Body()]) -> Response:
    """Compare a job with one that repeats it; the verdict is kept with both.

    `verdict` is null while another job (`waits_for`) looks into checkpoints: ask again after it.
    """
    first, second = await job_id(svc, who, job), await job_id(svc, who, body.against)
    tolerance = body.tolerance.value()

    def do(_said: Said) -> dict[str, Any]:
        found = svc.results.reproduction.judge(who, first, second, tolerance)
        waits = isinstance(found, JobId)
        return {"verdict": None if waits else found, "waits_for": str(found) if waits else None}

    return await work("verdict", do)


@router.get("/v1/jobs/{job}/verdicts")
async def verdicts(svc: Svc, who: Who, job: JobText) -> Response:
    """All verdicts in which the job is one of the two, oldest first."""
    found = await job_id(svc, who, job)
    kept = await in_thread(svc.results.reproduction.verdicts, who, found)
    return Json({"job": str(found), "verdicts": kept})


@router.get("/v1/jobs/{job}/differences")
async def differences(svc: Svc, who: Who, job: JobText, other: Other) -> Response:
    """What is not the same about two jobs, by subject, most suspicious first."""
    first, second = await job_id(svc, who, job), await job_id(svc, who, other)

    def do(_said: Said) -> dict[str, Any]:
        found = svc.results.differences.diff(who, first, second)
        sections = [
            {"subject": subject, "changes": changes} for subject, changes in found.sections.items()
        ]
        return {
            "a": str(first),
            "b": str(second),
            "sections": sections,
            "code": found.code,
            "same": found.same,
            "unknown": found.unknown,
            "left": found.left,
        }

    return await work("differences", do)


@router.post("/v1/jobs/{job}/result/diff")
async def result_diff(
    svc: Svc, who: Who, job: JobText, body: Annotated[ResultDiff, Body()]
) -> Response:
    """Metrics and files of two jobs, whatever they are; nothing is kept."""
    first, second = await job_id(svc, who, job), await job_id(svc, who, body.other)
    tolerance = body.tolerance.value()

    def do(_said: Said) -> dict[str, Any]:
        found = svc.results.reproduction.compare(who, first, second, tolerance)
        return {"a": str(first), "b": str(second), "comparison": found}

    return await work("result-diff", do)


@router.delete("/v1/jobs/{job}/result")
async def remove_result(svc: Svc, who: Who, job: JobText, attempt: Attempt = 0) -> Response:
    """Give up the files of a result; the record stays."""
    found = await job_id(svc, who, job)
    gone = await in_thread(svc.results.commands.remove, who, found, attempt)
    return Json({"attempt": gone.attempt, "files": gone.files, "size_bytes": gone.size_bytes})


@router.put("/v1/jobs/{job}/result/tags/{name}")
async def tag_result(
    svc: Svc, who: Who, job: JobText, name: str, body: Annotated[TagResult, Body()] = LAST
) -> Response:
    """Let a name of the job's project mean this result; it is taken from another one."""
    found = await job_id(svc, who, job)
    return Json(await in_thread(svc.results.commands.tag, who, found, body.attempt, name))


@router.get("/v1/jobs/{job}/result/tags")
async def tags_of_result(svc: Svc, who: Who, job: JobText) -> Response:
    """Names that mean a result of this job."""
    found = await job_id(svc, who, job)
    return Json({"tags": await in_thread(svc.results.commands.tags_of, who, found)})


@router.get("/v1/result-tags")
async def result_tags(svc: Svc, who: Who, project: Project = "") -> Response:
    """All names of results, by project and name."""
    return Json({"tags": await in_thread(svc.results.commands.tags, who, project)})


@router.get("/v1/result-tags/{name}")
async def tag_history(svc: Svc, who: Who, name: str, project: Project = "") -> Response:
    """What a name has meant, oldest first."""
    found = await in_thread(svc.results.commands.history, who, project, name)
    return Json({"tag": name, "history": found})


@router.delete("/v1/result-tags/{name}")
async def untag_result(svc: Svc, who: Who, name: str, project: Project = "") -> Response:
    """Take a name away; its history stays."""
    return Json(await in_thread(svc.results.commands.untag, who, project, name))


@router.get("/v1/jobs/{job}/lineage")
async def lineage(svc: Svc, who: Who, job: JobText, picture: bool = False) -> Response:
    """What a result came from and what came of it. picture: as SVG."""
    found = await job_id(svc, who, job)
    graph: Lineage = await in_thread(svc.results.lineage.lineage, who, found)
    if picture:
        return Response(svg(graph), media_type="image/svg+xml")
    return Json(graph)
