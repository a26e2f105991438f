"""Followers of the event log: wake-ups after commits, a short memory to spare the store.

`Feed.after(seq)` is what every live view (command line, web page, chat) is made of. A follower that
is far behind reads the store; a new event reaches a waiting follower without polling. Commits of
other controllers are noticed when the follower asks again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from threading import Lock

from zenkei.model.event import Event
from zenkei.model.ids import WHOLE, JobId
from zenkei.ports.store import Committed, Store

REMEMBERED = 20_000
PAGE = 1000


class Feed:
    """One per process; `heard` is a store listener."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._events: deque[Event] = deque(maxlen=REMEMBERED)
        self._from = store.seq()
        self._wakes: dict[int, Callable[[], None]] = {}
        self._next_key = 0

    def heard(self, committed: Committed) -> None:
        """After a commit, on the writer's thread: remember, wake everybody who waits."""
        if not committed.events:
            return
        with self._lock:
            overflow = len(self._events) + len(committed.events) - REMEMBERED
            if overflow > 0 and self._events:
                self._from = self._events[min(overflow, len(self._events)) - 1].seq
            self._events.extend(committed.events)
            if len(committed.events) > REMEMBERED:
                self._from = committed.events[-REMEMBERED - 1].seq
            wakes = list(self._wakes.values())
        for wake in wakes:
            wake()

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after every commit, from any thread; returns what ends that."""
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._wakes[key] = wake

        def unsubscribe() -> None:
            with self._lock:
                self._wakes.pop(key, None)

        return unsubscribe

    def after(self, seq: int, job: JobId | None = None) -> tuple[tuple[Event, ...], int]:
        """Events after `seq` (of one job, of all members of its number, or all) and where to go on.

        At most PAGE from the store; an empty answer means that there is nothing yet.
        """
        with self._lock:
            if seq >= self._from:
                position = bisect_right(self._events, seq, key=lambda event: event.seq)
                recent = [self._events[i] for i in range(position, len(self._events))]
                reached = recent[-1].seq if recent else seq
                return tuple(e for e in recent if concerns(e, job)), reached
        events = self._store.events(after=seq, limit=PAGE)
        reached = events[-1].seq if events else seq
        return tuple(event for event in events if concerns(event, job)), reached


def concerns(event: Event, job: JobId | None) -> bool:
    """Whether a follower of `job` (a member, or a whole number) wants this event."""
    if job is None:
        return True
    return event.job == job or (job.member == WHOLE and event.job.number == job.number)
