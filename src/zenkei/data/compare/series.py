"""Metrics of two jobs, step by step: which value is the first that differs.

A series is a metric of one rank over all attempts of a job: where an attempt went back to a
checkpoint, its values count for the steps that it did again. Names that zenkei gives itself
(`zenkei/…`) are left out. Cost: about 0.15 µs a point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenkei.data.compare.tally import apart, same, text
from zenkei.model.verdict import NO_NUMBER, Difference, Tolerance, Verdict, finite, worst
from zenkei.protocol import metrics as wire

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
RECORD = np.dtype(
    [("at_us", "<u8"), ("step", "<i8"), ("value", "<f8"), ("name", "<u4"), ("kind", "<u4")]
)
OWN = "zenkei/"
MOST_TOLD = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """steps: `NO_STEP` where none was given. Both `[points]`, in the order of reports."""

    steps: Ints
    values: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsFound:
    """first: the earliest step that decides. differences: one for each series, earliest first."""

    verdict: Verdict
    differences: tuple[Difference, ...]
    metrics: int
    points: int
    relative: float
    absolute: float


Key = tuple[int, str]
"""Rank and name."""


def decode(data: bytes | memoryview) -> dict[str, Series]:
    """A rank's stream by name, in the order of first appearance. As `protocol.metrics.Reader`."""
    rows = np.frombuffer(data, RECORD, len(data) // wire.SIZE)
    names, is_text = _names(rows)
    is_point = rows["kind"] == wire.POINT
    is_point &= ~is_text
    keys, steps, values = (rows[field][is_point] for field in ("name", "step", "value"))
    found = {}
    for key, mine in _groups(keys):
        name = names.get(key, f"#{key:08x}")
        found[name] = Series(steps=steps[mine], values=values[mine])
    return found


def _groups(keys: NDArray[np.uint32]) -> Iterator[tuple[int, Any]]:
    """Each key with the places where it stands, by first appearance."""
    if keys.size and (keys == keys[0]).all():
        yield int(keys[0]), slice(None)
        return
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    parts = [part for part in np.split(order, ends) if part.size]
    for part in sorted(parts, key=lambda one: int(one[0])):
        yield int(keys[part[0]]), part


def _names(rows: NDArray[np.void]) -> tuple[dict[int, str], NDArray[np.bool_]]:
    """Texts by key, and which rows are parts of texts."""
    names: dict[int, str] = {}
    is_text = np.zeros(len(rows), np.bool_)
    until = 0
    for i in np.flatnonzero(rows["kind"] == wire.NAME):
        length = int(rows["step"][i])
        if i < until or not 0 < length <= wire.MAX_NAME_BYTES:
            continue
        until = int(i) + 1 + -(-length // wire.SIZE)
        said = rows[i + 1 : until].tobytes()[:length]
        if len(said) == length:
            names[int(rows["name"][i])] = said.decode("utf-8", "replace")
            is_text[i + 1 : until] = True
    return names, is_text


def joined(attempts: Iterable[Mapping[str, Series]]) -> dict[str, Series]:
    """The series of one rank over its attempts, in order."""
    found: dict[str, Series] = {}
    for attempt in attempts:
        for name, later in attempt.items():
            before = found.get(name)
            if before is None or (later.steps == wire.NO_STEP).any():
                found[name] = later
                continue
            kept = before.steps < later.steps.min()
            found[name] = Series(
                steps=np.concatenate([before.steps[kept], later.steps]),
                values=np.concatenate([before.values[kept], later.values]),
            )
    return found


def compare_series(
    a: Mapping[Key, Series], b: Mapping[Key, Series], tolerance: Tolerance
) -> MetricsFound:
    """See the module's docstring."""
    found: list[tuple[Verdict, Difference]] = []
    metrics = points = 0
    relative = absolute = 0.0
    for key in dict.fromkeys([*a, *b]):
        rank, name = key
        if name.startswith(OWN) or tolerance.ignores(name):
            continue
        metrics += 1
        x, y = a.get(key), b.get(key)
        if x is None or y is None:
            one = x or y
            assert one is not None
            words = f"only the {'first' if x is not None else 'second'} reports it"
            found.append((Verdict.DIFFERENT, _unlike(rank, name, _step(one, 0), words)))
            continue
        points += min(x.steps.size, y.steps.size)
        for verdict, difference in _of_one(rank, name, x, y, tolerance.of(name)):
            relative = max(relative, _endless(difference.relative))
            absolute = max(absolute, _endless(difference.absolute))
            found.append((verdict, difference))
    verdict = worst(verdict for verdict, _ in found)
    deciding = [one for one in found if one[0] is verdict]
    rest = [one for one in found if one[0] is not verdict]
    order = sorted(deciding, key=lambda one: one[1].step) + rest
    return MetricsFound(
        verdict=verdict,
        differences=tuple(difference for _, difference in order[:MOST_TOLD]),
        metrics=metrics,
        points=points,
        relative=relative,
        absolute=absolute,
    )


def _of_one(
    rank: int, name: str, x: Series, y: Series, tolerance: float
) -> list[tuple[Verdict, Difference]]:
    """The first value that differs, and whether the steps are others; at most one of them."""
    common = min(x.steps.size, y.steps.size)
    other_steps = np.flatnonzero(x.steps[:common] != y.steps[:common])
    sound = int(other_steps[0]) if other_steps.size else common
    at = np.flatnonzero(~same(x.values[:sound], y.values[:sound]))
    left, right = x.values[at], y.values[at]
    absolute, relative = apart(left, right)
    beyond = np.flatnonzero(~(np.minimum(absolute, relative) <= tolerance))
    i = int(beyond[0]) if beyond.size else 0
    if at.size and (beyond.size or (sound == x.steps.size == y.steps.size)):
        difference = Difference(
            kind="metric",
            name=name,
            rank=rank,
            step=_step(x, int(at[i])),
            a=text(left[i]),
            b=text(right[i]),
            relative=finite(float(relative.max())),
            absolute=finite(float(absolute.max())),
        )
        return [(Verdict.DIFFERENT if beyond.size else Verdict.WITHIN, difference)]
    if sound < common:
        words, step = "another step", min(_step(x, sound), _step(y, sound))
        a, b = str(_step(x, sound)), str(_step(y, sound))
        return [(Verdict.DIFFERENT, _unlike(rank, name, step, words, a, b))]
    if x.steps.size != y.steps.size:
        longer = x if x.steps.size > common else y
        words = f"only the {'first' if longer is x else 'second'} goes on from here"
        return [(Verdict.DIFFERENT, _unlike(rank, name, _step(longer, common), words))]
    return []


def _unlike(rank: int, name: str, step: int, why: str, a: str = "", b: str = "") -> Difference:
    return Difference(
        kind="metric",
        name=name,
        rank=rank,
        step=step,
        why=why,
        a=a,
        b=b,
        relative=None,
        absolute=None,
    )


def _endless(value: float | None) -> float:
    return NO_NUMBER if value is None else value


def _step(series: Series, at: int) -> int:
    """Its number, or its place where none was given."""
    step = int(series.steps[at])
    return at if step == wire.NO_STEP else step
