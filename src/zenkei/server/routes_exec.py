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
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.wording import count
from zenkei.ports.upkeep import Running
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import Sse, stream

router = APIRouter()


class Execute(Form):
    """node: place in the attempt's list of nodes. rank: of the whole job; it decides the node, and

    the command gets its variables. input: base64 of its standard input.
    """

    command: list[str] = Field(min_length=1, max_length=10_000)
    node: int = Field(default=0, ge=0, lt=limits.NODES)
    rank: int | None = Field(default=None, ge=0, lt=1_000_000)
    input: str = Field(default="", max_length=200_000)


@router.post("/v1/jobs/{job}/exec")
async def execute(svc: Svc, who: Who, job: JobText, body: Annotated[Execute, Body()]) -> Response:
    """Events `begin`, `out`, `err` ({"data": base64}), `exit` ({"code"}; negative: a signal)."""
    found = await job_id(svc, who, job)
    given = _decoded(body.input)
    attempt = await in_thread(_running, svc, who, found)
    node, local = await in_thread(_where, svc, who, found, body)
    argv = tuple(body.command)
    running = await in_thread(svc.keeping.execute, attempt, node, local, argv, given)
    # told at once: from here on the client's going away is noticed, however silent the command is
    begin = Sse("begin", {"attempt": str(attempt), "node": node})
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


def _where(svc: Services, who: Principal, job: JobId, body: Execute) -> tuple[int, int]:
    """Node, and rank there."""
    if body.rank is None:
        return body.node, 0
    asked = svc.queries.spec(who, job).resources
    ranks = max(1, asked.ranks)
    if body.rank >= asked.nodes * ranks:
        raise NotFound(
            "no-such-rank",
            f"job {job} has no rank {body.rank}",
            hint=f"it has {count(asked.nodes * ranks, 'rank')}, counted from 0",
        )
    return divmod(body.rank, ranks)


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
