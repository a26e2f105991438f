"""Keeps a promise like "by 16:00 with 90 %" true: adaptive conformal correction of a quantile.

`control` keeps one `Coverage` for the quantile that is promised, tells it when a job is first
promised something and when it starts, and keeps its `state`. Pure: times are handed in.

A promise is scored by how far the start was beyond the middle of the estimate, in units of the
estimate's own width: (actual - p50) / (p90 - p50). What is shown is p50 + x · (p90 - p50), where x
is a quantile of the last WINDOW scores. Source: Gibbs, Candès, "Adaptive conformal inference under
distribution shift", NeurIPS 2021: the level of that quantile goes up with each miss and down with
each hit, so that in the long run a share `target` comes true, however waits may drift.

Departures. A miss counts as soon as the promise has passed, not when the job starts at last. Jobs
that still wait take part with what they have waited, as lower bounds of their scores (Kaplan,
Meier, JASA 53 (1958)), because those that started first are those that waited least. Scores that a
true estimate would have take part too, so that the first few do not decide, and x has bounds:
scores come weeks late, and what was wrong then may be right now. Ratios actual / p90 as scores were
tried and lose: they widen certain estimates by what uncertain ones need.

Cost: O(log n) a job; a correction O(n log n), n = WINDOW and the jobs that wait (40 µs for 500).
"""

from __future__ import annotations

import json
from collections import deque
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from zenkei.predict.survival import FloatArray

WINDOW: Final = 500
STEP: Final = 0.01
"""By which one miss moves the level, times what the target leaves."""
FARTHEST: Final = 0.07
"""From the target, for the level: it does not wind up over a long bad time."""
BELIEVED: Final = 50
"""Scores of a true estimate that take part."""
NARROWEST: Final = 0.3
WIDEST: Final = 2.5
SOFTENING_S: Final = 600.0
"""Added to the width: minutes more or less do not matter to who waits for hours."""
MOST_OPEN: Final = 10_000
STATE_VERSION: Final = 1


class Promise(NamedTuple):
    """Of one job that waits, in seconds since `since_s`; missed: it has passed, and was counted."""

    since_s: float
    p50_s: float
    width_s: float
    shown_s: float
    missed: bool = False

    def score(self, now_s: float) -> float:
        """Of a start now."""
        return (now_s - self.since_s - self.p50_s) / self.width_s


class Coverage:
    """Correction of one quantile. target: the share of jobs that starts before what is shown."""

    def __init__(self, target: float) -> None:
        if not 0.5 < target < 1.0:
            raise ValueError(f"a share of {target} is not between one half and 1")
        self.target = target
        self.level = target
        normal = NormalDist()
        self._believed: FloatArray = np.array(
            [normal.inv_cdf((n + 0.5) / BELIEVED) for n in range(BELIEVED)]
        ) / normal.inv_cdf(target)
        self._scores: deque[float] = deque(maxlen=WINDOW)
        self._hits: deque[bool] = deque(maxlen=WINDOW)
        self._open: dict[str, Promise] = {}

    def promise(self, job: str, p50_s: float, high_s: float, now_s: float) -> float:
        """What to show for `job`, estimated to start p50_s from now, by `high_s` with `target`.

        The first promise to a job is the one that counts.
        """
        width_s = max(high_s - p50_s, 0.0) + SOFTENING_S
        shown_s = max(p50_s + self.widening(now_s) * width_s, 0.0)
        if job not in self._open and len(self._open) < MOST_OPEN:
            self._open[job] = Promise(now_s, p50_s, width_s, shown_s)
        return shown_s

    def widening(self, now_s: float) -> float:
        """How many widths beyond the middle a promise lies now."""
        scores = np.concatenate((np.array(self._scores), self._believed))
        bounds = np.array([promise.score(now_s) for promise in self._open.values()])
        found = quantile_of_censored(scores, bounds, self.level)
        return min(max(found, NARROWEST), WIDEST)

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
        self._scores.append(promise.score(now_s))
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
        level = self.level + STEP * (self.target - hit)
        highest = min(self.target + FARTHEST, 0.99)
        self.level = min(max(level, self.target - FARTHEST), highest)

    def state(self) -> bytes:
        """All of it, as JSON."""
        document = {
            "version": STATE_VERSION,
            "target": self.target,
            "level": self.level,
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
        kept = cls(document["target"])
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
