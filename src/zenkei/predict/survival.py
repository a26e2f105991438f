"""The law of one group's run times: discrete hazards on a grid that grows by a quarter octave.

Made by `durations.Forecaster` per group, read by planner, simulator and `starts`. Pure, immutable.
Bin k holds run times in (EDGES_S[k], EDGES_S[k + 1]]; within a bin the survival falls linearly.
Beyond the grid (306 days) run times are Pareto. Departure from the literature's heavy tails: the
prior is lognormal with a cut, because with a Pareto law of exponent below 1 its mean has no bound,
and a line of jobs that nothing is known of would never end.

`value` is the Gittins index: Gittins, J. R. Stat. Soc. B 41 (1979); for queues with unknown
durations Aalto, Ayesta, Righter, Queueing Systems 63 (2009). Departure: horizons end at edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import erfc, log, sqrt

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BINS = 84
FIRST_EDGE_S = 15.0
STEPS_PER_OCTAVE = 4
TAIL = 1.5
"""Exponent of the Pareto law beyond the grid."""
PRIOR_MEDIAN_S = 1200.0
PRIOR_WIDTH = 2.2
"""Of the logarithm, in the lognormal law of no evidence: nine of ten end within 6 hours."""
PRIOR_END_S = 5 * 86400.0
"""Beside that runs end by chance, once in so long: few are let run for weeks."""

EDGES_S: FloatArray = np.concatenate(
    ([0.0], FIRST_EDGE_S * 2.0 ** (np.arange(BINS) / STEPS_PER_OCTAVE))
)
HORIZON_S = float(EDGES_S[-1])

FINE = 8
"""Parts of a bin where progress narrows the law beyond the grid."""
LEAST_PROGRESS = 0.01
"""Below it a report says more about the start than about the pace."""
DOUBT = 0.05
"""Share of the law without progress that stays: a program may count its steps wrong."""


def _prior() -> FloatArray:
    """`[BINS]`, hazards of no evidence."""
    spread = PRIOR_WIDTH * sqrt(2.0)
    later = [0.5 * erfc(log(edge_s / PRIOR_MEDIAN_S) / spread) for edge_s in EDGES_S[1:]]
    alive = np.array([1.0, *later]) * np.exp(-EDGES_S / PRIOR_END_S)
    hazards: FloatArray = 1.0 - alive[1:] / alive[:-1]
    hazards.setflags(write=False)
    return hazards


PRIOR: FloatArray = _prior()


def bin_of(seconds: float) -> int:
    """The bin in which a run of `seconds` ends."""
    return min(max(int(np.searchsorted(EDGES_S, seconds)) - 1, 0), BINS - 1)


@dataclass(frozen=True)
class Survival:
    """alive: `[BINS + 1]`, share of the runs that lasts longer than each edge; falls from 1."""

    alive: FloatArray

    @classmethod
    def of(cls, hazards: FloatArray) -> Survival:
        """hazards: `[BINS]`, the chance to end in a bin of those who came to it."""
        alive = np.concatenate(([1.0], np.cumprod(1.0 - hazards)))
        alive.setflags(write=False)
        return cls(alive)

    def share_alive(self, age_s: float) -> float:
        """Share of the runs that lasts longer than `age_s`."""
        if age_s >= HORIZON_S:
            return float(self.alive[-1] * (HORIZON_S / age_s) ** TAIL)
        return float(np.interp(age_s, EDGES_S, self.alive))

    def totals(self, age_s: float, draws: FloatArray) -> FloatArray:
        """Run times by inverse CDF, given that `age_s` is over. draws: uniform in [0, 1)."""
        left = (1.0 - draws) * self.share_alive(age_s)
        found = np.interp(left, self.alive[::-1], EDGES_S[::-1])
        beyond = left < self.alive[-1]
        if beyond.any():
            tail = HORIZON_S * (self.alive[-1] / np.maximum(left, 1e-300)) ** (1.0 / TAIL)
            found = np.where(beyond, tail, found)
        totals: FloatArray = np.maximum(found, age_s)
        return totals

    def quantile(self, q: float, age_s: float = 0.0) -> float:
        """The run time that a share `q` of those that ran `age_s` does not exceed, in seconds."""
        return float(self.totals(age_s, np.array([q]))[0])

    def value(self, age_s: float) -> float:
        """Gittins: the greatest P(end) / E(service) over horizons, of those older than `age_s`."""
        if age_s >= HORIZON_S:
            return TAIL / age_s
        first = int(np.searchsorted(EDGES_S, age_s, side="right")) - 1
        return float(self._values[first])

    @cached_property
    def _values(self) -> FloatArray:
        """`[BINS]`, by the edge from which service is given."""
        area = np.concatenate(
            ([0.0], np.cumsum(np.diff(EDGES_S) * (self.alive[:-1] + self.alive[1:]) / 2.0))
        )
        ends = self.alive[:-1, None] - self.alive[None, 1:]
        service = area[None, 1:] - area[:-1, None]
        later = np.triu(np.ones((BINS, BINS), dtype=bool))
        rates = np.divide(ends, service, out=np.zeros_like(ends), where=later & (service > 0.0))
        best: FloatArray = rates.max(axis=1)
        return best

    def narrowed(self, done: float, seen_s: float) -> Narrowed | Survival:
        """The law of a run that had done the share `done` of its steps when it was `seen_s` old."""
        if done < LEAST_PROGRESS or seen_s <= 0.0:
            return self
        return Narrowed.of(self, min(done, 1.0), seen_s)


@dataclass(frozen=True)
class Narrowed:
    """A law given progress. The rest is lognormal around what the pace so far says.

    Its width falls from 0.7 to 0.2 (of the logarithm) while the job goes on: early paces hold
    start-up and caches. edges_s, alive: as of `Survival`, on a finer grid.
    """

    edges_s: FloatArray
    alive: FloatArray

    @classmethod
    def of(cls, law: Survival, done: float, seen_s: float) -> Narrowed:
        rest_s = max(seen_s * (1.0 - done) / done, 1.0)
        width = 0.2 + 0.5 * (1.0 - done)
        steps = np.arange(BINS * FINE + 1) / FINE
        coarse = np.interp(steps, np.arange(BINS + 1), EDGES_S)
        near = seen_s + rest_s * np.exp(width * np.linspace(-4.0, 4.0, 65))
        edges = np.unique(np.concatenate((coarse, near, [seen_s])))
        edges = edges[edges >= seen_s]
        alive = np.interp(edges, EDGES_S, law.alive)
        prior = np.append(-np.diff(alive), alive[-1])
        middle = np.append((edges[1:] + edges[:-1]) / 2.0, edges[-1])
        deviation = np.log(np.maximum(middle - seen_s, 1e-3) / rest_s) / width
        told = prior * np.exp(-0.5 * deviation**2)
        if told.sum() <= 0.0:
            told = np.exp(-0.5 * deviation**2) * np.append(np.diff(edges), 0.0)
        both = (1.0 - DOUBT) * told / told.sum() + DOUBT * prior / max(prior.sum(), 1e-300)
        left = np.append(np.cumsum(both[::-1])[::-1], 0.0)
        return cls(np.append(edges, edges[-1] * 2.0), left / left[0])

    def quantile(self, q: float, age_s: float = 0.0) -> float:
        """As of `Survival`."""
        if age_s >= self.edges_s[-1]:
            return float(age_s * (1.0 - q) ** (-1.0 / TAIL))
        left = (1.0 - q) * float(np.interp(age_s, self.edges_s, self.alive))
        return max(float(np.interp(left, self.alive[::-1], self.edges_s[::-1])), age_s)
