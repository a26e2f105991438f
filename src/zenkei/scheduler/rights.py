"""Who may displace whom, and how much of each queue: one ledger for one gang that waits.

Used by `preemption`. Two rights. *Priority*: a job of the same leaf queue with a strictly lower
priority, if the queue says so (`within`). *Reclaim*: the gang's queues, up to where its path and
the victim's part, stay within their quota with it; the victim's queues up to there hold more than
theirs, and hold that much still without every job that is taken. What a leaf is guaranteed counts
for its jobs of the highest priority first, so that only those below that mark borrow: who could
come back by priority over the others of its queue is not displaced in their stead.

GPUs decide for those who hold some: the total and each model. CPUs and memory decide (either is
enough) where the gang or the victim has no GPU. Protected for a time: who has run less than
`protect_s`, who was displaced `most_preemptions` times within the hour.

**No loops**, argued for one resource; no job arrives or ends, nothing is edited. For a leaf q and a
priority p let g(q, p) be the smaller of q's quota and what its jobs of priority p and above hold.
Order the sums over all leaves of g(·, p), from the highest p to the lowest, like words in a
dictionary. Starting a job lowers none of them. Priority: the job enters at its own p, victims leave
further down the word. Reclaim: the victims' leaves lose nothing of any g, by the mark above, and
the gang's leaf, within its quota, gains at its p. So the word never falls, and each reclaim raises
it: there are finitely many. After the last one, starts and priority only move the same word without
the quotas upwards: finitely many too. With several resources the argument holds for GPUs as long as
all that is displaced holds GPUs; `most_preemptions` bounds the rest, whatever happens.
Cost: O(jobs + priorities) to make; O(depth x priorities of the leaf) per question.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from zenkei.model.queue import Amounts, Policy, Queue, Reclaim, Within
from zenkei.model.resources import Request
from zenkei.scheduler.decisions import PreemptReason
from zenkei.scheduler.occupancy import CPU, GPU, KIND, MEMORY, Occupancy, add
from zenkei.scheduler.snapshot import RunningJob


class Quotas(Protocol):
    """What preemption asks of the tree of queues, in numbers: leaves are places in the table."""

    def path(self, queue: int) -> Sequence[int]:
        """The leaf first, then those above it; the root is left out."""
        ...

    def rules(self, queue: int) -> Queue:
        """Its `within` and `reclaim` are read."""
        ...

    def quota(self, queue: int) -> Amounts:
        """What is guaranteed to it and those below it (the sum of theirs if it states none).

        None where there is no guarantee.
        """
        ...

    def held(self, queue: int) -> Amounts:
        """By jobs below it: those that run, are stopping, were started in this very plan, or have a

        claim (`Hold`). Every amount is said; kinds without any may be left out.
        """
        ...


def said(amounts: Amounts) -> dict[str, int]:
    """By resource, those of which anything is said."""
    found = {KIND + kind: milli for kind, milli in amounts.kinds}
    pairs = (
        (GPU, amounts.gpu_milli),
        (CPU, amounts.cpu_milli),
        (MEMORY, amounts.memory_bytes),
    )
    return found | {key: amount for key, amount in pairs if amount is not None}


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

    def __init__(
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
    ) -> None:
        self._quotas = quotas
        self._tenants = occupancy.tenants
        self._path = tuple(quotas.path(queue))
        self._priority = priority
        self._gpus = bool(request.gpu_count)
        self._stopping: dict[int, dict[str, int]] = {}
        self._lower: dict[int, dict[int, dict[str, int]]] = {}
        self._paths: dict[int, tuple[int, ...]] = {}
        self._marks: dict[tuple[int, bool], _Marks] = {}
        self._branches: dict[int, list[_Marks]] = {}
        self._guards: dict[int, list[_Guard]] = {}
        self._beyond: dict[int, int] = {}
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._taken = 0
        self.may: dict[int, PreemptReason] = {}
        self.spared: list[int] = []
        self._read(occupancy)
        owed = self._owed(request, nodes)
        reasons: dict[tuple[int, int], PreemptReason | None] = {}
        for job, tenant in occupancy.tenants.items():
            facts = tenant.facts
            if facts is None or tenant.stopping:
                continue
            alike = facts.queue, facts.priority
            if alike not in reasons:
                reasons[alike] = self._right(facts, owed)
            reason = reasons[alike]
            if reason is None or not self.allows(job):
                continue  # who cannot even be taken alone is no candidate, protected or not
            if _protected(facts, policy, now_us):
                self.spared.append(job)
            else:
                self.may[job] = reason

    def _read(self, occupancy: Occupancy) -> None:
        """What is coming free by queue, and what a leaf's jobs hold by priority."""
        for queue, levels in occupancy.held.items():
            path = self._path_of(queue)
            for priority, amounts in levels.items() if path else ():
                leaf = self._lower.setdefault(path[0], {})
                add(leaf.setdefault(priority, {}), amounts)
        for queue, amounts in occupancy.leaving.items():
            for one in self._path_of(queue):
                add(self._stopping.setdefault(one, {}), amounts)

    def _path_of(self, queue: int) -> tuple[int, ...]:
        path = self._paths.get(queue)
        if path is None:
            path = self._paths[queue] = tuple(self._quotas.path(queue))
        return path

    def _room(self, queue: int, priority: int) -> _Room:
        """What is borrowed beyond the quotas of a victim's queues while nobody is taken yet."""
        alike = queue, priority
        room = self._rooms.get(alike)
        if room is None:
            strict: dict[str, int] = {}
            either: list[list[tuple[str, int]]] = []
            for marks in self._branch(queue):
                at = marks.at(priority)
                beyond = {key: column[at] for key, column in marks.beyond.items()}
                scalars = [(str(key), beyond.pop(key)) for key in (CPU, MEMORY) if key in beyond]
                for key, most in beyond.items():
                    strict[key] = min(strict.get(key, most), most)
                if scalars:
                    either.append(scalars)
            room = self._rooms[alike] = _Room([*strict.items()], either)
        return room

    def _held(self, queue: int) -> dict[str, int]:
        held = said(self._quotas.held(queue))
        for key, amount in self._stopping.get(queue, {}).items():
            held[key] = held.get(key, 0) - amount
        return held

    def _owed(self, request: Request, nodes: int) -> int:
        """Up to how many queues of its path, from the leaf on, stay within quota with the gang."""
        asked = {CPU: request.cpu_milli * nodes, MEMORY: request.memory_bytes * nodes}
        if request.gpu_count:
            asked[GPU] = request.gpu_count * request.gpu_milli * nodes
            if len(request.gpu_kinds) == 1:
                asked[KIND + request.gpu_kinds[0]] = asked[GPU]
        for depth, queue in enumerate(self._path):
            quota, held = said(self._quotas.quota(queue)), self._held(queue)
            if not self._guaranteed(quota, request):
                return depth
            if any(held.get(key, 0) + asked[key] > quota[key] for key in asked.keys() & quota):
                return depth
        return len(self._path)

    def _guaranteed(self, quota: dict[str, int], request: Request) -> bool:
        """Whether the quota says anything of what the gang is about."""
        if not self._gpus:
            return CPU in quota or MEMORY in quota
        kinds = request.gpu_kinds
        return GPU in quota or any(
            key.startswith(KIND) and (not kinds or key[len(KIND) :] in kinds) for key in quota
        )

    def _right(self, facts: RunningJob, owed: int) -> PreemptReason | None:
        theirs = self._path_of(facts.queue)
        if not theirs or not self._path:
            return None
        rules = self._quotas.rules(self._path[0])
        below = facts.priority < self._priority
        if theirs[0] == self._path[0]:
            within = rules.within is Within.LOWER_PRIORITY and below
            return PreemptReason.PRIORITY if within else None
        if rules.reclaim is Reclaim.NEVER or (
            rules.reclaim is Reclaim.LOWER_PRIORITY and not below
        ):
            return None
        part = next((d for d, one in enumerate(self._path) if one in theirs), len(self._path))
        return PreemptReason.RECLAIM if part <= owed else None

    def _branch(self, queue: int) -> list[_Marks]:
        """Marks of a victim's queues up to where the paths part; of none for its own queue."""
        known = self._branches.get(queue)
        if known is None:
            theirs = self._paths[queue]
            known = self._branches[queue] = []
            for depth, one in enumerate(theirs if theirs[0] != self._path[0] else ()):
                if one in self._path:
                    break
                known.append(self._mark(one, leaf=not depth))
        return known

    def _mark(self, queue: int, *, leaf: bool) -> _Marks:
        if (queue, leaf) not in self._marks:
            lower = self._lower.get(queue, {}) if leaf else {}
            quota = said(self._quotas.quota(queue))
            self._marks[queue, leaf] = _Marks(quota, self._held(queue), lower)
        return self._marks[queue, leaf]

    def _guarded(self, job: int) -> list[_Guard]:
        known = self._guards.get(job)
        if known is None:
            known = self._guards[job] = []
            facts = self._tenants[job].facts
            assert facts is not None, "there is no right over an unknown job"
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

    def allows(self, job: int) -> bool:
        """Whether `job` may be taken beside those that are taken already."""
        if not self._taken:
            # most questions are asked of every job, before any is taken: these need no guards
            tenant = self._tenants[job]
            assert tenant.facts is not None, "there is no right over an unknown job"
            scalars = not self._gpus or not tenant.gpu_milli
            room = self._room(tenant.facts.queue, tenant.facts.priority)
            return room.suffices(tenant.amounts, scalars=scalars)
        return all(guard.allows for guard in self._guarded(job))

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

    def beyond_milli(self, job: int) -> int:
        """How far the leaf of `job` is above its quota of GPUs, in thousandths of that quota."""
        facts = self._tenants[job].facts
        assert facts is not None, "there is no right over an unknown job"
        queue = self._paths[facts.queue][0]
        if queue not in self._beyond:
            quota = self._quotas.quota(queue).gpu_milli or 0
            held = self._held(queue).get(GPU, 0)
            self._beyond[queue] = (held - quota) * 1000 // max(quota, 1)
        return self._beyond[queue]


def unprotected_us(facts: RunningJob, policy: Policy) -> int | None:
    """From when on a job may be displaced; None: somewhen within an hour."""
    if facts.preemptions >= policy.most_preemptions:
        return None
    return facts.since_us + int(policy.protect_s * 1e6)


def _protected(facts: RunningJob, policy: Policy, now_us: int) -> bool:
    at_us = unprotected_us(facts, policy)
    return at_us is None or now_us < at_us
