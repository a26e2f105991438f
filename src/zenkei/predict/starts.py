"""When waiting jobs will start: the line run forward on a coarse model over sampled run times.

`control` asks for all waiting jobs in the production order whenever its snapshot has changed and
shows p50 and p90 after `coverage` has corrected them; it never waits for the answer in a cycle.
Pure: the seed is handed in, the same input gives the same answer.

The model counts GPUs per place (a node, or a domain that stands for many), knows no CPUs, memory,
labels and limits, and serves the line in the order given, with back-filling. Beyond what a list
schedule of those present knows:
- newcomers: those who will come while a job waits, and may pass it, are drawn from those who came
  lately: the same stream, begun at another point in each sample, so that its bursts stay whole;
- what waits is not what ended lately: the run times of a group are longer or shorter together, in
  each sample by another factor (`DRIFT`), so that the errors of a long line do not average out.

Cost: 1,000 waiting and 1,000 newcomers on 128 busy nodes, 64 samples: 0.5 to 0.9 s on one core of a
shared 2-vCPU Xeon. The clock of all samples runs forward, so the head of the line is known first;
`Serving.most_steps` ends the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from zenkei.predict.durations import Forecaster
from zenkei.predict.facts import Facts
from zenkei.predict.lockstep import IntArray, Line, Lockstep
from zenkei.predict.survival import FloatArray, Survival

MOST_NEWCOMERS: Final = 3_000
"""Per sample; later ones would pass jobs whose estimate is days wide anyway."""
MOST_ROUNDS: Final = 20
"""How often the stream of newcomers is begun again."""
MOST_LOAD: Final = 0.9
"""Share of all GPUs that newcomers ask for, at most and in the long run."""
DRIFT: Final = 0.35
"""Of the logarithm: run times of a group that waits, beside those of it that ended lately."""


class Running(NamedTuple):
    """places: one for each part, `gpus` milli each; cap_s: it gives them up then at the latest.

    A job that those who wait may displace holds its GPUs against them until that time only.
    """

    facts: Facts
    age_s: float
    places: tuple[int, ...]
    gpus: int
    cap_s: float = inf


class Waiting(NamedTuple):
    """parts: places that it needs at once, `gpus` milli on each; cap_s: as of `Running`."""

    facts: Facts
    parts: int
    gpus: int
    cap_s: float = inf


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """Who came in the last `span_s`, with the second of that time in which each came (rising)."""

    jobs: Sequence[Waiting] = ()
    came_s: Sequence[float] = ()
    span_s: float = 1.0


NOBODY_COMES: Final = Newcomers()


class Serving(NamedTuple):
    """most_steps: of one sample; what is not known then has no estimate. strict: nobody passes."""

    samples: int = 64
    most_steps: int = 30_000
    strict: bool = False


USUAL: Final = Serving()


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """starts_s: `[samples, jobs]` from now, inf where unknown; reached_s: known up to there."""

    starts_s: FloatArray
    reached_s: float
    steps: int

    def quantile(self, q: float) -> FloatArray:
        """Of each job, in seconds from now; inf: later than `reached_s`."""
        ordered = np.sort(self.starts_s, axis=0)
        found: FloatArray = ordered[max(ceil(q * len(ordered)) - 1, 0)]
        return found


def estimate(
    capacity: Sequence[int],
    running: Sequence[Running],
    waiting: Sequence[Waiting],
    forecaster: Forecaster,
    *,
    seed: int,
    newcomers: Newcomers = NOBODY_COMES,
    asked: Sequence[int] | None = None,
    serving: Serving = USUAL,
) -> Estimates:
    """Starts of `waiting` (the order in which they are served), capacity: milli-GPUs per place.

    asked: places in the line that are of interest, all by default; quantiles above `lockstep.KNOWN`
    are of no meaning.
    """
    samples = serving.samples
    dice = Draws(np.random.default_rng(seed), forecaster, samples)
    shapes: dict[tuple[int, int], int] = {}
    kinds = [_shape(shapes, job) for job in waiting]
    come = _newcomers(newcomers, shapes, dice, sum(capacity))
    parts, gpus = np.array(list(shapes), dtype=np.int64).reshape(-1, 2).T
    here = np.zeros((samples, len(waiting)))
    base = np.repeat(np.array(kinds, dtype=np.int64)[None, :], samples, axis=0)
    line = Line(
        free=_free(capacity, running),
        parts=parts,
        gpus=gpus,
        classes=np.concatenate((base, come.kinds), axis=1),
        after_s=np.concatenate((here, come.after_s), axis=1),
        runs_s=np.concatenate((dice.runs(waiting, drifting=True), come.runs_s), axis=1),
        held_places=np.array([p for job in running for p in job.places], dtype=np.int64),
        held_gpus=np.array([job.gpus for job in running for _ in job.places], dtype=np.int64),
        held_s=_held(running, dice),
        waiting=len(waiting),
        asked=np.arange(len(waiting)) if asked is None else np.array(asked, dtype=np.int64),
        strict=serving.strict,
    )
    run = Lockstep(line)
    steps = run.run(serving.most_steps)
    unknown = run.missing > 0
    reached_s = float(run.now_s[unknown].min()) if unknown.any() else inf
    return Estimates(starts_s=run.starts_s, reached_s=reached_s, steps=steps)


class Draws:
    """Run times of jobs, stratified over the samples; those of a group drift together."""

    def __init__(self, dice: Generator, forecaster: Forecaster, samples: int) -> None:
        self.dice = dice
        self.samples = samples
        self._forecaster = forecaster
        normal = NormalDist()
        self._normal = np.array([normal.inv_cdf((n + 0.5) / samples) for n in range(samples)])
        self._drifts: dict[int, FloatArray] = {}

    def uniform(self, jobs: int) -> FloatArray:
        """`[samples, jobs]`: of each job each of `samples` equal parts of [0, 1) is met once."""
        parts = np.repeat(np.arange(self.samples)[:, None], jobs, axis=1)
        shuffled = self.dice.permuted(parts, axis=0)
        drawn: FloatArray = (shuffled + self.dice.random(parts.shape)) / self.samples
        return drawn

    def drift(self, law: Survival) -> FloatArray:
        """`[samples]`: by what those who have not started yet differ from those of the law."""
        found = self._drifts.get(id(law))
        if found is None:
            found = self._drifts[id(law)] = np.exp(DRIFT * self.dice.permuted(self._normal))
        return found

    def runs(self, jobs: Sequence[Waiting], *, drifting: bool) -> FloatArray:
        """`[samples, jobs]`: how long each holds its places once it has started."""
        found = np.empty((self.samples, len(jobs)))
        groups: dict[int, tuple[Survival, list[int]]] = {}
        for place, job in enumerate(jobs):
            law = self._forecaster.law(job.facts)
            groups.setdefault(id(law), (law, []))[1].append(place)
        for law, places in groups.values():
            found[:, places] = law.totals(0.0, self.uniform(len(places)))
            if drifting:
                found[:, places] *= self.drift(law)[:, None]
        caps: FloatArray = np.minimum(found, np.array([job.cap_s for job in jobs]))
        return caps

    def rest(self, job: Running) -> FloatArray:
        """`[samples]`: how long a running job holds its places from now on."""
        law = self._forecaster.law(job.facts)
        left = law.totals(job.age_s, self.uniform(1)[:, 0]) - job.age_s
        capped: FloatArray = np.minimum(left, job.cap_s)
        return capped


class _Coming(NamedTuple):
    """`[samples, newcomers]` each."""

    kinds: IntArray
    after_s: FloatArray
    runs_s: FloatArray


def _shape(shapes: dict[tuple[int, int], int], job: Waiting) -> int:
    return shapes.setdefault((job.parts, job.gpus), len(shapes))


def _free(capacity: Sequence[int], running: Sequence[Running]) -> IntArray:
    """Milli-GPUs free at each place; what is over-committed counts as full."""
    free = np.array(capacity, dtype=np.int64)
    for job in running:
        for place in job.places:
            free[place] -= job.gpus
    return np.maximum(free, 0)


def _held(running: Sequence[Running], dice: Draws) -> FloatArray:
    """`[samples, held parts]`: when each is given back."""
    ends = [end for job in running for end in [dice.rest(job)] * len(job.places)]
    return np.array(ends).reshape(len(ends), dice.samples).T


def _newcomers(
    past: Newcomers, shapes: dict[tuple[int, int], int], dice: Draws, room: int
) -> _Coming:
    """The past stream again, from another point on in each sample, round and round.

    A stream that asks for more than there is (`room`, milli-GPUs) cannot go on for ever: it is
    stretched until it asks for `MOST_LOAD` of it.
    """
    count = len(past.jobs)
    rounds = min(MOST_NEWCOMERS // count, MOST_ROUNDS) if count else 0
    if rounds <= 0:
        nobody = np.zeros((dice.samples, 0))
        return _Coming(nobody.astype(np.int64), nobody, nobody)
    kinds = np.array([_shape(shapes, job) for job in past.jobs], dtype=np.int64)
    came_s = np.array(past.came_s)
    begin_s = dice.dice.random(dice.samples) * past.span_s
    first = np.searchsorted(came_s, begin_s)
    turn = (first[:, None] + np.arange(rounds * count)) // count
    which = (first[:, None] + np.arange(rounds * count)) % count
    after_s = came_s[which] + turn * past.span_s - begin_s[:, None]
    runs_s = [dice.runs(past.jobs, drifting=False) for _ in range(rounds)]
    asked = np.array([job.parts * job.gpus for job in past.jobs])
    load = float((np.mean(runs_s, axis=(0, 1)) * asked).sum() / (past.span_s * max(room, 1)))
    after_s *= max(1.0, load / MOST_LOAD)
    drawn = [
        np.take_along_axis(runs, which[:, number * count : (number + 1) * count], axis=1)
        for number, runs in enumerate(runs_s)
    ]
    return _Coming(kinds[which], after_s, np.concatenate(drawn, axis=1))
