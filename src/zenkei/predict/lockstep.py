"""Many samples of one waiting line, run forward at once: each NumPy call is a step of all of them.

Used by `starts` only. Pure. Each sample has its own run times and its own stream of newcomers. A
job asks for `parts` places with `gpus` each; a place is a node, or a coarser domain. In each step
every sample does what comes next in it: a release that is due, else the start of the first job in
line that fits (fullest places first; later jobs may pass those that do not fit, unless `strict`),
else its clock goes on to the next release or newcomer.

Cost: some 60 NumPy calls on `[samples, classes]` a step, 0.2 to 0.3 ms; a step for each start of a
sample, and for each release after which nobody starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.predict.survival import FloatArray

IntArray = NDArray[np.int64]

NOBODY: Final = np.int64(1 << 60)
KNOWN: Final = 0.95
"""Quantile of each start up to which the samples are run."""
_BLOCK: Final = 32
_LOOK: Final = 64


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is run forward. S samples, P places, W jobs that wait, J ≥ W jobs in all, C classes.

    Jobs stand in the order in which they are served; those from W on are newcomers, by arrival.
    free: `[P]`. parts, gpus: `[C]`. classes: `[S, J]`. after_s: `[S, J]`, when a job comes, from
    now on; never falls from W on. runs_s: `[S, J]`. releases: places `[R]`, amounts `[R]`, and
    when `[S, R]`, of what runs now. asked: which of the W to answer for.
    """

    free: IntArray
    parts: IntArray
    gpus: IntArray
    classes: IntArray
    after_s: FloatArray
    runs_s: FloatArray
    held_places: IntArray
    held_gpus: IntArray
    held_s: FloatArray
    waiting: int
    asked: IntArray
    strict: bool = False


class Lockstep:
    """State of all samples. starts_s: `[S, W]`, inf until known. now_s: `[S]`, reached so far."""

    def __init__(self, line: Line) -> None:
        self.line = line
        samples, jobs = line.classes.shape
        classes, waiting = len(line.parts), line.waiting
        self.everyone = np.arange(samples)
        self.now_s = np.zeros(samples)
        self.starts_s = np.full((samples, waiting), np.inf)
        self.is_asked = np.zeros(jobs + 1, dtype=np.int64)
        self.is_asked[line.asked] = 1
        self.missing = np.full(samples, len(line.asked))
        self.enough_s = np.inf
        self.free = np.repeat(line.free[None, :], samples, axis=0)
        self.room = (self.free[:, :, None] >= line.gpus).sum(axis=1)
        self._follow(samples, jobs, classes)
        self._open_slots(samples)
        self.coming = np.full(samples, waiting)

    def run(self, most_steps: int) -> int:
        """Until all that is asked is known, or nothing can happen. Returns the steps."""
        for step in range(most_steps):
            if step % _LOOK == 0:
                self._look_around()
            awake = (self.missing > 0) & (self.now_s <= self.enough_s)
            if not awake.any():
                return step
            due_s = self.block_s.min(axis=1)
            # all that is due is given back before anybody starts, or gangs would never be whole
            releasing = awake & (due_s <= self.now_s)
            idle = awake & ~releasing & ~self._can_start()[0]
            if idle.any():
                releasing |= self._go_on(idle, due_s)
            if releasing.any():
                self._release(np.flatnonzero(releasing))
                due_s = self.block_s.min(axis=1)
            can_start, chosen = self._can_start()
            rows = np.flatnonzero(can_start & awake & (due_s > self.now_s))
            if len(rows):
                self._start(rows, chosen[rows])
        return most_steps

    def _can_start(self) -> tuple[NDArray[np.bool_], IntArray]:
        """In which samples somebody can start now, and of which class the first of them is."""
        come = self.head_s <= self.now_s[:, None]
        fits = self.room >= self.line.parts
        stands = come if self.line.strict else come & fits
        chosen = np.where(stands, self.head, NOBODY).argmin(axis=1)
        return (come & fits)[self.everyone, chosen], chosen

    def _look_around(self) -> None:
        """When all that is asked is known up to the quantile `KNOWN`, later times do not matter."""
        if self.is_asked.any():
            starts_s = np.sort(self.starts_s[:, self.line.asked], axis=0)
            self.enough_s = float(starts_s[ceil(KNOWN * len(starts_s)) - 1].max())

    def _go_on(self, who: NDArray[np.bool_], due_s: FloatArray) -> NDArray[np.bool_]:
        """Move clocks on; who stands at a release now. Samples where nothing comes are over."""
        arriving_s = self.come_s[self.everyone, self.coming]
        next_s = np.minimum(due_s, arriving_s)
        over = who & np.isinf(next_s)
        self.missing[over] = 0
        moving = who & ~over
        self.now_s = np.where(moving, next_s, self.now_s)
        self.coming = self.coming + (moving & (arriving_s <= due_s))
        released: NDArray[np.bool_] = moving & (due_s <= arriving_s)
        return released

    def _follow(self, samples: int, jobs: int, classes: int) -> None:
        """Heads of each class's line, and who follows whom within a class."""
        line = self.line
        self.follower = np.full((samples, jobs), jobs)
        head = np.full((samples, classes), jobs)
        for job in range(jobs - 1, -1, -1):
            of = line.classes[:, job]
            self.follower[:, job] = head[self.everyone, of]
            head[self.everyone, of] = job
        never = np.full((samples, 1), np.inf)
        self.come_s = np.concatenate((line.after_s, never), axis=1)
        self.head = head
        self.head_s = self.come_s[self.everyone[:, None], head]

    def _open_slots(self, samples: int) -> None:
        """Slots of what runs, in blocks of which the earliest end is kept."""
        line = self.line
        held = len(line.held_places)
        coming = int(line.parts[line.classes].sum(axis=1).max(initial=0))
        smallest = int(line.gpus.min(initial=NOBODY))
        if smallest > 0:
            coming = min(coming, int(line.free.sum() + line.held_gpus.sum()) // smallest)
        most = held + coming
        blocks = -(-(most + 1) // _BLOCK)
        self.ends_s = np.full((samples, blocks, _BLOCK), np.inf)
        self.place = np.zeros((samples, blocks * _BLOCK), dtype=np.int64)
        self.amount = np.zeros((samples, blocks * _BLOCK), dtype=np.int64)
        flat = self.ends_s.reshape(samples, -1)
        flat[:, :held] = line.held_s
        self.place[:, :held] = line.held_places
        self.amount[:, :held] = line.held_gpus
        self.block_s = self.ends_s.min(axis=2)
        # a stack of slots that nobody uses
        self.vacant = np.repeat(np.arange(blocks * _BLOCK)[None, ::-1], samples, axis=0)
        self.vacancies = np.full(samples, blocks * _BLOCK - held)

    def _release(self, rows: IntArray) -> None:
        """The earliest end of each of `rows` gives its GPUs back."""
        block = self.block_s[rows].argmin(axis=1)
        inner = self.ends_s[rows, block].argmin(axis=1)
        self._end_at(rows, block, inner, np.inf)
        slot = block * _BLOCK + inner
        self.vacant[rows, self.vacancies[rows]] = slot
        self.vacancies[rows] += 1
        self._change(rows, self.place[rows, slot], self.amount[rows, slot])

    def _start(self, rows: IntArray, chosen: IntArray) -> None:
        """The first job of class `chosen` starts in each of `rows`."""
        line = self.line
        job = self.head[rows, chosen]
        gpus = line.gpus[chosen]
        free = self.free[rows]
        # fullest first: large blocks stay whole for gangs
        key = np.where(free >= gpus[:, None], free, NOBODY)
        end_s = self.now_s[rows] + line.runs_s[rows, job]
        parts = line.parts[chosen]
        self._take(rows, key.argmin(axis=1), gpus, end_s)
        if (parts > 1).any():
            self._take_more(rows, key, parts, gpus, end_s)
        known = job < line.waiting
        self.starts_s[rows[known], job[known]] = self.now_s[rows[known]]
        self.missing[rows] -= self.is_asked[job]
        after = self.follower[rows, job]
        self.head[rows, chosen] = after
        self.head_s[rows, chosen] = self.come_s[rows, after]

    def _take_more(
        self, rows: IntArray, key: IntArray, parts: IntArray, gpus: IntArray, end_s: FloatArray
    ) -> None:
        """Places of the second and later parts of gangs, each on a place of its own."""
        gangs = np.flatnonzero(parts > 1)
        order = np.argsort(key[gangs], axis=1, kind="stable")
        for part in range(1, int(parts.max())):
            more = parts[gangs] > part
            of = gangs[more]
            self._take(rows[of], order[more, part], gpus[of], end_s[of])

    def _take(self, rows: IntArray, place: IntArray, gpus: IntArray, end_s: FloatArray) -> None:
        self.vacancies[rows] -= 1
        slot = self.vacant[rows, self.vacancies[rows]]
        self._end_at(rows, slot // _BLOCK, slot % _BLOCK, end_s)
        self.place[rows, slot] = place
        self.amount[rows, slot] = gpus
        self._change(rows, place, -gpus)

    def _end_at(
        self, rows: IntArray, block: IntArray, inner: IntArray, end_s: FloatArray | float
    ) -> None:
        self.ends_s[rows, block, inner] = end_s
        self.block_s[rows, block] = self.ends_s[rows, block].min(axis=1)

    def _change(self, rows: IntArray, place: IntArray, by: IntArray) -> None:
        """GPUs free at a place, and in how many places each class fits."""
        before = self.free[rows, place]
        after = before + by
        self.free[rows, place] = after
        gpus = self.line.gpus
        self.room[rows] += (after[:, None] >= gpus).astype(np.int64) - (before[:, None] >= gpus)
