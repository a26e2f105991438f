"""A command beside the ranks of a running job: its output and end as a stream of events."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from zenkei.api import limits
from zenkei.api.requests import Body as Form
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.errors import Conflict, Denied, InvalidInput
from zenkei.model.ids import AttemptId, JobId
from zenkei.ports.upkeep import Running
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import Sse, stream

router = APIRouter()


class Execute(Form):
    """node: place in the attempt's list of nodes. input: base64 of its standard input."""

    command: list[str] = Field(min_length=1, max_length=10_000)
    node: int = Field(default=0, ge=0, lt=limits.NODES)
    input: str = Field(default="", max_length=200_000)


@router.post("/v1/jobs/{job}/exec")
async def execute(svc: Svc, who: Who, job: JobText, body: Annotated[Execute, Body()]) -> Response:
    """Events `begin`, `out`, `err` ({"data": base64}), `exit` ({"code"}; negative: a signal)."""
    found = await job_id(svc, who, job)
    given = _decoded(body.input)
    attempt = await in_thread(_running, svc, who, found)
    running = await in_thread(svc.keeping.execute, attempt, body.node, tuple(body.command), given)
    # told at once: from here on the client's going away is noticed, however silent the command is
    begin = Sse("begin", {"attempt": str(attempt), "node": body.node})
    return await stream(begin, _messages(running), f"exec {attempt}")


async def _messages(running: Running) -> AsyncIterator[Sse]:
    """When the client goes away the wait is abandoned and the command is ended."""
    try:
        while True:
            one = await anyio.to_thread.run_sync(running.next, abandon_on_cancel=True)
            if one is None:
                return
            yield Sse(one[0], _body(*one))
    finally:
        running.close()


def _body(kind: str, data: bytes) -> dict[str, Any]:
    if kind == "exit":
        return {"code": int(data)}
    return {"data": base64.b64encode(data).decode("ascii")}


def _running(svc: Services, who: Principal, job: JobId) -> AttemptId:
    row = svc.queries.row(who, job)
    if not can(who, Verb.CONTROL, Target(owner=row.owner, project=row.project)):
        raise Denied("may-not-control", f"{who.name} may not run commands in job {job}")
    if not row.state.holds_allocation:
        raise Conflict(
            "job-not-running",
            f"job {job} is {row.state}: there is nothing to run a command in",
            hint=f"`zenkei show {job}`",
        )
    return AttemptId(row.id, row.attempt)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput("bad-request", "`input` is not base64") from None
