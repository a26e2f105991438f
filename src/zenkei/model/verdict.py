"""Whether a repeated run came to the same: the verdict on two jobs, and what it rests on.

    identical          every value of every metric and file is the same, bit for bit
    within tolerance   all values lie as close together as was asked for
    different          something does not; the first such place is named

A NaN is like any other NaN. -0.0 and 0.0 are within any tolerance, but not identical.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from math import inf


class Verdict(StrEnum):
    """From the best to the worst."""

    IDENTICAL = "identical"
    WITHIN = "within_tolerance"
    DIFFERENT = "different"


_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of all; of none: identical."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.IDENTICAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far apart two numbers may lie: |a - b| ≤ t · max(|a|, |b|), or |a - b| ≤ t.

    everywhere: t where nothing else is said. named: (pattern of metrics or paths, t), the last that
    fits counts. ignored: patterns of metrics and paths that are not compared at all.
    """

    everywhere: float = 0.0
    named: tuple[tuple[str, float], ...] = ()
    ignored: tuple[str, ...] = ()

    def of(self, name: str) -> float:
        fitting = [t for pattern, t in self.named if fnmatchcase(name, pattern)]
        return fitting[-1] if fitting else self.everywhere

    def ignores(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.ignored)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Two versions of one thing. where: the first place that decides; a, b: what stands there.

    why: what differs if it is no single value ("shape"). compared, differing: values. relative,
    absolute: the greatest differences; inf where no number says it.
    """

    verdict: Verdict = Verdict.IDENTICAL
    where: str = ""
    why: str = ""
    a: str = ""
    b: str = ""
    compared: int = 0
    differing: int = 0
    relative: float = 0.0
    absolute: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The first difference of two jobs, or one of several. kind: end, metric, file.

    name: of the metric, path of the file. rank, step: of a metric, -1 if there is none. where: the
    element inside of a file. relative, absolute: None where no number says it.
    """

    kind: str
    name: str
    where: str = ""
    why: str = ""
    a: str = ""
    b: str = ""
    rank: int = -1
    step: int = -1
    relative: float | None = 0.0
    absolute: float | None = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Of what two attempts left. first: what decides. others: more of what is not the same.

    notes: what was not compared, or only by its bytes, and why. torch: paths of files that only a
    job with PyTorch can look into; nothing is said about them yet.
    """

    verdict: Verdict
    first: Difference | None = None
    others: tuple[Difference, ...] = ()
    metrics: int = 0
    points: int = 0
    files: int = 0
    size_bytes: int = 0
    relative: float | None = 0.0
    absolute: float | None = 0.0
    notes: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A verdict as it is kept with both jobs. job: the first; against: the one that repeats it."""

    job: str
    against: str
    comparison: Comparison
    tolerance: Tolerance = Tolerance()
    by: str = ""
    at_us: int = 0


NO_NUMBER = inf


def finite(value: float) -> float | None:
    """JSON has no infinities: None."""
    return value if value < inf else None
