"""POST /v1/jobs: submit, and with follow=1 the job's events as the answer.

One request from command to first line of output: the client reads the answer until the job ends.
While the working tree is read the answer has not begun, so errors have their status; if that takes
long, the stream begins with progress instead and an error is its last event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from zenkei.api.requests import Flags, SubmitQuery
from zenkei.model.access import Principal
from zenkei.model.errors import InvalidInput
from zenkei.server.asking import Svc, Who, path_query
from zenkei.server.errors import Json
from zenkei.server.follow import JobFollower, Position, Wish
from zenkei.server.follow_array import ArrayFollower
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import KEEP_ALIVE, Sse, stream
from zenkei.server.submission import Ask, Made, submit

router = APIRouter()
PATIENCE_S = 0.3
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": Flags.model_json_schema()},
        },
    }
}


@router.post("/v1/jobs", status_code=201, openapi_extra=BODY)
async def submit_job(
    request: Request,
    svc: Svc,
    who: Who,
    query: Annotated[SubmitQuery, Query()],
) -> Response:
    """Body: a job file (application/yaml), or flags and a command (application/json)."""
    ask = Ask(
        body=await request.body(),
        flags=_is_flags(request),
        source=path_query(request, "source"),
        file=path_query(request, "file") or "job.yaml",
        hold=query.hold,
        key=query.key,
        is_home=query.home,
    )
    said: list[str] = []
    work = asyncio.ensure_future(in_thread(submit, svc, who, ask, said.append))
    if not query.follow:
        return Json((await work).view(), status_code=201)
    done, _pending = await asyncio.wait({work}, timeout=PATIENCE_S)
    if done:
        return await stream(None, _followed(svc, who, work.result(), query), "follow")
    return await stream(None, _slowly(svc, who, work, said, query), "submit")


async def _slowly(
    svc: Services, who: Principal, work: asyncio.Future[Made], said: list[str], query: SubmitQuery
) -> AsyncIterator[Sse]:
    told = 0
    while not work.done():
        for text in said[told:]:
            yield Sse("progress", {"text": text})
        told = len(said)
        await asyncio.wait({work}, timeout=5.0)
        if not work.done():
            yield KEEP_ALIVE
    async for message in _followed(svc, who, work.result(), query):
        yield message


async def _followed(
    svc: Services, who: Principal, made: Made, query: SubmitQuery
) -> AsyncIterator[Sse]:
    """The events of what was made; its `job` event tells the warnings too."""
    wish = Wish(logs=not query.quiet and (not made.is_array or query.shows(len(made.jobs))))
    async for message in follower(svc, who, made, wish):
        if message.event == "job":
            message.data["warnings"] = made.warnings
        yield message


def follower(svc: Services, who: Principal, made: Made, wish: Wish) -> AsyncIterator[Sse]:
    """Messages about a job or a whole array."""
    if made.is_array:
        return ArrayFollower(svc, who, made.id, wish).messages()
    return JobFollower(svc, who, made.id, Position(), wish).messages()


def _is_flags(request: Request) -> bool:
    kind = request.headers.get("content-type", "application/yaml").partition(";")[0].strip()
    if kind in ("application/json", "application/yaml", "text/yaml", "text/plain"):
        return kind == "application/json"
    raise InvalidInput(
        "bad-content-type",
        f"`{kind[:60]}` is not a form of a job",
        hint="application/yaml for a job file, application/json for flags and a command",
    )
