"""One work for all who ask for the same thing at the same time, within one process.

Called by `builder`. Who asks while a *check* runs gets the result of the next one, because what was
looked at before the question may have changed since; who asks while a *build* runs joins it.
All who wait see the progress of the one that works.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(slots=True)
class Flight(Generic[T]):
    """joinable: its result will be newer than any question asked until then."""

    result: Future[T] = field(default_factory=Future)
    listeners: list[Say] = field(default_factory=list)
    joinable: bool = False

    def say(self, line: str) -> None:
        for listener in tuple(self.listeners):
            listener(line)


class Flights(Generic[T]):
    """run(key, work, say): `work(flight)` is called by one of the askers, on its own thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._current: dict[str, Flight[T]] = {}
        self._next: dict[str, Flight[T]] = {}

    def run(self, key: str, work: Callable[[Flight[T]], T], say: Say) -> T:
        with self._lock:
            flight, before = self._board(key, say)
        if flight is None:
            assert before is not None
            return before.result.result()
        if before is not None:
            before.result.exception()  # waits for its end; its failure is another's
            with self._lock:
                self._current[key] = self._next.pop(key)
        try:
            result = work(flight)
        except BaseException as error:
            self._land(key, flight)
            flight.result.set_exception(error)
            raise
        self._land(key, flight)
        flight.result.set_result(result)
        return result

    def _board(self, key: str, say: Say) -> tuple[Flight[T] | None, Flight[T] | None]:
        """(flight to lead, one to wait for first or None), or (None, flight that was joined)."""
        current, following = self._current.get(key), self._next.get(key)
        if current is not None and current.joinable:
            current.listeners.append(say)
            return None, current
        if following is not None:
            following.listeners.append(say)
            return None, following
        flight = Flight[T](listeners=[say])
        if current is None:
            self._current[key] = flight
            return flight, None
        self._next[key] = flight
        return flight, current

    def _land(self, key: str, flight: Flight[T]) -> None:
        with self._lock:
            if self._current.get(key) is flight:
                del self._current[key]
