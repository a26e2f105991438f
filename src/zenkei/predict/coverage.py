"""Keeps a promise like "by 16:00 with 90 %" true: adaptive conformal correction of a quantile.

`control` keeps one `Coverage` per quantile shown, tells it when a job is first promised something
and when it starts, and keeps its `state`. Pure: times are handed in.

A promise of `raw_s` is scored by log((actual + 60) / (raw + 60)); what is shown is the raw one
moved by a quantile of the last WINDOW scores. Source: Gibbs, Candès, "Adaptive conformal inference
under distribution shift", NeurIPS 2021: the level of that quantile goes up with each miss and down
with each hit, so that in the long run a share `target` comes true, however waits may drift.
Departures: a miss counts as soon as the promise has passed, not when the job starts at last; jobs
that still wait take part with what they have waited, as lower bounds of their scores (Kaplan,
Meier, JASA 53 (1958)), because those that started first are those that waited least.

Cost: O(log n) a job; a correction O(n log n), n = WINDOW and the jobs that wait (40 µs for 500).
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np

from zenkei.predict.survival import FloatArray

WINDOW: Final = 500
STEP: Final = 0.01
"""By which one miss moves the level, times what the target leaves."""
SOFTENING_S: Final = 60.0
"""Seconds more or less do not matter to who waits for hours."""
FEWEST: Final = 20
"""Scores below which nothing is corrected."""
MOST_OPEN: Final = 10_000
STATE_VERSION: Final = 1


class Promise(NamedTuple):
    """Of one job that waits, in seconds since `since_s`; missed: it has passed, and was counted."""

    since_s: float
    raw_s: float
    shown_s: float
    missed: bool = False


class Coverage:
    """Correction of one quantile. target: the share of jobs that starts before what is shown."""

    def __init__(self, target: float, *, window: int = WINDOW, step: float = STEP) -> None:
        if not 0.0 < target < 1.0:
            raise ValueError(f"a share of {target} is not between 0 and 1")
        self.target = target
        self.level = target
        self._step = step
        self._scores: deque[float] = deque(maxlen=window)
        self._hits: deque[bool] = deque(maxlen=window)
        self._open: dict[str, Promise] = {}

    def promise(self, job: str, raw_s: float, now_s: float) -> float:
        """What to show for `job`, which seems to wait `raw_s` from now; the first one counts."""
        shown_s = self.corrected(raw_s, now_s)
        if job not in self._open and len(self._open) < MOST_OPEN:
            self._open[job] = Promise(now_s, raw_s, shown_s)
        return shown_s

    def corrected(self, raw_s: float, now_s: float) -> float:
        """`raw_s` moved by what was learned."""
        return max((raw_s + SOFTENING_S) * float(np.exp(self.shift(now_s))) - SOFTENING_S, 0.0)

    def shift(self, now_s: float) -> float:
        """By how much the logarithm of a wait is moved now."""
        if len(self._scores) < FEWEST:
            return 0.0
        scores = np.array(self._scores)
        bounds = np.array([_score(p, now_s) for p in self._open.values()])
        return quantile_of_censored(scores, bounds, min(max(self.level, 0.0), 1.0))

    def passed(self, now_s: float) -> None:
        """Count the promises that have passed without a start."""
        for job, promise in self._open.items():
            if not promise.missed and now_s - promise.since_s > promise.shown_s:
                self._open[job] = promise._replace(missed=True)
                self._count(hit=False)

    def started(self, job: str, now_s: float) -> None:
        """A job started; unknown ones are nobody's promise."""
        promise = self._open.pop(job, None)
        if promise is None:
            return
        self._scores.append(_score(promise, now_s))
        if not promise.missed:
            self._count(hit=now_s - promise.since_s <= promise.shown_s)

    def withdrawn(self, job: str) -> None:
        """A job will never start: cancelled, or its request changed."""
        self._open.pop(job, None)

    def observed(self) -> tuple[float, int]:
        """The share of the last promises that came true, and of how many."""
        return (sum(self._hits) / len(self._hits) if self._hits else 0.0), len(self._hits)

    def _count(self, *, hit: bool) -> None:
        self._hits.append(hit)
        # within bounds that keep it from winding up over a long bad time
        self.level = min(max(self.level + self._step * (self.target - hit), 0.01), 0.995)

    def state(self) -> bytes:
        """All of it, as JSON."""
        document = {
            "version": STATE_VERSION,
            "target": self.target,
            "level": self.level,
            "window": self._scores.maxlen,
            "step": self._step,
            "scores": list(self._scores),
            "hits": list(self._hits),
            "open": self._open,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_state(cls, state: bytes) -> Coverage:
        """Raises ValueError for a state of another version, or none at all."""
        document: dict[str, Any] = json.loads(state)
        if document.get("version") != STATE_VERSION:
            raise ValueError(f"coverage of version {document.get('version')}: cannot be read")
        kept = cls(document["target"], window=document["window"], step=document["step"])
        kept.level = document["level"]
        kept._scores.extend(document["scores"])
        kept._hits.extend(document["hits"])
        kept._open = {job: Promise(*promise) for job, promise in document["open"].items()}
        return kept


def quantile_of_censored(scores: FloatArray, bounds: FloatArray, level: float) -> float:
    """The quantile of scores of which some are known to be greater than `bounds` only.

    Kaplan–Meier; the greatest score where it cannot be told.
    """
    values = np.concatenate((scores, bounds))
    known = np.concatenate((np.ones(len(scores)), np.zeros(len(bounds))))
    # at equal values those that started come first, as they were at risk together
    order = np.lexsort((-known, values))
    values, known = values[order], known[order]
    at_risk = np.arange(len(values), 0, -1)
    beyond = np.cumprod(1.0 - known / at_risk)
    reached = np.flatnonzero((beyond <= 1.0 - level + 1e-12) & (known > 0))
    return float(values[reached[0]]) if len(reached) else float(scores.max())


def _score(promise: Promise, now_s: float) -> float:
    waited_s = now_s - promise.since_s
    return float(np.log((waited_s + SOFTENING_S) / (promise.raw_s + SOFTENING_S)))
