"""Metrics of one attempt, summed up while they are read: latest, extremes, points for a chart.

Called by `routes_metrics` on a worker thread. Memory is bounded whatever a job has written: a
series keeps at most about four times the points that were asked for. Cost: about 1 µs a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from zenkei.protocol.metrics import NO_STEP, Point, Reader, thin

PIECE = 1 << 20
MOST_SERIES = 1000
"""Names a rank may have; a program that makes up names endlessly is shown its first ones."""


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


def read_rank(
    rank: int, read: Callable[[int, int], bytes], *, name: str, points: int
) -> Iterator[Series]:
    """The series of one rank, by first appearance. read(offset, limit): bytes of its stream."""
    reader = Reader()
    found: dict[str, Series] = {}
    offset = 0
    while data := read(offset, PIECE):
        offset += len(data)
        for point in reader.feed(data):
            if name and point.name != name:
                continue
            series = found.get(point.name)
            if series is None:
                if len(found) >= MOST_SERIES:
                    continue
                series = found[point.name] = Series(rank, point.name, points)
            series.add(point)
    yield from found.values()


def number(value: float) -> float | str:
    """JSON has neither NaN nor infinities: they are the texts `nan`, `inf`, `-inf`."""
    return value if math.isfinite(value) else str(value)


def _point(point: Point) -> dict[str, Any]:
    step = None if point.step == NO_STEP else point.step
    return {"at_us": point.at_us, "step": step, "value": number(point.value)}
