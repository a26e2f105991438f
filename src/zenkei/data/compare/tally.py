"""Adds up how values differ: the first place that decides, the greatest differences, counts.

Called by every kind of file and by `series`. Cost: a few passes over each pair of chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from math import copysign, isfinite, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenkei.model.verdict import NO_NUMBER, Finding, Verdict

Array = NDArray[Any]
MOST_CHARS = 80


class Unreadable(Exception):
    """A file is not what its name says, or holds what is never loaded; the text says why."""


class Tally:
    """Values of one thing, in order. tolerance: as in `model.verdict.Tolerance`."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self.compared = self.differing = 0
        self.relative = self.absolute = 0.0
        self._near: tuple[str, str, str] | None = None
        self._far: tuple[str, str, str, str] | None = None
        self.note = ""

    @property
    def decided(self) -> bool:
        """Whether something lies too far apart: what comes later only counts."""
        return self._far is not None

    def differs(self, where: str, why: str, a: str = "", b: str = "") -> None:
        """Something is not the same that no tolerance forgives."""
        self.relative = self.absolute = NO_NUMBER
        self.differing += 1
        self._far = self._far or (where, why, shortened(a), shortened(b))

    def numbers(self, a: Array, b: Array, where: Callable[[int], str]) -> None:
        """Two arrays of the same shape and kind. where: names element i (in C order)."""
        a, b = a.reshape(-1), b.reshape(-1)
        self.compared += a.size
        at = np.flatnonzero(~same(a, b))
        if not at.size:
            return
        self.differing += int(at.size)
        left, right = a[at], b[at]
        absolute, relative = apart(left, right)
        self.absolute = max(self.absolute, float(absolute.max()))
        self.relative = max(self.relative, float(relative.max()))
        first = int(at[0])
        if self._near is None:
            self._near = (where(first), text(left[0]), text(right[0]))
        if self._far is None:
            beyond = np.flatnonzero(~(np.minimum(absolute, relative) <= self._tolerance))
            if beyond.size:
                i = int(beyond[0])
                self._far = (where(int(at[i])), "", text(left[i]), text(right[i]))

    def number(self, a: float, b: float, where: str) -> None:
        """Two single numbers, whatever their types: whole ones of any size are compared as such."""
        self.compared += 1
        if _same_one(a, b):
            return
        absolute, relative = _apart_one(a, b)
        self.differing += 1
        self.absolute = max(self.absolute, absolute)
        self.relative = max(self.relative, relative)
        told = (where, shortened(str(a)), shortened(str(b)))
        self._near = self._near or told
        if self._far is None and not min(absolute, relative) <= self._tolerance:
            self._far = (told[0], "", *told[1:])

    def finding(self) -> Finding:
        verdict, where, why, a, b = Verdict.IDENTICAL, "", "", "", ""
        if self._far is not None:
            verdict, (where, why, a, b) = Verdict.DIFFERENT, self._far
        elif self._near is not None:
            verdict, (where, a, b) = Verdict.WITHIN, self._near
        return Finding(
            verdict=verdict,
            where=where,
            why=why,
            a=a,
            b=b,
            compared=self.compared,
            differing=self.differing,
            relative=self.relative,
            absolute=self.absolute,
            note=self.note,
        )


def same(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where two arrays of one dtype have the same bits; any NaN is like any other."""
    if a.dtype.kind in "fc":
        parts = [(a.real, b.real), (a.imag, b.imag)] if a.dtype.kind == "c" else [(a, b)]
        equal = np.ones(a.shape, np.bool_)
        for x, y in parts:
            both_nan = np.isnan(x) & np.isnan(y)
            equal &= ((x == y) & (np.signbit(x) == np.signbit(y))) | both_nan
        return equal
    if a.dtype.kind in "mM":
        # "not a time" is no equal of itself
        a, b = a.view(np.int64), b.view(np.int64)
    return np.asarray(a == b, np.bool_)


def apart(a: Array, b: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Absolute and relative difference of numbers that are not the same; inf beside NaN and inf."""
    wide: type[Any] = np.complex128 if a.dtype.kind == "c" else np.float64
    if a.dtype.kind not in "iufcb":
        endless = np.full(a.shape, NO_NUMBER)
        return endless, endless
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        absolute = np.abs(x - y)
        if a.dtype.kind in "iu":
            # what float64 cannot tell apart is one apart at least
            absolute = np.maximum(absolute, 1.0)
        absolute = np.where(np.isfinite(x) & np.isfinite(y), absolute, NO_NUMBER)
        scale = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(absolute == 0, 0.0, absolute / scale)
    relative = np.where(np.isnan(relative), NO_NUMBER, relative)
    return absolute.astype(np.float64), relative.astype(np.float64)


def _same_one(a: float, b: float) -> bool:
    """As `same`."""
    try:
        zeros = a == b == 0
        return (a == b and not (zeros and copysign(1.0, a) != copysign(1.0, b))) or (
            isnan(a) and isnan(b)
        )
    except OverflowError:  # a whole number that no float can hold
        return a == b


def _apart_one(a: float, b: float) -> tuple[float, float]:
    """As `apart`, of two numbers that are not the same."""
    try:
        if not (isfinite(a) and isfinite(b)):
            return NO_NUMBER, NO_NUMBER
        absolute = float(abs(a - b))
        return absolute, absolute / max(abs(a), abs(b)) if absolute else 0.0
    except OverflowError:  # a whole number that no float can hold
        return NO_NUMBER, NO_NUMBER


def text(value: Any) -> str:
    """A value for people: all of its digits."""
    item = value.item() if isinstance(value, np.generic) else value
    return shortened(repr(item))


def shortened(words: str) -> str:
    words = words if words.isprintable() else ascii(words)
    return words if len(words) <= MOST_CHARS else words[: MOST_CHARS - 1] + "…"
