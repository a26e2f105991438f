"""Who may displace whom, and how much of each queue: one ledger for one gang that waits.

Used by `preemption`. Three rights. *Priority*: a job of the same leaf queue with a strictly lower
priority, if the queue says so (`within`). *Reclaim*: the gang's queues, up to where its path and
the victim's part, stay within their quota with it, and the widest of them has one (others that
state none, and have none inside, go by that of the queue above); the victim's queues up to there
hold more than theirs, and hold that much still without every job that is taken. What a leaf is
guaranteed counts for its jobs of the highest priority first, so that only those below that mark
borrow: who could come back by priority over the others of its queue is not displaced in their
stead. *Worth*: in a leaf ordered by what was learned, a job of the same priority whose index is
ADVANTAGE times smaller for each GPU that it holds (`worth`).

GPUs decide for those who hold some: the total and each model. CPUs and memory decide (either is
enough) where the gang or the victim has no GPU. Protected for a time: who has run less than
`protect_s`, who was displaced `most_preemptions` times within the hour; from the right of worth
longer for each of these times.

**No loops**, argued for one resource; no job arrives or ends, nothing is edited. For a leaf q and a
priority p let g(q, p) be the smaller of q's quota and what its jobs of priority p and above hold.
Order the sums over all leaves of g(·, p), from the highest p to the lowest, like words in a
dictionary. Starting a job lowers none of them. Priority: the job enters at its own p, victims leave
further down the word. Reclaim: the victims' leaves lose nothing of any g, by the mark above, and
the gang's leaf, within its quota, gains at its p. So the word never falls, and each reclaim raises
it: there are finitely many. A queue above leaves that reclaims for one without a quota counts in
the same way, in a word of its level that is read after those of the levels inside it. After the
last one, starts and priority only move the same word without the quotas upwards: finitely many too.
Worth takes place within one leaf and priority, so it moves no word; while no index changes, who was
displaced by it would need ADVANTAGE squared times its own index to come back by it.
With several resources the argument holds for GPUs as long as all that is displaced holds GPUs;
`most_preemptions` bounds the rest, whatever happens.
Cost: O(jobs + queues x depth) in NumPy to make; O(depth x priorities of the leaf) per question
once somebody is taken, O(1) before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.queue import Policy, Reclaim, Within
from zenkei.model.resources import Request
from zenkei.scheduler.decisions import PreemptReason
from zenkei.scheduler.holdings import Bools
from zenkei.scheduler.ledger import BASE, CPU, GPU, KIND, MEMORY, UNSAID, Quotas, said
from zenkei.scheduler.occupancy import Occupancy
from zenkei.scheduler.roster import (
    CPU_MILLI,
    GPU_MILLI,
    GROUP,
    JOB,
    PREEMPTIONS,
    SINCE_US,
    STOPPING,
    WORTH,
)
from zenkei.scheduler.snapshot import IntArray, RunningJob
from zenkei.scheduler.worth import ADVANTAGE

_NO_LIMIT: Final = 1 << 62
_REASONS: Final = (PreemptReason.PRIORITY, PreemptReason.RECLAIM, PreemptReason.WORTH)
_BY_WORTH: Final = 3
LONGER: Final = 1.2
"""How many times longer who was displaced is left alone by the right of worth, each time."""


class _Marks:
    """How far a queue's jobs of each priority and above are beyond its quota, by resource.

    levels: priorities, lowest first; one only where they do not matter. used: victims of each.
    beyond: only what has a quota: of everything else all is borrowed.
    """

    __slots__ = ("beyond", "levels", "used")

    def __init__(
        self, quota: dict[str, int], held: dict[str, int], lower: dict[int, dict[str, int]]
    ) -> None:
        self.levels = sorted(lower) or [0]
        self.used = [0] * len(self.levels)
        self.beyond: dict[str, list[int]] = {}
        for key, guaranteed in quota.items():
            left = held.get(key, 0) - guaranteed
            column = self.beyond[key] = []
            for level in self.levels:
                column.append(left)
                left -= lower.get(level, {}).get(key, 0)

    def at(self, priority: int) -> int:
        """The place of a priority's marks."""
        return 0 if len(self.levels) == 1 else bisect_left(self.levels, priority)


class _Guard(NamedTuple):
    """What one queue says of one victim. strict: (column, amount), each must hold the amount.

    either: one of these must. at: its priority's place. all: every column that it is taken from.
    """

    used: list[int]
    at: int
    strict: tuple[tuple[list[int], int], ...]
    either: tuple[tuple[list[int], int], ...]
    all: tuple[tuple[list[int], int], ...]

    def stands(self, column: list[int], amount: int) -> bool:
        """Whether the quota is still held, at every priority from which something is taken."""
        if column[self.at] < amount:
            return False
        return not self.at or all(column[i] >= amount for i in range(self.at) if self.used[i])

    @property
    def allows(self) -> bool:
        for column, amount in self.strict:
            if not self.stands(column, amount):
                return False
        return not self.either or any(self.stands(*one) for one in self.either)

    def take(self, sign: int) -> None:
        self.used[self.at] += sign
        for column, amount in self.all:
            for i in range(self.at + 1):
                column[i] -= sign * amount


class _Room(NamedTuple):
    """How much of what may be taken from a queue's jobs of one priority, as in `_Guard`."""

    strict: list[tuple[str, int]]
    either: list[list[tuple[str, int]]]

    def suffices(self, amounts: dict[str, int], *, scalars: bool) -> bool:
        for key, most in self.strict:
            amount = amounts.get(key, 0)
            if amount and amount > most:
                return False
        if not scalars:
            return True
        return all(any(amounts.get(key, 0) <= most for key, most in one) for one in self.either)


class Rights:
    """See the module's docstring. may: the right over each job that could be displaced at all.

    spared: those over whom there is a right, but who are protected for now.
    """

    def __init__(  # noqa: PLR0913 - all that a right depends on
        self,
        *,
        queue: int,
        priority: int,
        request: Request,
        nodes: int,
        occupancy: Occupancy,
        quotas: Quotas,
        policy: Policy,
        now_us: int,
        index: float = 0.0,
    ) -> None:
        """index: of the gang, by which it may displace others of its leaf (`worth`); 0: by none."""
        self._index = index
        self._quotas = quotas
        self._tenants = occupancy.tenants
        self._roster = occupancy.roster
        self._path = tuple(quotas.path(queue))
        self._priority = priority
        self._gpus = bool(request.gpu_count)
        self._stopping: dict[int, dict[str, int]] = {}
        self._paths: dict[int, tuple[int, ...]] = {}
        self._marks: dict[tuple[int, bool], _Marks] = {}
        self._branches: dict[int, list[_Marks]] = {}
        self._guards: dict[int, list[_Guard]] = {}
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._taken = 0
        self.may: dict[int, PreemptReason] = {}
        self.spared: list[int] = []
        table = self._roster.columns()
        self._ledger = occupancy.ledger
        self._ledger.enter(self._roster.groups, self._roster.kinds, quotas)
        stays = (table[GROUP] >= 0) & (table[STOPPING] == 0)
        self._read(table, stays)
        self._judge(table, stays, self._owed(request, nodes), policy, now_us)

    def _read(self, table: IntArray, stays: Bools) -> None:
        """What is coming free by queue, and what each group holds without it."""
        kinds = [*self._roster.kinds]
        self._keys = (*BASE, *(KIND + kind for kind in kinds))
        self._at = {key: r for r, key in enumerate(self._keys)}
        self._sums = self._roster.sums(stays)
        number = np.bincount(table[GROUP, stays], minlength=len(self._sums))
        self._number: list[int] = number.tolist()
        ledger = self._ledger
        self._all_held = self._quotas.all_held(ledger.queues, kinds)
        leaving = self._roster.sums((table[GROUP] >= 0) & (table[STOPPING] != 0))
        for group in np.flatnonzero(leaving.any(axis=1)).tolist():
            for place in ledger.above[group]:
                if place >= 0:
                    self._all_held[place] -= leaving[group]
                    sums = self._stopping.setdefault(ledger.queues[place], {})
                    for key, amount in zip(self._keys, leaving[group].tolist(), strict=True):
                        sums[key] = sums.get(key, 0) + amount

    def _judge(
        self, table: IntArray, stays: Bools, owed: list[bool], policy: Policy, now_us: int
    ) -> None:
        """Who may be taken alone, protected or not: by groups, then all jobs at once."""
        right = self._right(owed)
        group = table[GROUP]
        able = stays & (right[group] > 0)
        by_worth = able & (right[group] == _BY_WORTH)
        if by_worth.any():
            size = np.maximum(np.maximum(table[GPU_MILLI], table[CPU_MILLI] // 1000), 1) / 1000
            able &= ~by_worth | (ADVANTAGE * table[WORTH] / size < self._index)
        most, either = self._most()
        for r, limits in enumerate(most.T):
            amounts = table[GPU_MILLI + r]
            able &= (amounts == 0) | (amounts <= limits[group])
        if either.any():
            doubtful = able & either[group]
            if self._gpus:
                doubtful &= table[GPU_MILLI] == 0
            for slot in np.flatnonzero(doubtful).tolist():
                able[slot] = self._alone(int(table[JOB, slot]))
        slots = np.flatnonzero(able)
        since_us = table[SINCE_US, slots]
        times = table[PREEMPTIONS, slots]
        longer = np.where(by_worth[slots], LONGER ** np.minimum(times, 24), 1.0)
        unprotected_us = since_us + policy.protect_s * 1e6 * longer
        safe = (times >= policy.most_preemptions) | (now_us < unprotected_us)
        self.spared = table[JOB, slots[safe]].tolist()
        self._free = slots[~safe]
        jobs, codes = table[JOB, self._free].tolist(), right[group[self._free]].tolist()
        self.may = {job: _REASONS[code - 1] for job, code in zip(jobs, codes, strict=True)}

    def _right(self, owed: list[bool]) -> IntArray:
        """By group: 1 for priority, 2 for reclaim, 3 for worth, 0 for no right: `_REASONS`."""
        ledger = self._ledger
        found = np.zeros(len(self._sums), np.int64)
        if not self._path:
            return found
        # how far up the gang's path its queues are, by place; -1 of `above`: the last one
        depth = np.full(len(ledger.queues) + 1, len(self._path), np.int64)
        for d, one in enumerate(self._path):
            depth[ledger.place(one)] = d if ledger.place(one) >= 0 else len(self._path)
        there = ledger.leaf >= 0
        own = there & (ledger.leaf == ledger.place(self._path[0]))
        parts = depth[ledger.above].min(axis=1)
        below = np.array([p < self._priority for _, p in self._roster.groups], np.bool_)
        rules = self._quotas.rules(self._path[0])
        if rules.reclaim is not Reclaim.NEVER:
            some = there & ~own & np.array(owed)[parts]
            found[some & below if rules.reclaim is Reclaim.LOWER_PRIORITY else some] = 2
        if rules.within is Within.LOWER_PRIORITY:
            found[own & below] = 1
            if self._index:
                same = np.array([p == self._priority for _, p in self._roster.groups], np.bool_)
                found[own & same] = _BY_WORTH
        return found

    def _most(self) -> tuple[IntArray, Bools]:
        """What is borrowed beyond the quotas of a group's queues while nobody is taken yet.

        `[groups, resources]`, but of CPU and memory, where it depends; and where it does.
        """
        ledger = self._ledger
        quota = ledger.quota
        beyond = np.where(quota == UNSAID, _NO_LIMIT, self._all_held - quota)
        unsaid = quota == UNSAID
        own = [place for one in self._path if (place := ledger.place(one)) >= 0]
        beyond[own], unsaid[own] = _NO_LIMIT, True
        none = np.full((1, beyond.shape[1]), _NO_LIMIT, np.int64)
        beyond, unsaid = np.concatenate((beyond, none)), np.concatenate((unsaid, none > 0))
        most = beyond[ledger.above].min(axis=1)
        leaf = beyond[ledger.leaf] - ledger.below(self._sums)
        leaf[unsaid[ledger.leaf]] = _NO_LIMIT
        most = np.minimum(most, leaf)
        scalars = [BASE.index(CPU), BASE.index(MEMORY)]
        named = np.count_nonzero(~unsaid[ledger.above][:, :, scalars], axis=(1, 2))
        either: Bools = np.asarray(named) > 0
        most[:, scalars] = _NO_LIMIT
        return most, either

    def _path_of(self, queue: int) -> tuple[int, ...]:
        path = self._paths.get(queue)
        if path is None:
            path = self._paths[queue] = tuple(self._quotas.path(queue))
        return path

    def _room(self, queue: int, priority: int) -> _Room:
        """What is borrowed beyond the quotas of a victim's queues while nobody is taken yet."""
        room = self._rooms.get((queue, priority))
        if room is None:
            room = self._rooms[queue, priority] = _room_of(self._branch(queue), priority)
        return room

    def _held(self, queue: int) -> dict[str, int]:
        held = said(self._quotas.held(queue))
        for key, amount in self._stopping.get(queue, {}).items():
            held[key] = held.get(key, 0) - amount
        return held

    def _owed(self, request: Request, nodes: int) -> list[bool]:
        """By how many queues of its path lie below where another's meets it: whether it is owed.

        The widest of these is guaranteed some of what the gang is about, and each of them that is
        guaranteed anything stays within that with the gang.
        """
        asked = {CPU: request.cpu_milli * nodes, MEMORY: request.memory_bytes * nodes}
        if request.gpu_count:
            asked[GPU] = request.gpu_count * request.gpu_milli * nodes
            if len(request.gpu_kinds) == 1:
                asked[KIND + request.gpu_kinds[0]] = asked[GPU]
        owed = [False] * (len(self._path) + 1)
        for depth, queue in enumerate(self._path, 1):
            quota, held = said(self._quotas.quota(queue)), self._held(queue)
            if any(held.get(key, 0) + asked[key] > quota[key] for key in asked.keys() & quota):
                break
            owed[depth] = self._guaranteed(quota, request)
        return owed

    def _guaranteed(self, quota: dict[str, int], request: Request) -> bool:
        """Whether the quota says anything of what the gang is about."""
        if not self._gpus:
            return CPU in quota or MEMORY in quota
        kinds = request.gpu_kinds
        return GPU in quota or any(
            key.startswith(KIND) and (not kinds or key[len(KIND) :] in kinds) for key in quota
        )

    def _branch(self, queue: int) -> list[_Marks]:
        """Marks of a victim's queues up to where the paths part; of none for its own queue."""
        known = self._branches.get(queue)
        if known is None:
            theirs = self._path_of(queue)
            known = self._branches[queue] = []
            for depth, one in enumerate(theirs if theirs[0] != self._path[0] else ()):
                if one in self._path:
                    break
                known.append(self._mark(one, leaf=not depth))
        return known

    def _mark(self, queue: int, *, leaf: bool) -> _Marks:
        if (queue, leaf) not in self._marks:
            quota = said(self._quotas.quota(queue))
            lower = self._lower(queue, quota) if leaf else {}
            self._marks[queue, leaf] = _Marks(quota, self._held(queue), lower)
        return self._marks[queue, leaf]

    def _lower(self, queue: int, quota: dict[str, int]) -> dict[int, dict[str, int]]:
        """What a leaf's jobs hold of what its quota names, by priority."""
        keys = [(key, self._at[key]) for key in quota if key in self._at]
        return {
            priority: {key: int(self._sums[group, r]) for key, r in keys}
            for priority, group in self._roster.by_queue.get(queue, {}).items()
            if self._number[group]
        }

    def _guarded(self, job: int) -> list[_Guard]:
        known = self._guards.get(job)
        if known is None:
            known = self._guards[job] = []
            facts = self._tenants[job].facts
            amounts = self._tenants[job].amounts
            scalars = not self._gpus or not amounts[GPU]
            for marks in self._branch(facts.queue):
                found = [
                    (key, (column, amounts.get(key, 0))) for key, column in marks.beyond.items()
                ]
                if found:
                    at = marks.at(facts.priority)
                    cells = [one for _, one in found if one[1]]
                    strict = [one for key, one in found if key not in (CPU, MEMORY) and one[1]]
                    either = [one for key, one in found if scalars and key in (CPU, MEMORY)]
                    guard = _Guard(marks.used, at, tuple(strict), tuple(either), tuple(cells))
                    known.append(guard)
        return known

    def only(self, jobs: Container[int]) -> None:
        """There is no right over others; before anybody is taken."""
        self.may = {job: reason for job, reason in self.may.items() if job in jobs}
        self.spared = [job for job in self.spared if job in jobs]
        told = self._roster.columns()[JOB, self._free].tolist()
        self._free = self._free[np.array([job in self.may for job in told], np.bool_)]

    def allows(self, job: int) -> bool:
        """Whether `job` may be taken beside those that are taken already."""
        if not self._taken:
            return job in self.may or self._alone(job)
        return all(guard.allows for guard in self._guarded(job))

    def _alone(self, job: int) -> bool:
        tenant = self._tenants[job]
        scalars = not self._gpus or not tenant.gpu_milli
        room = self._room(tenant.facts.queue, tenant.facts.priority)
        return room.suffices(tenant.amounts, scalars=scalars)

    def take(self, job: int, sign: int = 1) -> None:
        """Enter `job` as taken, or with -1 as not taken after all."""
        self._taken += sign
        for guard in self._guarded(job):
            guard.take(sign)

    def allow_all(self, jobs: Sequence[int]) -> int | None:
        """The first of `jobs` that may not be taken beside those before it; None: all may."""
        taken = 0
        refused = None
        for job in jobs:
            if not self.allows(job):
                refused = job
                break
            self.take(job)
            taken += 1
        for job in jobs[:taken]:
            self.take(job, -1)
        return refused

    def rows(self) -> IntArray:
        """Columns of the roster of those in `may`, sorted by id."""
        table = self._roster.columns()[:, self._free]
        return table[:, np.argsort(table[JOB])]

    def beyond_milli(self, groups: IntArray) -> IntArray:
        """By group: how far its leaf is above its quota of GPUs, in thousandths of that quota."""
        leaf = self._ledger.leaf[groups]
        quota = np.maximum(self._ledger.quota[leaf, 0], 0)
        found: IntArray = (self._all_held[leaf, 0] - quota) * 1000 // np.maximum(quota, 1)
        return found


def _room_of(branch: list[_Marks], priority: int) -> _Room:
    strict: dict[str, int] = {}
    either: list[list[tuple[str, int]]] = []
    for marks in branch:
        at = marks.at(priority)
        beyond = {key: column[at] for key, column in marks.beyond.items()}
        scalars = [(str(key), beyond.pop(key)) for key in (CPU, MEMORY) if key in beyond]
        for key, most in beyond.items():
            strict[key] = min(strict.get(key, most), most)
        if scalars:
            either.append(scalars)
    return _Room([*strict.items()], either)


def unprotected_us(facts: RunningJob, policy: Policy) -> int | None:
    """From when on a job may be displaced; None: somewhen within an hour."""
    if facts.preemptions >= policy.most_preemptions:
        return None
    return facts.since_us + int(policy.protect_s * 1e6)
