"""Output of all members of an array, merged as it is written. Driven by `follow_array`.

Events go in (an attempt begins, ends), messages come out, each with the member it is from and with
where to resume: `seq;member/attempt:offset,offset;…`, of those attempts only that are not over.
An attempt's output is shown to its end before the event that releases it is passed. At most
MOST_OPEN members are read side by side, and a talkative one does not keep the others waiting; who
has no turn is read when it ends. Cost: one read per node of each open member and look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from zenkei.model import event as e
from zenkei.model.access import Principal
from zenkei.model.errors import InvalidInput
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.protocol import logs
from zenkei.server.follow import Wish
from zenkei.server.loglines import LogTail, Texts, attempt_logs
from zenkei.server.services import Services, in_thread
from zenkei.server.sse import Sse

MOST_OPEN = 1000
BATCHES = 4
"""Of one member in one look."""
MOST_TEXT = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayPosition:
    """How far a follower has come: events up to `seq`, and the logs of attempts that go on."""

    seq: int = 0
    offsets: dict[AttemptId, tuple[int, ...]] = field(default_factory=dict)

    def text(self) -> str:
        parts = [str(self.seq)]
        for attempt, offsets in self.offsets.items():
            if any(offsets):
                member = f"{attempt.job.member}/{attempt.number}"
                parts.append(f"{member}:{','.join(map(str, offsets))}")
        return ";".join(parts)

    @classmethod
    def parse(cls, text: str, number: int) -> ArrayPosition:
        """From a Last-Event-ID about array `number`. Raises InvalidInput."""
        if not text:
            return cls()
        try:
            seq, *parts = text.split(";")
            found = cls(seq=_natural(seq), offsets=dict(_offsets(parts, number)))
        except ValueError:
            found = None
        if found is None or len(text) > MOST_TEXT:
            raise InvalidInput("bad-event-id", f"`{text[:60]}` is not the id of an event")
        return found


def _offsets(parts: Iterable[str], number: int) -> Iterator[tuple[AttemptId, tuple[int, ...]]]:
    for part in parts:
        name, offsets = part.split(":")
        member, attempt = map(_natural, name.split("/"))
        yield AttemptId(JobId(number, member), attempt), tuple(map(_natural, offsets.split(",")))


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


class _Said(NamedTuple):
    """A batch of one attempt's output, and the position after it."""

    attempt: AttemptId
    chunks: list[logs.Chunk]
    position: str


@dataclass(kw_only=True, slots=True)
class _Open:
    """An attempt that is not released. last: only so many lines of what is there (-1: all)."""

    tail: LogTail
    last: int
    texts: Texts = field(default_factory=Texts)


class MemberOutput:
    """See the module's docstring. latest: by member, the attempt that `wish.tail` begins at."""

    def __init__(
        self,
        services: Services,
        principal: Principal,
        wish: Wish,
        position: ArrayPosition,
        latest: dict[JobId, int],
        begun: int,
    ) -> None:
        self._services = services
        self._principal = principal
        self._wish = wish
        self._resumed = position
        self._latest = latest
        self._begun = begun
        self._seq = position.seq
        self._open: dict[AttemptId, _Open] = {}

    async def on_event(self, event: Event) -> AsyncIterator[Sse]:
        """Take one event, in order; what an attempt has left comes before its end is passed."""
        body = event.body
        if isinstance(body, e.Allocated):
            self._begin(event, body)
        elif isinstance(body, e.Exited | e.Released):
            attempt = AttemptId(event.job, body.attempt)
            if event.seq > self._resumed.seq and attempt in self._open:
                async for message in self._drained(attempt):
                    yield message
            if isinstance(body, e.Released):
                self._open.pop(attempt, None)
        self._seq = max(self._seq, event.seq)

    async def look(self) -> AsyncIterator[Sse]:
        """What is new; a few batches of each member that has a turn."""
        for said in await in_thread(self._round):
            yield self._message(said)

    async def drain(self) -> AsyncIterator[Sse]:
        """Everything that is there."""
        for attempt in list(self._open):
            async for message in self._drained(attempt):
                yield message

    def is_open(self) -> bool:
        """Whether anything may come."""
        return bool(self._open)

    def position(self) -> str:
        offsets = {attempt: tuple(one.tail.offsets) for attempt, one in self._open.items()}
        return ArrayPosition(seq=self._seq, offsets=offsets).text()

    def _begin(self, event: Event, body: e.Allocated) -> None:
        wish, attempt = self._wish, AttemptId(event.job, body.attempt)
        is_old = wish.tail >= 0 and body.attempt < self._latest.get(event.job, 0)
        if is_old or wish.attempt not in (0, body.attempt):
            return
        offsets = self._resumed.offsets.get(attempt, ())
        was_there = event.seq <= self._begun and not self._resumed.seq
        read, index = attempt_logs(self._services.queries, self._principal, attempt)
        self._open[attempt] = _Open(
            tail=LogTail(read, len(body.parts), offsets, index=index),
            last=wish.tail if was_there else -1,
        )

    def _round(self) -> list[_Said]:
        turn = list(self._open)[:MOST_OPEN]
        return [said for attempt in turn for said in self._batches(attempt, BATCHES)]

    async def _drained(self, attempt: AttemptId) -> AsyncIterator[Sse]:
        while found := await in_thread(self._batches, attempt, BATCHES):
            for said in found:
                yield self._message(said)

    def _batches(self, attempt: AttemptId, most: int) -> list[_Said]:
        one = self._open[attempt]
        if one.last >= 0:
            chunks, one.last = one.tail.last(one.last, self._wish.takes), -1
            return [_Said(attempt, chunks, self.position())] if chunks else []
        found: list[_Said] = []
        while len(found) < most and (chunks := one.tail.batch()):
            found.append(_Said(attempt, chunks, self.position()))
        return found

    def _message(self, said: _Said) -> Sse:
        wish, texts = self._wish, self._open[said.attempt].texts
        lines = [list(texts.line(chunk)) for chunk in said.chunks if wish.takes(chunk)]
        data = {"job": str(said.attempt.job), "attempt": said.attempt.number, "chunks": lines}
        return Sse("log", data, said.position)
