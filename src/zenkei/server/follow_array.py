"""Follows all members of an array as counts by state. Called by the routes that stream.

Their output is not mixed: each member is followed by its own id. A message at most every 100 ms,
however many members change. Cost: O(events of the array).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from zenkei.api import views
from zenkei.model.access import Principal
from zenkei.model.errors import NotFound
from zenkei.model.event import EventKind
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.server.follow import KEEP_ALIVE_S, LATEST_S, Wakes, is_kept
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
        "message": "",
    }


def summary(counts: Counter[JobState]) -> JobState:
    """One word for an array: what its furthest unfinished member does, or how it all ended."""
    for state in (JobState.RUNNING, JobState.STOPPING, JobState.STARTING, JobState.PENDING):
        if counts[state]:
            return state
    for state in (JobState.PREPARING, JobState.HELD, JobState.FAILED, JobState.CANCELLED):
        if counts[state]:
            return state
    return JobState.SUCCEEDED


class ArrayFollower:
    """`messages()` once."""

    def __init__(self, services: Services, principal: Principal, job: JobId, *, stay: bool) -> None:
        self._services = services
        self._principal = principal
        self._job = job
        self._stay = stay

    async def messages(self) -> AsyncIterator[Sse]:
        async with Wakes(self._services.feed.subscribe, self._services.progress.subscribe) as wakes:
            reached = await in_thread(self._services.store.seq)
            rows = await in_thread(self._rows)
            states = {row.id: row.state for row in rows}
            yield Sse("job", array_view(rows))
            seen, silent_s = 0, 0.0
            told: dict[JobState, int] = {}
            while self._stay:
                wakes.clear()
                reached = await self._take(reached, states)
                lines, seen = self._services.progress.after(self._job.number, seen)
                for line in lines:
                    yield Sse("progress", {"text": line})
                counts = dict(Counter(states.values()))
                if counts != told:
                    told, silent_s = counts, 0.0
                    yield Sse("members", {"members": counts})
                if all(state in TERMINAL for state in states.values()):
                    break
                await asyncio.sleep(LATEST_S)
                silent_s += LATEST_S
                if not await wakes.wait(KEEP_ALIVE_S) or silent_s > KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield KEEP_ALIVE
            while self._stay and not await in_thread(self._all_kept):
                await wakes.wait(LATEST_S)
                wakes.clear()
            yield Sse("end", array_view(await in_thread(self._rows)))

    async def _take(self, reached: int, states: dict[JobId, JobState]) -> int:
        events, reached = await in_thread(self._services.feed.after, reached, self._job)
        for event in events:
            state = views.state_after(event)
            if state is None and event.kind is EventKind.UNHELD:
                row = await in_thread(self._services.queries.row, self._principal, event.job)
                state = row.state
            if state is not None:
                states[event.job] = state
        return reached

    def _rows(self) -> tuple[Job, ...]:
        return self._services.queries.rows(self._principal, self._job)

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
