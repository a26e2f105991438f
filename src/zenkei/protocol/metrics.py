"""Metrics of one rank: a file of 32-byte records, appended by the program, read while it grows.

A point is (at_us, step, value, name): 10⁷ points are 320 MB. A record's place is its index: any
part can be read without what lies before it, except the names. A name is the CRC-32 of its text;
each process says the text once, in a name record (its text follows, padded to whole records), so
that forked workers can append to one file without agreeing on numbers. Values are IEEE doubles:
NaN and infinities are kept. Steps may go back (a resumed run); `NO_STEP` means none was given.
"""

from __future__ import annotations

import struct
import zlib
from typing import Iterator, NamedTuple

RECORD = struct.Struct("<QqdII")
SIZE = RECORD.size
POINT = 0x6B706F69
NAME = 0x6B6E616D
NO_STEP = -(2**63)
MAX_NAME_BYTES = 200
PROGRESS = "zenkei/progress"
"""Name under which a program's own estimate of its progress (0 to 1) is reported."""


class Point(NamedTuple):
    """One value. step: NO_STEP if the program named none."""

    at_us: int
    step: int
    value: float
    name: str


def name_key(name: str) -> int:
    """What stands for a name in its points."""
    return zlib.crc32(name.encode("utf-8", "replace"))


def encode_name(name: str) -> bytes:
    """A name record. Raises ValueError if the name is empty or too long."""
    text = name.encode("utf-8", "replace")
    if not 0 < len(text) <= MAX_NAME_BYTES:
        raise ValueError(f"a metric's name has 1 to {MAX_NAME_BYTES} bytes, not {len(text)}")
    padded = text + b"\0" * (-len(text) % SIZE)
    return RECORD.pack(0, len(text), 0.0, name_key(name), NAME) + padded


def encode_point(at_us: int, step: int, value: float, key: int) -> bytes:
    """A point of the name with `key`."""
    return RECORD.pack(at_us, step, value, key, POINT)


class Reader:
    """Decodes a growing file piece by piece; remembers the names it has met.

    Feed it bytes from where the last call ended; a torn record at the end is kept for the next
    call. Cost: about 0.4 µs a point.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self._rest = b""

    def feed(self, data: bytes) -> list[Point]:
        """Points in `data`, in the order they were written."""
        data = self._rest + data
        points, end = self._decode(data)
        self._rest = data[end:]
        return points

    def _decode(self, data: bytes) -> tuple[list[Point], int]:
        points: list[Point] = []
        at = 0
        while at + SIZE <= len(data):
            at_us, step, value, key, kind = RECORD.unpack_from(data, at)
            if kind == POINT:
                points.append(Point(at_us, step, value, self.names.get(key, f"#{key:08x}")))
                at += SIZE
            elif kind == NAME and 0 < step <= MAX_NAME_BYTES:
                end = at + SIZE + step + (-step % SIZE)
                if end > len(data):
                    break
                text = data[at + SIZE : at + SIZE + step]
                self.names[key] = text.decode("utf-8", "replace")
                at = end
            else:
                at += SIZE  # a torn write of a killed process: records stay aligned, go on
        return points, at


def thin(points: list[Point], most: int) -> Iterator[Point]:
    """At most about `most` points that keep the shape: first, last, and extremes of each stretch.

    For charts: of every stretch of equal length the smallest and the largest value stay.
    """
    if len(points) <= most or most < 4:
        yield from points
        return
    stretch = max(2, 2 * len(points) // most)
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        finite = [p for p in part if p.value == p.value]
        if not finite:
            yield part[0]
            continue
        low = min(finite, key=lambda p: p.value)
        high = max(finite, key=lambda p: p.value)
        first, second = sorted((low, high), key=lambda p: (p.at_us, p.step))
        yield first
        if second is not first:
            yield second
