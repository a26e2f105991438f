"""Metrics of one attempt, summed up while they are read: latest, extremes, points for a chart.

Called by `routes_metrics` on a worker thread. Memory is bounded whatever a job has written: a
series keeps at most about four times the points that were asked for. Cost: about 1 µs a point;
without points only those written since somebody asked last (`Summaries`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

from zenkei.model.ids import AttemptId
from zenkei.protocol.metrics import NO_STEP, Point, Reader, thin

PIECE = 1 << 20
MOST_SERIES = 1000
"""Names a rank may have; a program that makes up names endlessly is shown its first ones."""
MOST_SUMMED = 50_000
"""Series, of all streams, that are kept summed up; about 500 bytes each."""

View = dict[str, Any]
Read = Callable[[int, int], bytes]
"""(offset, limit) to bytes of a rank's stream."""


class Series:
    """One metric of one rank."""

    def __init__(self, rank: int, name: str, points: int) -> None:
        self._rank = rank
        self._name = name
        self._wanted = points
        self._kept: list[Point] = []
        self._count = 0
        self._least = math.inf
        self._most = -math.inf
        self._last: Point | None = None

    def add(self, point: Point) -> None:
        """NaN counts, and is the latest value if it comes last; extremes leave it out."""
        self._count += 1
        self._last = point
        self._least = min(self._least, point.value)
        self._most = max(self._most, point.value)
        if self._wanted:
            self._kept.append(point)
            if len(self._kept) > 4 * self._wanted:
                self._kept = list(thin(self._kept, 2 * self._wanted))

    def view(self) -> dict[str, Any]:
        assert self._last is not None
        found = {
            "rank": self._rank,
            "name": self._name,
            "count": self._count,
            "last": _point(self._last),
            "least": None if self._least > self._most else number(self._least),
            "most": None if self._least > self._most else number(self._most),
        }
        if self._wanted:
            found["points"] = [_point(p) for p in thin(self._kept, self._wanted)]
        return found


class RankReader:
    """Sums up the stream of one rank as far as it has been written; goes on where it stopped."""

    def __init__(self, rank: int, *, name: str = "", points: int = 0) -> None:
        self._rank = rank
        self._name = name
        self._points = points
        self._reader = Reader()
        self._offset = 0
        self.found: dict[str, Series] = {}
        self.lock = Lock()

    def advance(self, read: Read) -> None:
        """Take in what is new."""
        while data := read(self._offset, PIECE):
            self._offset += len(data)
            for point in self._reader.feed(data):
                if self._name and point.name != self._name:
                    continue
                series = self.found.get(point.name)
                if series is None:
                    if len(self.found) >= MOST_SERIES:
                        continue
                    series = self.found[point.name] = Series(self._rank, point.name, self._points)
                series.add(point)


def read_rank(rank: int, read: Read, *, name: str, points: int) -> Iterator[Series]:
    """The series of one rank, by first appearance."""
    reader = RankReader(rank, name=name, points=points)
    reader.advance(read)
    yield from reader.found.values()


class Summaries:
    """Latest values and extremes of the streams that were asked for last. Thread-safe.

    A stream only grows and an attempt's id is never used again: what was summed up stays true.
    """

    def __init__(self, most: int = MOST_SUMMED) -> None:
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[tuple[AttemptId, int], RankReader] = OrderedDict()

    def views(self, attempt: AttemptId, rank: int, read: Read, *, name: str) -> list[View]:
        """The series of one rank, without points. name: only this one."""
        key = (attempt, rank)
        with self._lock:
            reader = self._known.setdefault(key, RankReader(rank))
            self._known.move_to_end(key)
        with reader.lock:
            reader.advance(read)
            found = [one.view() for one in reader.found.values()]
        self._drop_oldest()
        chosen = [view for view in found if name in ("", view["name"])]
        if not chosen and len(found) >= MOST_SERIES:
            # it may be one of those that there were too many of
            chosen = [one.view() for one in read_rank(rank, read, name=name, points=0)]
        return chosen

    def _drop_oldest(self) -> None:
        with self._lock:
            size = sum(1 + len(reader.found) for reader in self._known.values())
            while size > self._most and len(self._known) > 1:
                _, reader = self._known.popitem(last=False)
                size -= 1 + len(reader.found)


def number(value: float) -> float | str:
    """JSON has neither NaN nor infinities: they are the texts `nan`, `inf`, `-inf`."""
    return value if math.isfinite(value) else str(value)


def _point(point: Point) -> dict[str, Any]:
    step = None if point.step == NO_STEP else point.step
    return {"at_us": point.at_us, "step": step, "value": number(point.value)}
