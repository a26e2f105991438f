"""The tree of queues as it runs: quota, limits, what is held, what was used, and by whom.

Kept by `planner` by deltas, read by `order.Turn`, which works on copies of what it touches: a plan
changes nothing here. Pure. Cost: O(depth x resources) per change, O(queues + running) for another
configuration; sums are exact integers, so that the order of changes cannot be told from them.

Resources are places in vectors: 0 CPU (thousandths), 1 memory (bytes), 2 GPUs of all models
(thousandths), from 3 on GPUs of each model that some amount in the configuration names. What a
quota does not name is not part of it. A queue without quota has the sum of its children's, a leaf
without one has no guarantee. Without any queues each name is an open queue below the root.

Past usage of a queue is the mean of what its jobs held, older times counting half per half life:
a queue that has always held an amount has that amount. Decay needs no pass over the jobs: sums are
kept as of a reference instant (the forward decay of Cormode et al., ICDE 2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from zenkei.model.cluster import Node
from zenkei.model.queue import ROOT, ClusterConfig, Order, PastUsage, Queue
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.terms import BASE, Said, Terms, named, root_terms, terms_below

_ERA: Final = 64
"""Half lives after which sums are counted anew from a later reference."""
_BITS: Final = 40
"""Binary places of a decayed factor."""


class Held(NamedTuple):
    """Amounts of what can be shared out. kinds: (GPU model, gpu_milli), sorted, where known."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    kinds: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, job_class: JobClass, nodes: int, kinds: tuple[tuple[str, int], ...] = ()) -> Held:
        """What a job of that class holds on so many nodes."""
        asks = job_class.request
        gpu_milli = asks.gpu_count * asks.gpu_milli * nodes
        if not kinds and gpu_milli and len(asks.gpu_kinds) == 1:
            kinds = ((asks.gpu_kinds[0], gpu_milli),)
        return cls(asks.cpu_milli * nodes, asks.memory_bytes * nodes, gpu_milli, kinds)


class Person:
    """What one person's jobs hold below a queue. early, past: see `QueueTree.mean`."""

    __slots__ = ("early", "held", "jobs", "past", "used_us")

    def __init__(self, size: int) -> None:
        self.held = [0] * size
        self.early = [0] * size
        self.past = [0] * size
        self.jobs: dict[int, int] = {}
        """Since when each has what it holds."""
        self.used_us = 0
        """Up to when jobs that have ended were served; 0: nothing is known."""


class Branch:
    """One queue with those below it. missing: no configuration knows it, it only still has jobs.

    learned: its jobs are ordered by what was learned of run times.
    """

    __slots__ = (
        "above", "children", "early", "held", "learned", "missing", "name", "past", "people",
        "place", "terms", "user_capped", "wish",
    )  # fmt: skip

    def __init__(self, wish: Queue, place: int, size: int, above: Branch | None) -> None:
        self.name = wish.name
        self.wish = wish
        self.place = place
        self.above = above
        self.user_capped = bool(wish.user_cap)
        self.missing = self.learned = False
        self.children: list[Branch] = []
        self.held = [0] * size
        self.early = [0] * size
        self.past = [0] * size
        self.people: dict[str, Person] = {}
        self.terms: Terms

    def path(self) -> Iterator[Branch]:
        """This one first, up to the widest; the root is left out."""
        branch = self
        while branch.above is not None:
            yield branch
            branch = branch.above


class _Job(NamedTuple):
    queue: str
    user: str
    held: Held
    since_us: int


class QueueTree:
    """See the module's docstring. Queues and users are named here; tables are the planner's."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self._jobs: dict[int, _Job] = {}
        self._usage: dict[tuple[str, str], PastUsage] = {}
        self._nodes: dict[str, Held] = {}
        self._models: dict[str, int] = {}
        """GPUs of each model, in thousandths."""
        self._fresh = False
        self.edition = 0
        """Another number whenever paths or terms of queues may be others."""
        self._era = _Era(0, 0, 0.0)
        self._counts = False
        """Whether sums follow what is told; the first `refresh` sums all up at once."""
        self.configure(config if config is not None else ClusterConfig())

    # -- what the operator wants -----------------------------------------------------------------
    def configure(self, config: ClusterConfig) -> None:
        """Obey another configuration; jobs keep what they hold.

        Raises ValueError for a cycle, a name that is there twice, a parent that is not there, and
        for numbers that are none.
        """
        ordered = _widest_first(config.queues)
        if not math.isfinite(config.policy.half_life_s) or not math.isfinite(
            config.policy.ageing_s
        ):
            raise ValueError("half_life_s and ageing_s must be numbers of seconds")
        self.config = config
        self.kinds = _kinds_named(config.queues)
        self.size = BASE + len(self.kinds)
        self.root = Branch(Queue(name=ROOT), 0, self.size, None)
        self.branches = [self.root]
        self._by_name: dict[str, Branch] = {}
        for wish in ordered:
            self._grow(wish, self._by_name.get(wish.parent, self.root))
        self._fresh = False
        if self._counts:
            self._recount()

    def _grow(self, wish: Queue, above: Branch) -> Branch:
        branch = Branch(wish, len(self.branches), self.size, above)
        policy = self.config.policy.order  # one line of all queues has no order within one
        branch.learned = policy is not Order.FIFO and (wish.order or policy) is Order.LEARNED
        above.children.append(branch)
        self.branches.append(branch)
        self._by_name[wish.name] = branch
        return branch

    def branch(self, name: str) -> Branch:
        """The queue of that name; one that was not there is there from now on."""
        found = self._by_name.get(name)
        if found is None:
            found = self._grow(Queue(name=name), self.root)
            found.missing = bool(self.config.queues)
            if self._fresh:
                found.terms = terms_below(self.root.terms, found.wish, (), self.kinds, self._models)
        return found

    # -- what is there ---------------------------------------------------------------------------
    def put_node(self, node: Node) -> None:
        """Its capacity counts; it replaces a node of that name."""
        self.drop_node(node.name)
        has = node.capacity
        models: dict[str, int] = {}
        for device in has.devices:
            models[device.kind] = models.get(device.kind, 0) + 1000
        kinds = tuple(sorted(models.items()))
        held = Held(has.cpu_milli, has.memory_bytes, 1000 * len(has.devices), kinds)
        self._nodes[node.name] = held
        self._offer(held, 1)

    def drop_node(self, name: str) -> None:
        """Its capacity does not count any more."""
        known = self._nodes.pop(name, None)
        if known is not None:
            self._offer(known, -1)

    def _offer(self, held: Held, times: int) -> None:
        self._fresh = False
        for kind, milli in held.kinds:
            left = self._models.get(kind, 0) + milli * times
            self._models[kind] = left
            if not left:
                del self._models[kind]

    @property
    def models(self) -> tuple[str, ...]:
        """GPU models that the cluster has."""
        return tuple(sorted(self._models))

    def refresh(self, now_us: int) -> None:
        """Make ready for a plan: terms of the queues are those of the capacity that is there."""
        if not self._fresh:
            self._settle_terms()
        self._to_era(now_us)

    def _settle_terms(self) -> None:
        nodes = [node[:BASE] for node in self._nodes.values()]
        sums = [sum(amounts) for amounts in zip(*nodes, strict=True)] or [0] * BASE
        quotas = _quotas(self.branches, self.kinds)
        self.root.terms = root_terms([*sums, *(self._models.get(k, 0) for k in self.kinds)])
        for branch in self.branches[1:]:
            assert branch.above is not None
            quota = quotas[branch.place]
            branch.terms = terms_below(
                branch.above.terms, branch.wish, quota, self.kinds, self._models
            )
        self.lends = any(any(branch.terms.kept) for branch in self.branches)
        self._fresh = True
        self.edition += 1

    # -- what is held and was used ---------------------------------------------------------------
    def hold(self, job: int, queue: str, user: str, held: Held, since_us: int) -> None:
        """A job has this since `since_us`; it replaces what was known of the job."""
        self.let_go(job)
        self._jobs[job] = _Job(queue, user, held, since_us)
        self._era.newest_us = max(self._era.newest_us, since_us)
        if self._counts:
            self._count(job, self._jobs[job], 1)

    def holding(self, queue: str, user: str = "") -> dict[int, tuple[str, str, Held]]:
        """By job: queue, user and amount of those below a queue that hold something. O(running).

        user: of that person only.
        """
        below, places = [self.branch(queue)], set()
        while below:
            branch = below.pop()
            places.add(branch.name)
            below += branch.children
        return {
            job: (row.queue, row.user, row.held)
            for job, row in self._jobs.items()
            if row.queue in places and (not user or row.user == user)
        }

    def held_by(self, job: int) -> tuple[str, str, Held] | None:
        """Queue, user and amount of a job that holds something."""
        row = self._jobs.get(job)
        return None if row is None else (row.queue, row.user, row.held)

    def let_go(self, job: int) -> None:
        """The job holds nothing any more, if it did."""
        known = self._jobs.pop(job, None)
        if known is not None and self._counts:
            self._count(job, known, -1)

    def use(self, row: PastUsage) -> None:
        """Replaces what was known of that queue and user. Raises ValueError for NaN."""
        if not all(math.isfinite(amount) and amount >= 0 for amount in row[2:5]):
            raise ValueError(f"usage of {row.user} in {row.queue} is no amount: {row[2:5]}")
        known = self._usage.get((row.queue, row.user))
        if known is not None and self._counts:
            self._add_usage(known, -1)
        self._usage[row.queue, row.user] = row
        self._era.newest_us = max(self._era.newest_us, row.at_us)
        if self._counts:
            self._add_usage(row, 1)

    def vector(self, held: Held) -> tuple[int, ...]:
        """Amounts by resource."""
        if not self.kinds:
            return held[:BASE]
        kinds = dict(held.kinds)
        return (*held[:BASE], *(kinds.get(kind, 0) for kind in self.kinds))

    def person(self, branch: Branch, user: str) -> Person:
        found = branch.people.get(user)
        if found is None:
            found = branch.people[user] = Person(self.size)
        return found

    def _count(self, job: int, row: _Job, times: int) -> None:
        amounts = [amount * times for amount in self.vector(row.held)]
        factor = self._era.factor(row.since_us)
        early = [amount * factor for amount in amounts]
        leaf = self.branch(row.queue)
        for branch in (*leaf.path(), self.root):
            _add(branch.held, amounts)
            _add(branch.early, early)
            if branch is leaf or branch.user_capped:
                person = self.person(branch, row.user)
                _add(person.held, amounts)
                _add(person.early, early)
                if times > 0:
                    person.jobs[job] = row.since_us
                else:
                    del person.jobs[job]
                    if not person.jobs and not person.used_us:
                        del branch.people[row.user]

    def _add_usage(self, row: PastUsage, times: int) -> None:
        factor = self._era.factor(row.at_us)
        sums = [round(amount * factor) * times for amount in row[2:5]]
        leaf = self.branch(row.queue)
        for branch in (*leaf.path(), self.root):
            _add(branch.past, sums)
        person = self.person(leaf, row.user)
        _add(person.past, sums)
        person.used_us = row.at_us

    def _recount(self) -> None:
        """Everything that is held and was used, into branches that have nothing yet."""
        for branch in self.branches:
            branch.people.clear()
            for sums in (branch.held, branch.early, branch.past):
                sums[:] = [0] * self.size
        for row in self._usage.values():
            self._add_usage(row, 1)
        for job, known in self._jobs.items():
            self._count_below(job, known)
        for branch in reversed(self.branches):
            if branch.above is not None:
                _add(branch.above.held, branch.held)
                _add(branch.above.early, branch.early)

    def _count_below(self, job: int, row: _Job) -> None:
        """`_count` without the sums of the queues above the leaf, which are added up at the end."""
        leaf = self.branch(row.queue)
        factor = self._era.factor(row.since_us)
        amounts = self.vector(row.held)
        early = [amount * factor for amount in amounts] if factor else []
        branch: Branch | None = leaf
        while branch is not None:
            if branch is leaf or branch.user_capped:
                person = self.person(branch, row.user)
                person.jobs[job] = row.since_us
                _add(person.held, amounts)
                _add(person.early, early)
            branch = branch.above
        _add(leaf.held, amounts)
        _add(leaf.early, early)

    def _to_era(self, now_us: int) -> None:
        """Sums as of a reference that depends on `now_us` alone; O(1) while time moves on."""
        half_life_us = max(0, int(self.config.policy.half_life_s * 1e6))
        if not self.config.policy.usage_milli:
            half_life_us = 0
        if not self._counts or not self._era.serves(half_life_us, now_us):
            newest_us = max((row.since_us for row in self._jobs.values()), default=0)
            newest_us = max(newest_us, *(row.at_us for row in self._usage.values()), 0)
            start_us = now_us - now_us % (_ERA * half_life_us) if half_life_us else 0
            self._era = _Era(half_life_us, start_us, 0.0, now_us, newest_us)
            self._counts = True
            self._recount()
        self._era.go_to(now_us)

    def mean(self, held: list[int], early: list[int], past: list[int]) -> list[float]:
        """Mean amounts over all time, decayed, of jobs that run and jobs that ran.

        held, early: what jobs hold that run, and the same times the factor of when they began.
        """
        c, mean_s = self._era.now, self._era.mean_s
        if not mean_s:
            return [0.0] * self.size
        return [
            max(0.0, h - e * c) + p * c / mean_s for h, e, p in zip(held, early, past, strict=True)
        ]

    def share(self, person: Person, scale: tuple[float, ...]) -> float:
        """The largest share of what a person holds and, by its weight, used; without GPU models.

        The same as by `mean`, which makes lists: there are thousands of people.
        """
        held, early, past = person.held, person.early, person.past
        c, mean_s = self._era.now, self._era.mean_s
        if not mean_s:
            return max(held[0] * scale[0], held[1] * scale[1], held[2] * scale[2])
        weight = self.config.policy.usage_milli / 1000
        cpus, memory, gpus = held[0] - early[0] * c, held[1] - early[1] * c, held[2] - early[2] * c
        return max(
            (held[0] + weight * ((cpus if cpus > 0 else 0.0) + past[0] * c / mean_s)) * scale[0],
            (held[1] + weight * ((memory if memory > 0 else 0.0) + past[1] * c / mean_s))
            * scale[1],
            (held[2] + weight * ((gpus if gpus > 0 else 0.0) + past[2] * c / mean_s)) * scale[2],
        )


class _Era:
    """The reference of decayed sums: a factor of `2 ** ((t - start) / half life)`, in integers.

    Valid from `start_us` for `_ERA` half lives. Instants ahead of `cut_us` count as `cut_us`: a
    clock that was set back.
    """

    def __init__(
        self, half_life_us: int, start_us: int, now: float, cut_us: int = 0, newest_us: int = 0
    ) -> None:
        self.half_life_us = half_life_us
        self.start_us = start_us
        self.now = now
        self.newest_us = newest_us
        self.mean_s = half_life_us / 1e6 / math.log(2)
        self._cut_us = cut_us if newest_us > cut_us else None

    def serves(self, half_life_us: int, now_us: int) -> bool:
        if half_life_us != self.half_life_us:
            return False
        if not half_life_us:
            return True
        inside = 0 <= now_us - self.start_us < _ERA * half_life_us
        return inside and self._cut_us is None and now_us >= self.newest_us

    def factor(self, at_us: int) -> int:
        """Of what began, or was summed up, at `at_us`."""
        if not self.half_life_us:
            return 0
        if self._cut_us is not None:
            at_us = min(at_us, self._cut_us)
        halves = min((at_us - self.start_us) / self.half_life_us, 2.0 * _ERA)
        return round(2.0 ** (halves + _BITS)) if halves > -_ERA else 0

    def go_to(self, now_us: int) -> None:
        if self.half_life_us:
            self.now = 2.0 ** (-(now_us - self.start_us) / self.half_life_us - _BITS)


def _add(sums: list[int], more: Sequence[int]) -> None:
    if len(more) == BASE:  # nearly always: no models are named
        sums[0] += more[0]
        sums[1] += more[1]
        sums[2] += more[2]
        return
    for r, amount in enumerate(more):
        sums[r] += amount


def _kinds_named(queues: Iterable[Queue]) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                kind
                for q in queues
                for said in (q.quota, q.cap, q.borrow_limit, q.lend_limit, q.user_cap)
                for kind, _ in said.kinds
            }
        )
    )


def _quotas(branches: list[Branch], kinds: tuple[str, ...]) -> dict[int, Said]:
    """By place: what is guaranteed to each, said or summed up. Parents come before children."""
    sums: dict[int, dict[int, int]] = {}
    made = {}
    for branch in reversed(branches):
        if branch.wish.quota:
            quota = named(branch.wish.quota, kinds)
        else:
            quota = tuple(sorted(sums.get(branch.place, {}).items()))
        made[branch.place] = quota
        if branch.above is not None:
            above = sums.setdefault(branch.above.place, {})
            for r, amount in quota:
                above[r] = above.get(r, 0) + amount
    return made


def _widest_first(queues: tuple[Queue, ...]) -> list[Queue]:
    """Parents before children, else by name. Raises ValueError if that is not a tree."""
    below: dict[str, list[Queue]] = {}
    names: set[str] = set()
    for queue in queues:
        if queue.name in names or queue.name == ROOT:
            raise ValueError(f"there is more than one queue `{queue.name}`")
        names.add(queue.name)
        below.setdefault(queue.parent, []).append(queue)
    strange = sorted(below.keys() - names - {ROOT})
    if strange:
        raise ValueError(f"queue `{below[strange[0]][0].name}` has no parent `{strange[0]}`")
    ordered = sorted(below.get(ROOT, ()), key=lambda queue: queue.name)
    for queue in ordered:
        ordered.extend(sorted(below.get(queue.name, ()), key=lambda child: child.name))
    if len(ordered) < len(queues):
        raise ValueError(f"queues are their own parents: {_cycle(queues, ordered)}")
    return ordered


def _cycle(queues: tuple[Queue, ...], reached: list[Queue]) -> str:
    parents = {queue.name: queue.parent for queue in queues}
    for queue in reached:
        del parents[queue.name]
    name, seen = min(parents), []
    while name not in seen:
        seen.append(name)
        name = parents[name]
    return " -> ".join([*seen[seen.index(name) :], name])
