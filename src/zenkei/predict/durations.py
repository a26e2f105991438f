"""Run times learned online from what has ended; answers for a job that has not run, or runs.

`control` and `sim` keep one `Durations` per cluster, tell it what ends, keep its `state` and hand
`freeze()` to planner and estimates; a forecaster never changes. Pure.

A tree of groups: all → queue → user → project → name template → image → command → GPUs → burst,
where a burst is what was submitted in one group with gaps of 300 s at most. Each group holds, per
bin, the runs that ended (E) and that were at risk (R); its hazard h = (E + s·h_parent) / (R + s),
s = SHRINKAGE: a group with little evidence is like its parent, one with much like itself. Runs that
users cancelled and runs that are not over were at risk as long as they ran, and ended nowhere
(Kaplan, Meier, JASA 53 (1958)): who learns from finished jobs only believes that all are short.
Evidence fades by the time at which a run was seen to leave a bin, not by when it began or ended (a
period life table, as demographers make them): otherwise nothing would be known of long runs but
from jobs long ago. A user's time limit is not among the facts.

Cost (`bench.durations`): `ended` O(depth), `freeze` a copy of the tables (1.3 kB a group), the
first question about a group O(depth · bins), the next ones a lookup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import exp
from typing import Any, Final
from zlib import compress, decompress

import numpy as np

from zenkei.predict.facts import Facts, path
from zenkei.predict.groups import AT_RISK, Groups, find
from zenkei.predict.survival import (
    BINS,
    EDGES_S,
    PRIOR,
    FloatArray,
    Survival,
    bin_of,
)

SHRINKAGE: Final = 0.6
"""Runs of its own that weigh as much as all that the parent knows."""
PRIOR_STRENGTH: Final = 3.0
"""Runs that weigh as much as the prior, above the root."""
MEMORIES_S: Final = (3 * 86400.0, 60 * 86400.0)
"""What was seen that much earlier counts 1/e: in groups that name nobody and nothing, because who
works changes within days, and in those that do."""
MOST_MEMORIES: Final = 30.0
"""After so many the weights are brought back to 1."""
MOST_GROUPS: Final = 4096
BURST_GAP_US: Final = 300_000_000
MOST_BURSTS: Final = 4
"""Bursts remembered in a group, the latest."""
ROOT_SHARE: Final = 0.1
"""Of a burst's law; a burst that all ended alike is no proof that the next member does."""
STATE_VERSION: Final = 1

Bursts = dict[tuple[str, ...], list[list[int]]]
"""By path: first and last submission of each burst, oldest first."""


class Durations:
    """Learns. limit: groups at most; those unused longest go first.

    Weights grow with the time at which something was seen, relative to an epoch, instead of fading.
    """

    def __init__(self, *, limit: int = MOST_GROUPS) -> None:
        self._groups = Groups(limit)
        self._bursts: Bursts = {}
        self._epochs_us = [0] * len(MEMORIES_S)
        self._latest_us = 0
        self._version = 0

    def __len__(self) -> int:
        return len(self._groups)

    def ended(
        self, facts: Facts, served_s: float, *, now_us: int | None = None, censored: bool = False
    ) -> None:
        """A job ended after `served_s` of service; censored: not by itself (a user's cancel).

        now_us: without it the job is taken to have begun when it was submitted.
        """
        labels = path(facts)
        burst = self._burst_of(labels, facts.submitted_us)
        began_us = facts.submitted_us if now_us is None else now_us - round(1e6 * served_s)
        end = bin_of(served_s)
        self._advance(began_us + round(1e6 * served_s))
        seen = _seen(began_us, served_s, end if censored else end + 1, self._epochs_us)
        self._groups.add((*labels, burst), seen, None if censored else end)
        self._version += 1

    def seen(self, facts: Facts) -> float:
        """Runs that the narrowest known group of `facts` remembers, faded ones in part."""
        row = self._groups.find(path(facts))[-1]
        faded = self._faded(self._latest_us)[self._groups.named[row]]
        return float(self._groups.counts[row, AT_RISK, 0] * faded)

    def freeze(
        self, running: Iterable[tuple[Facts, float]] = (), *, now_us: int | None = None
    ) -> Forecaster:
        """What is known now. running: jobs that have run so long (s) and are not over.

        now_us: without it running jobs are taken to have begun when they were submitted.
        """
        groups = self._groups
        named = groups.named[: groups.size]
        at_us = self._latest_us if now_us is None else max(now_us, self._latest_us)
        frozen = Forecaster(
            rows=dict(groups.rows),
            bursts={key: [list(b) for b in kept] for key, kept in self._bursts.items()},
            counts=groups.counts[: groups.size] * self._faded(at_us)[named, None, None],
            version=self._version,
        )
        for facts, age_s in running:
            began_us = facts.submitted_us if now_us is None else now_us - round(1e6 * age_s)
            seen = _seen(began_us, age_s, bin_of(age_s), [at_us] * len(MEMORIES_S))
            rows = frozen.groups(facts)
            frozen.counts[rows, AT_RISK] += seen[named[rows]]
        return frozen

    def state(self) -> bytes:
        """All that was learned, as compressed JSON with only the bins that hold something."""
        document = {
            "version": STATE_VERSION,
            "learned": self._version,
            "limit": self._groups.limit,
            "epochs_us": self._epochs_us,
            "latest_us": self._latest_us,
            "groups": [
                [parent, label, row, _sparse(self._groups.counts[row])]
                for (parent, label), row in self._groups.rows.items()
            ],
            "bursts": [[list(key), kept] for key, kept in self._bursts.items()],
        }
        return compress(json.dumps(document, separators=(",", ":")).encode())

    @classmethod
    def from_state(cls, state: bytes) -> Durations:
        """Raises ValueError for a state of another version, or none at all."""
        document: dict[str, Any] = json.loads(decompress(state))
        if document.get("version") != STATE_VERSION:
            raise ValueError(f"durations of version {document.get('version')}: cannot be read")
        learned = cls(limit=document["limit"])
        learned._groups.restore([(group[0], group[1], group[2]) for group in document["groups"]])
        for _, _, row, kept in document["groups"]:
            for place, amount in kept:
                learned._groups.counts[row].flat[place] = amount
        learned._epochs_us = document["epochs_us"]
        learned._latest_us = document["latest_us"]
        learned._bursts = {tuple(key): kept for key, kept in document["bursts"]}
        learned._version = document["learned"]
        return learned

    def _advance(self, now_us: int) -> None:
        """A long time after an epoch that moves up, and all weights with it."""
        self._latest_us = max(self._latest_us, now_us)
        for place, memory_s in enumerate(MEMORIES_S):
            ahead = (self._latest_us - self._epochs_us[place]) / (1e6 * memory_s)
            if ahead > MOST_MEMORIES:
                self._groups.scale(place, exp(-ahead))
                self._epochs_us[place] = self._latest_us

    def _faded(self, now_us: int) -> FloatArray:
        """`[named or not]`: what brings weights to those of now."""
        since_s = (now_us - np.array(self._epochs_us)) / 1e6
        factors: FloatArray = np.exp(-since_s / np.array(MEMORIES_S))
        return factors

    def _burst_of(self, labels: tuple[str, ...], submitted_us: int) -> str:
        """The label of the burst that a submission belongs to; it may lengthen it or begin one."""
        kept = self._bursts.pop(labels, [])
        self._bursts[labels] = kept
        if len(self._bursts) > self._groups.limit:
            del self._bursts[next(iter(self._bursts))]
        for burst in reversed(kept):
            if _belongs(burst, submitted_us):
                burst[1] = max(burst[1], submitted_us)
                return _burst_label(burst)
        kept.append([submitted_us, submitted_us])
        del kept[:-MOST_BURSTS]
        return _burst_label([submitted_us])


class Forecaster:
    """Answers from what was known when it was frozen. Immutable; laws are made when asked for."""

    def __init__(
        self,
        *,
        rows: dict[tuple[int, str], int],
        bursts: Bursts,
        counts: FloatArray,
        version: int,
    ) -> None:
        self.version = version
        self.counts = counts
        self._rows = rows
        self._bursts = bursts
        self._hazards: dict[tuple[int, ...], FloatArray] = {}
        self._laws: dict[tuple[int, ...], Survival] = {}

    def groups(self, facts: Facts) -> list[int]:
        """Rows from the root down to the narrowest group that is known."""
        labels = path(facts)
        for burst in reversed(self._bursts.get(labels, ())):
            if _belongs(burst, facts.submitted_us):
                return find(self._rows, (*labels, _burst_label(burst)))
        return find(self._rows, labels)

    def law(self, facts: Facts) -> Survival:
        """The law of the run time of such a job."""
        labels = path(facts)
        rows = tuple(self.groups(facts))
        law = self._laws.get(rows)
        if law is None:
            hazards = self._hazard(rows)
            if len(rows) == len(labels) + 2:
                hazards = (1.0 - ROOT_SHARE) * hazards + ROOT_SHARE * self._hazard(rows[:1])
            law = self._laws[rows] = Survival.of(hazards)
        return law

    def quantile(
        self,
        facts: Facts,
        q: float,
        *,
        age_s: float = 0.0,
        progress: tuple[float, float] | None = None,
    ) -> float:
        """The total run time (s) that a share `q` of such jobs of age `age_s` does not exceed.

        progress: the share of the steps that was done, and the age (s) at that report.
        """
        law = self.law(facts)
        if progress is not None:
            return law.narrowed(*progress).quantile(q, age_s)
        return law.quantile(q, age_s)

    def remaining(self, facts: Facts, age_s: float, draws: FloatArray) -> FloatArray:
        """What is left to run (s), one for each of `draws`, uniform in [0, 1)."""
        left: FloatArray = self.law(facts).totals(age_s, draws) - age_s
        return left

    def value(self, facts: Facts, age_s: float = 0.0) -> float:
        """The Gittins index (1/s): how fast service to this job lets jobs end."""
        return self.law(facts).value(age_s)

    def _hazard(self, rows: tuple[int, ...]) -> FloatArray:
        if not rows:
            return PRIOR
        hazard = self._hazards.get(rows)
        if hazard is None:
            ended, at_risk = self.counts[rows[-1]]
            pull = SHRINKAGE if len(rows) > 1 else PRIOR_STRENGTH
            wider = pull * self._hazard(rows[:-1])
            hazard = self._hazards[rows] = (ended + wider) / (at_risk + pull)
        return hazard


def _seen(began_us: int, served_s: float, bins: int, epochs_us: list[int]) -> FloatArray:
    """`[named or not, BINS]`: weights of the first `bins` bins of a run, each when it was left."""
    left_s = np.minimum(EDGES_S[1 : bins + 1], served_s)
    began_s = (began_us - np.array(epochs_us)) / 1e6
    seen = np.zeros((len(MEMORIES_S), BINS))
    seen[:, :bins] = np.exp((began_s[:, None] + left_s) / np.array(MEMORIES_S)[:, None])
    return seen


def _sparse(counts: FloatArray) -> list[tuple[int, float]]:
    flat = counts.ravel()
    return [(int(place), float(flat[place])) for place in np.flatnonzero(flat)]


def _belongs(burst: list[int], submitted_us: int) -> bool:
    return burst[0] - BURST_GAP_US <= submitted_us <= burst[1] + BURST_GAP_US


def _burst_label(burst: list[int]) -> str:
    return f"b:{burst[0]}"
