"""Checkpoints of a job: listed, asked for; and preemption, which asks for one before the stop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from zenkei.api import limits, views
from zenkei.api.requests import Body as Form
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.services import in_thread

router = APIRouter()


class Preempt(Form):
    """grace_s: between SIGTERM and SIGKILL. checkpoint_s: time to save one before. Absent: the

    job's own.
    """

    grace_s: float | None = Field(default=None, ge=0, le=limits.GRACE_S, allow_inf_nan=False)
    checkpoint_s: float | None = Field(default=None, ge=0, le=limits.GRACE_S, allow_inf_nan=False)


AS_THE_JOB_SAYS = Preempt()


@router.post("/v1/jobs/{job}/preempt")
async def preempt_job(
    svc: Svc, who: Who, job: JobText, body: Annotated[Preempt, Body()] = AS_THE_JOB_SAYS
) -> Response:
    """Checkpoint, stop, back into the line: the operator takes the devices."""
    found = await job_id(svc, who, job)
    rows = await in_thread(
        svc.commands.preempt, who, found, grace_s=body.grace_s, checkpoint_s=body.checkpoint_s
    )
    return Json({"jobs": [views.job_row(row) for row in rows]})


@router.get("/v1/jobs/{job}/checkpoints")
async def checkpoints(svc: Svc, who: Who, job: JobText) -> Response:
    """All checkpoints of a job, in the order in which they were saved."""
    found = await job_id(svc, who, job)

    def read() -> dict[str, Any]:
        rows = svc.queries.rows(who, found)
        points = [point for row in rows for point in svc.queries.checkpoints(who, row.id)]
        return {"checkpoints": [views.checkpoint_view(point) for point in points]}

    return Json(await in_thread(read))


@router.post("/v1/jobs/{job}/checkpoints")
async def ask_checkpoint(svc: Svc, who: Who, job: JobText) -> Response:
    """Ask a running job to save one and go on; its events tell what comes of it."""
    found = await job_id(svc, who, job)
    asked = await in_thread(svc.commands.ask_checkpoint, who, found)
    return Json({"asked": [str(attempt) for attempt in asked]})
