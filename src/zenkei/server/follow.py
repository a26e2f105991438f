"""Follows one job: states, progress of its preparation, why it waits, its output, its end.

Called by the routes that answer with a stream. Woken by commits and by progress lines; while the
job runs, its logs are looked at after 5 to 100 ms, and only while somebody follows. Every message
carries where to resume: `seq:attempt:offset,offset…`. Output of an attempt is always shown before
the message that says it has exited or was released.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple, Self

from zenkei.api import views
from zenkei.model import event as e
from zenkei.model.access import Principal
from zenkei.model.data import Result, ResultState
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.protocol.logs import Chunk
from zenkei.server.loglines import LogTail, Texts, attempt_logs, wanted
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import KEEP_ALIVE, Sse

KEEP_ALIVE_S = 15.0
SOONEST_S = 0.005
LATEST_S = 0.1
REASON_S = 1.0
EVENTS = 1000


class Position(NamedTuple):
    """How far a follower has come: events up to `seq`, and the log of `attempt`, by node."""

    seq: int = 0
    attempt: int = 0
    offsets: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.seq}:{self.attempt}:{','.join(map(str, self.offsets))}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """From a Last-Event-ID; the start if it is empty. Raises InvalidInput."""
        if not text:
            return cls()
        try:
            seq, attempt, offsets = text.split(":")
            found = cls(int(seq), int(attempt), tuple(int(o) for o in offsets.split(",") if o))
        except ValueError:
            found = cls(-1)
        if min(found.seq, found.attempt, *found.offsets, 0) < 0 or len(text) > 100_000:
            raise InvalidInput("bad-event-id", f"`{text[:60]}` is not the id of an event")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a follower wants to see.

    attempt: only that one (0: all from `first` on). tail: only the last lines of what is there
    (-1: all). stay: until the job is over and its result is kept, else until all that is there has
    been shown.
    """

    logs: bool = True
    words: bool = True
    attempt: int = 0
    first: int = 0
    ranks: frozenset[int] = frozenset()
    since_us: int = 0
    tail: int = -1
    stay: bool = True

    def takes(self, chunk: Chunk) -> bool:
        return wanted(chunk, self.ranks, self.since_us)


class Wakes:
    """Wake-ups of one follower from any thread; many in a row are one."""

    def __init__(self, *sources: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._ends = [subscribe(self._wake) for subscribe in sources]
        self._due = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self._ends:
            end()

    def clear(self) -> None:
        self._due = False
        self._event.clear()

    async def wait(self, timeout_s: float) -> bool:
        """True if woken, False if the time is over."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon_threadsafe(self._event.set)


class JobFollower:
    """`messages()` once."""

    def __init__(
        self, services: Services, principal: Principal, job: JobId, position: Position, wish: Wish
    ) -> None:
        self._services = services
        self._principal = principal
        self._job = job
        self._wish = wish
        self._resumed = position
        self._seq = position.seq
        self._state: JobState | None = None
        self._attempt = 0
        self._tail: LogTail | None = None
        self._texts = Texts()
        self._lines_seen = 0
        self._reason = ""
        self._pause_s = SOONEST_S

    async def messages(self) -> AsyncIterator[Sse]:
        """From where the position says, until the wish is fulfilled."""
        queries = self._services.queries
        async with AsyncExitStack() as stack:
            wakes = await stack.enter_async_context(
                Wakes(self._services.feed.subscribe, self._services.progress.subscribe)
            )
            reached = await in_thread(self._services.store.seq)
            row = await in_thread(queries.row, self._principal, self._job)
            yield await self._job_message(row)
            events = await in_thread(story, self._services, self._principal, self._job)
            reached = max([reached, *(event.seq for event in events[-1:])])
            silent_s = 0.0
            while True:
                count = 0
                async for message in self._news(events):
                    count += 1
                    yield message
                if await self._is_over():
                    break
                silent_s = 0.0 if count else silent_s
                timeout_s = self._timeout_s(count)
                woken = await wakes.wait(timeout_s)
                wakes.clear()
                silent_s += 0.0 if woken else timeout_s
                if silent_s >= KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield KEEP_ALIVE
                found, reached = await in_thread(self._services.feed.after, reached, self._job)
                events = list(found)
            yield await self._end_message()

    # -- one round -----------------------------------------------------------------------------
    async def _news(self, events: list[Event]) -> AsyncIterator[Sse]:
        for event in events:
            async for message in self._on_event(event):
                yield message
        for line in self._progress():
            yield Sse("progress", {"text": line})
        if self._state is JobState.PENDING and self._wish.words:
            reason = await in_thread(self._why)
            if reason is not None:
                yield reason
        async for message in self._output():
            yield message

    async def _on_event(self, event: Event) -> AsyncIterator[Sse]:
        body = event.body
        if isinstance(body, e.Exited | e.Released):
            async for message in self._output():
                yield message
        if isinstance(body, e.Allocated):
            self._begin_attempt(body.attempt, len(body.parts))
        if isinstance(body, e.Imported):  # all of its attempts are over, and kept with it
            for attempt in range(1, body.attempt + 1):
                async for message in self._output():
                    yield message
                self._begin_attempt(attempt, max(1, len(body.nodes)))
        self._state = views.state_after(event)
        if self._state is None:
            row = await in_thread(self._services.queries.row, self._principal, self._job)
            self._state = row.state
        if event.seq <= self._resumed.seq:
            return
        self._seq = event.seq
        if self._wish.words:
            view = views.event_view(event) | {"state": self._state, "attempt": self._attempt}
            yield Sse("state", view, self._id())

    def _begin_attempt(self, attempt: int, nodes: int) -> None:
        self._attempt = attempt
        self._reason = ""
        self._pause_s = SOONEST_S
        self._tail = None
        wish, before = self._wish, self._resumed.attempt
        skipped = attempt < max(before, wish.first) or wish.attempt not in (0, attempt)
        if not wish.logs or skipped:
            return
        offsets = self._resumed.offsets if attempt == before else ()
        name = AttemptId(self._job, attempt)
        read, index = attempt_logs(self._services.queries, self._principal, name)
        self._tail = LogTail(read, nodes, offsets, index=index)

    async def _output(self) -> AsyncIterator[Sse]:
        if self._tail is None:
            return
        tail, wish = self._tail, self._wish
        if wish.tail >= 0 and not any(tail.offsets) and not self._resumed.attempt:
            chunks = await in_thread(tail.last, wish.tail, wish.takes)
            if chunks:
                yield self._log_message(chunks)
        while chunks := await in_thread(tail.batch):
            self._pause_s = SOONEST_S
            yield self._log_message(chunks)

    def _log_message(self, chunks: list[Chunk]) -> Sse:
        wish = self._wish
        lines = [list(self._texts.line(c)) for c in chunks if wish.takes(c)]
        return Sse("log", {"attempt": self._attempt, "chunks": lines}, self._id())

    def _progress(self) -> list[str]:
        if not self._wish.words or self._state is not JobState.PREPARING:
            return []
        lines, self._lines_seen = self._services.progress.after(self._job.number, self._lines_seen)
        return lines

    def _why(self) -> Sse | None:
        """A message if the planner's reason differs from what was told last."""
        queries = self._services.queries
        reason = queries.reason(queries.row(self._principal, self._job))
        if reason is None:
            return None
        # a delay that runs down is told once, not at every look
        told = f"{reason.code} {reason.numbers.get('not_before_us', reason.text)}"
        if told == self._reason:
            return None
        self._reason = told
        return Sse("reason", views.reason_view(reason))

    # -- beginning and end -----------------------------------------------------------------------
    async def _job_message(self, row: Job) -> Sse:
        spec = await in_thread(self._services.queries.spec, self._principal, self._job)
        world = spec.resources.nodes * spec.resources.ranks
        return Sse("job", views.job_row(row) | {"world": world})

    async def _is_over(self) -> bool:
        if not self._wish.stay:
            return True
        if self._state not in TERMINAL:
            return False
        result = await in_thread(self._result) if self._attempt else None
        return not self._attempt or is_kept(result)

    def _result(self) -> Result | None:
        try:
            return self._services.queries.result(self._principal, self._job)
        except NotFound:
            return None

    async def _end_message(self) -> Sse:
        row = await in_thread(self._services.queries.row, self._principal, self._job)
        result = await in_thread(self._result) if row.attempt else None
        end = {"cause": views.cause_view(row), "result": views.result_view(result)}
        return Sse("end", views.job_row(row) | end, self._id())

    def _timeout_s(self, news: int) -> float:
        """How long to wait for a wake-up before looking again."""
        if self._state is JobState.PENDING:
            return REASON_S
        waits_for_result = self._state in TERMINAL
        if waits_for_result or self._tail is not None:
            self._pause_s = SOONEST_S if news else min(LATEST_S, self._pause_s * 1.5)
            return self._pause_s
        return KEEP_ALIVE_S

    def _id(self) -> str:
        offsets = tuple(self._tail.offsets) if self._tail is not None else ()
        return str(Position(self._seq, self._attempt, offsets))


def story(services: Services, principal: Principal, job: JobId) -> list[Event]:
    """All events so far of a job, or of all members of an array."""
    found: list[Event] = []
    while True:
        after = found[-1].seq if found else 0
        page = services.queries.events(principal, job, after=after, limit=EVENTS)
        found.extend(page)
        if len(page) < EVENTS:
            return found


def is_kept(result: Result | None) -> bool:
    """Whether the sealing of an attempt's output is over, well or not."""
    return result is not None and result.state is not ResultState.SEALING
