"""What a job says and what happens to it: output, events, and both together until its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from zenkei.api import views
from zenkei.api.requests import Count, LogQuery
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.errors import Denied, InvalidInput
from zenkei.model.event import Allocated, Imported
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.protocol import logs
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.follow import KEEP_ALIVE_S, JobFollower, Position, Wakes, Wish
from zenkei.server.follow_array import ArrayFollower, ArrayLogs
from zenkei.server.loglines import LogTail, attempt_logs, wanted
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import KEEP_ALIVE, Sse, stream

router = APIRouter()
LastId = Annotated[str, Header(alias="last-event-id", max_length=100_000)]
Logs = Annotated[LogQuery, Query()]


@router.get("/v1/jobs/{job}/follow")
async def follow_job(svc: Svc, who: Who, job: JobText, query: Logs, last: LastId = "") -> Response:
    """States, progress, reasons, output (logs=1), end. Resumes after Last-Event-ID."""
    found = await job_id(svc, who, job)
    wish = Wish(logs=query.logs, ranks=query.ranks, since_us=query.since_us, tail=query.tail)
    members = await in_thread(_members, svc, who, found)
    if members:
        wish = replace(wish, logs=wish.logs and query.shows(members))
        array = ArrayFollower(svc, who, found, wish, last).messages()
        return await stream(None, array, f"follow {found}")
    messages = JobFollower(svc, who, found, Position.parse(last), wish).messages()
    return await stream(None, messages, f"follow {found}")


@router.get("/v1/jobs/{job}/logs")
async def job_logs(svc: Svc, who: Who, job: JobText, query: Logs, last: LastId = "") -> Response:
    """Output as events; with raw=1 the exact bytes of one attempt. follow=1: to the job's end.

    Of a whole array: that of its members, in their order; with follow=1 as it is written.
    """
    found = await job_id(svc, who, job)
    if await in_thread(_members, svc, who, found):
        return await stream(None, _array_logs(svc, who, found, query, last), f"logs {found}")
    row = await in_thread(svc.queries.row, who, found)
    if query.attempt:
        # what does not exist is refused before the answer begins
        await in_thread(svc.queries.attempt, who, found, query.attempt)
    if query.raw:
        attempt = await in_thread(svc.queries.attempt, who, found, query.attempt)
        pieces = _raw(svc, who, attempt, query)
        return StreamingResponse(pieces, media_type="application/octet-stream")
    wish = Wish(
        words=False,
        attempt=query.attempt,
        first=row.attempt if query.tail >= 0 else 0,
        ranks=query.ranks,
        since_us=query.since_us,
        tail=query.tail,
        stay=query.follow,
    )
    messages = JobFollower(svc, who, found, Position.parse(last), wish).messages()
    return await stream(None, messages, f"logs {found}")


@router.get("/v1/jobs/{job}/events")
async def job_events(
    svc: Svc, who: Who, job: JobText, after: Count = 0, limit: Annotated[int, Query(ge=1)] = 1000
) -> Response:
    """The job's own events, in order; for an array, those of all members."""
    found = await job_id(svc, who, job)
    events = await in_thread(svc.queries.events, who, found, after=after, limit=limit)
    return Json({"events": [views.event_view(event) for event in events]})


@router.get("/v1/jobs/{job}/streams/{name:path}")
async def job_stream(
    svc: Svc,
    who: Who,
    job: JobText,
    name: str,
    attempt: Annotated[int, Query(ge=0, lt=10**6)] = 0,
    offset: Count = 0,
    limit: Annotated[int, Query(ge=1, le=16 << 20)] = 1 << 20,
) -> Response:
    """Bytes of a stream that the engine keeps with an attempt: log/0, metrics/0, stacks/0."""
    kind, _, rest = name.partition("/")
    if kind not in ("log", "metrics", "stacks") or not rest.removesuffix("/index").isdecimal():
        raise InvalidInput(
            "bad-stream", f"`{name[:60]}` is no stream", hint="log/0, metrics/0, stacks/0"
        )
    found = await job_id(svc, who, job)
    which = await in_thread(svc.queries.attempt, who, found, attempt)
    data = await in_thread(svc.queries.read, who, which, name, offset, limit)
    return Response(data, media_type="application/octet-stream")


@router.post("/v1/jobs/{job}/stacks")
async def dump_stacks(svc: Svc, who: Who, job: JobText) -> Response:
    """Take the stacks of all ranks of a running job; they appear as streams stacks/<node>."""
    found = await job_id(svc, who, job)
    asked = await in_thread(svc.commands.dump_stacks, who, found)
    return Json({"asked": [str(attempt) for attempt in asked]})


@router.get("/v1/events")
async def all_events(svc: Svc, who: Who, after: Count | None = None, last: LastId = "") -> Response:
    """Every event from `after` on (default: from now on), as a stream that does not end."""
    if not can(who, Verb.OPERATE, Target()):
        raise Denied("may-not-watch", f"{who.name} may not watch everybody's events")
    start = Position.parse(last).seq if last else after
    return await stream(None, _everything(svc, start), "events")


async def _everything(svc: Services, start: int | None) -> AsyncIterator[Sse]:
    async with Wakes(svc.feed.subscribe) as wakes:
        seq = await in_thread(svc.store.seq)
        reached = seq if start is None else min(start, seq)
        yield Sse("begin", {"seq": reached}, str(Position(reached)))
        while True:
            wakes.clear()
            events, reached = await in_thread(svc.feed.after, reached)
            for event in events:
                yield Sse("state", views.event_view(event), str(Position(event.seq)))
            if not events and not await wakes.wait(KEEP_ALIVE_S):
                yield KEEP_ALIVE


def _members(svc: Services, who: Principal, job: JobId) -> int:
    """Of how many members, if the id names a whole array (a member is a job like any other)."""
    rows = svc.queries.rows(who, job) if job.member == WHOLE else ()
    return len(rows) if rows and rows[0].id.member != WHOLE else 0


def _array_logs(
    svc: Services, who: Principal, array: JobId, query: LogQuery, last: str
) -> AsyncIterator[Sse]:
    if query.raw:
        raise InvalidInput(
            "array-has-no-log",
            f"{array} is an array: exact bytes are those of one member",
            hint=f"`zenkei logs --raw {array}.0`, or without --raw all members",
        )
    wish = Wish(
        words=False,
        attempt=query.attempt,
        ranks=query.ranks,
        since_us=query.since_us,
        tail=query.tail,
    )
    if query.follow:
        return ArrayFollower(svc, who, array, wish, last).messages()
    return ArrayLogs(svc, who, array, wish, last).messages()


def _raw(svc: Services, who: Principal, attempt: AttemptId, query: LogQuery) -> Iterator[bytes]:
    """Exact bytes, joined from all nodes in the order of time; run on a worker thread."""
    nodes = _nodes(svc, who, attempt)

    read, _index = attempt_logs(svc.queries, who, attempt)
    for batch in LogTail(read, nodes).rest():
        yield b"".join(
            chunk.data
            for chunk in batch
            if chunk.stream in (logs.STDOUT, logs.STDERR)
            and wanted(chunk, query.ranks, query.since_us)
        )


def _nodes(svc: Services, who: Principal, attempt: AttemptId) -> int:
    for event in svc.queries.events(who, attempt.job, limit=100_000):
        if isinstance(event.body, Allocated) and event.body.attempt == attempt.number:
            return len(event.body.parts)
        if isinstance(event.body, Imported):
            return max(1, len(event.body.nodes))
    return 0
