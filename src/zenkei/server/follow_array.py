"""Follows all members of an array: counts by state, and their output if that is wished.

Called by the routes that stream. `ArrayFollower` stays to the end and merges the members' output as
it is written; a message of counts at most every 100 ms, however many members change. `ArrayLogs`
shows what is there, one member after the other. Cost: O(events of the array).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

from zenkei.api import views
from zenkei.model.access import Principal
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.model.event import Event, EventKind
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.server.follow import (
    KEEP_ALIVE_S,
    LATEST_S,
    SOONEST_S,
    JobFollower,
    Position,
    Wakes,
    Wish,
    is_kept,
    story,
)
from zenkei.server.member_output import ArrayPosition, MemberOutput
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import KEEP_ALIVE, Sse


def array_view(rows: tuple[Job, ...]) -> dict[str, Any]:
    """An array as one thing. `exit` is null until all members are over."""
    first = rows[0]
    return {
        "id": str(first.id.number),
        "array": True,
        "name": first.name,
        "state": summary(Counter(row.state for row in rows)),
        "members": dict(Counter(row.state for row in rows)),
        "exit": views.array_exit(rows),
        "message": _message(rows),
    }


def _message(rows: tuple[Job, ...]) -> str:
    """What is said of all members alike: why none of them ever started."""
    said = {row.message for row in rows}
    return said.pop() if len(said) == 1 else ""


def summary(counts: Counter[JobState]) -> JobState:
    """One word for an array: what its furthest unfinished member does, or how it all ended."""
    for state in (JobState.RUNNING, JobState.STOPPING, JobState.STARTING, JobState.PENDING):
        if counts[state]:
            return state
    for state in (JobState.PREPARING, JobState.HELD, JobState.FAILED, JobState.CANCELLED):
        if counts[state]:
            return state
    return JobState.SUCCEEDED


class _Array:
    """What both ways of following an array share."""

    def __init__(
        self, services: Services, principal: Principal, job: JobId, wish: Wish, last_id: str = ""
    ) -> None:
        self._services = services
        self._principal = principal
        self._job = job
        self._wish = wish
        self._last_id = last_id

    def _rows(self) -> tuple[Job, ...]:
        return self._services.queries.rows(self._principal, self._job)

    def _begin(self, rows: tuple[Job, ...]) -> Sse:
        asked = self._services.queries.spec(self._principal, self._job).resources
        view = array_view(rows) | {"world": asked.nodes * asked.ranks, "output": self._wish.logs}
        return Sse("job", view)


class ArrayFollower(_Array):
    """`messages()` once. last_id: of the last message that was seen, if output is wished."""

    def __init__(
        self, services: Services, principal: Principal, job: JobId, wish: Wish, last_id: str = ""
    ) -> None:
        super().__init__(services, principal, job, wish, last_id)
        self._position = ArrayPosition.parse(last_id, job.number)
        self._states: dict[JobId, JobState] = {}
        self._told: dict[JobState, int] = {}
        self._told_at_s = 0.0
        self._due = False
        """Counts that have changed and are not told yet."""
        self._lines_seen = 0

    async def messages(self) -> AsyncIterator[Sse]:
        async with Wakes(self._services.feed.subscribe, self._services.progress.subscribe) as wakes:
            reached = await in_thread(self._services.store.seq)
            rows = await in_thread(self._rows)
            self._states = {row.id: row.state for row in rows}
            yield await in_thread(self._begin, rows)
            output = None
            if self._wish.logs:
                past = await in_thread(story, self._services, self._principal, self._job)
                reached = max(reached, past[-1].seq)
                output = self._output(rows, reached)
                async for message in self._take(output, past):
                    yield message
            pause_s, silent_s = SOONEST_S, 0.0
            while True:
                wakes.clear()
                events, reached = await in_thread(self._services.feed.after, reached, self._job)
                count = 0
                async for message in self._news(output, events):
                    count += 1
                    yield message
                if all(state in TERMINAL for state in self._states.values()):
                    break
                silent_s = 0.0 if count else silent_s
                pause_s = SOONEST_S if count else min(LATEST_S, pause_s * 1.5)
                goes_on = self._due or (output is not None and output.is_open())
                silent_s += await _rest(wakes, pause_s if goes_on else 0.0)
                if silent_s >= KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield KEEP_ALIVE
            if output is not None:
                async for message in output.drain():
                    yield message
            while not await in_thread(self._all_kept):
                await wakes.wait(LATEST_S)
                wakes.clear()
            yield Sse("end", array_view(await in_thread(self._rows)))

    def _output(self, rows: tuple[Job, ...], reached: int) -> MemberOutput:
        latest = {row.id: row.attempt for row in rows}
        return MemberOutput(
            self._services, self._principal, self._wish, self._position, latest, reached
        )

    async def _news(
        self, output: MemberOutput | None, events: Iterable[Event]
    ) -> AsyncIterator[Sse]:
        async for message in self._take(output, events):
            yield message
        if self._wish.words:
            lines, self._lines_seen = self._services.progress.after(
                self._job.number, self._lines_seen
            )
            for line in lines:
                yield Sse("progress", {"text": line})
            counts, now_s = dict(Counter(self._states.values())), self._now_s()
            self._due = counts != self._told
            if self._due and now_s >= self._told_at_s + LATEST_S:
                self._told, self._told_at_s, self._due = counts, now_s, False
                yield Sse("members", {"members": counts})
        if output is not None:
            async for message in output.look():
                yield message

    async def _take(
        self, output: MemberOutput | None, events: Iterable[Event]
    ) -> AsyncIterator[Sse]:
        for event in events:
            if output is not None:
                async for message in output.on_event(event):
                    yield message
            state = views.state_after(event)
            if state is None and event.kind is EventKind.UNHELD:
                row = await in_thread(self._services.queries.row, self._principal, event.job)
                state = row.state
            if state is not None:
                self._states[event.job] = state

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _all_kept(self) -> bool:
        """Every member that ran has its result."""
        for row in self._rows():
            if row.attempt:
                try:
                    result = self._services.queries.result(self._principal, row.id)
                except NotFound:
                    return False
                if not is_kept(result):
                    return False
        return True


class ArrayLogs(_Array):
    """What the members have written so far, in their order. `messages()` once.

    Each message's id is `member@` and the id of the member's own message.
    """

    async def messages(self) -> AsyncIterator[Sse]:
        rows = await in_thread(self._rows)
        start, position = self._resumed()
        yield await in_thread(self._begin, rows)
        for row in rows:
            if row.attempt and row.id.member >= start:
                first = row.attempt if self._wish.tail >= 0 else 0
                wish = replace(self._wish, first=first, stay=False, words=False)
                begin = position if row.id.member == start else Position()
                follower = JobFollower(self._services, self._principal, row.id, begin, wish)
                async for message in follower.messages():
                    if message.event == "log":
                        data = {"job": str(row.id), **message.data}
                        yield Sse("log", data, f"{row.id.member}@{message.id}")
        yield Sse("end", array_view(await in_thread(self._rows)))

    def _resumed(self) -> tuple[int, Position]:
        if not self._last_id:
            return 0, Position()
        member, at, inner = self._last_id.partition("@")
        if not at or not (member.isascii() and member.isdigit()):
            raise InvalidInput("bad-event-id", f"`{self._last_id[:60]}` is not the id of an event")
        return int(member), Position.parse(inner)


async def _rest(wakes: Wakes, pause_s: float) -> float:
    """Wait `pause_s`; if it is 0, for news. Returns the seconds that went by."""
    if pause_s:
        await asyncio.sleep(pause_s)
        return pause_s
    await asyncio.sleep(LATEST_S)
    return LATEST_S if await wakes.wait(KEEP_ALIVE_S) else KEEP_ALIVE_S
