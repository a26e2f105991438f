"""Whom a waiting gang may displace, and the cheapest set of jobs whose end makes it fit.

Called by `cycle` for a gang that did not fit: `Occupancy` once per plan, then `victims` for each
such gang. Pure. The answer is whole jobs, a `Hold` on the place that they leave, or nobody: nothing
is displaced unless the whole gang fits afterwards, and nobody whose place is not needed. Who may
displace whom, and why that ends, says `rights`; how the set is found says `cover`.

The price of a job is the GPU-seconds since its newest checkpoint, and `restart_s` of its GPUs. At
equal prices: fewer jobs, then those of the queue furthest above its quota, of lower priority,
younger, with the smaller id. A job without GPUs counts as a thousandth of one for each CPU.
Cost: O(jobs + queues) in NumPy, O(nodes) for where it could go, then O(nodes x jobs there), see
`cover`; for one node only those are looked at that could be as cheap as the best.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.cluster import Node, NodePart, NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import Policy
from zenkei.model.resources import WHOLE_GPU_MILLI, Free, Misfit, could_fit, matches
from zenkei.scheduler.cover import Cover
from zenkei.scheduler.decisions import Hold, Preempt, PreemptReason
from zenkei.scheduler.free import HeldPart, check
from zenkei.scheduler.ledger import Quotas
from zenkei.scheduler.occupancy import Occupancy, Tenant
from zenkei.scheduler.reasons import Reason, victims_protected, victims_stopping
from zenkei.scheduler.rights import Rights, unprotected_us
from zenkei.scheduler.roster import CPU_MILLI, GPU_MILLI, GROUP, JOB, PRIORITY, SAVED_US, SINCE_US
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.vacating import Spot

HOLD_S: Final = 600.0
"""How long a place is kept for a job whose victims are stopping; it is renewed while they are."""
_FEW: Final = 16
"""Nodes that are looked at first when one will do."""
_NEVER: Final = float("inf")
_STEP: Final = 4096
"""What a lost thousandth of a GPU for a second counts; less decides between equals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """The gang that waits. job_class: as it is placed (nodes that are forgiven are not in `avoid`).

    queue: place in the table. index: by which it may displace others of its queue (`worth`). A gang
    that may be smaller (`least`) displaces others for its least size only.
    """

    job: JobId
    job_class: JobClass
    queue: int
    priority: int
    index: float = 0.0

    @property
    def count(self) -> int:
        """Nodes that it must have."""
        return self.job_class.least or self.job_class.nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Displacement:
    """What is to be done for the asker. preempts: in the order of their ids.

    Without any, jobs that are stopping already leave enough. hold: the place, with its devices.
    cost_gpu_milli_s: what the victims lose, their restarts included. reason: why the asker waits.
    """

    preempts: tuple[Preempt, ...]
    hold: Hold
    cost_gpu_milli_s: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Spared:
    """It would fit if jobs were displaced that are protected for now.

    again_us: when asking again may help; None: somewhen within an hour.
    """

    reason: Reason
    again_us: int | None


class _Found(NamedTuple):
    """One place: what it costs, the jobs, the nodes and what is then free on each."""

    cost: int
    jobs: tuple[int, ...]
    nodes: tuple[tuple[Node, Free], ...]


def victims(
    asker: Asker,
    occupancy: Occupancy,
    free: Callable[[str], Free],
    quotas: Quotas,
    policy: Policy,
    *,
    now_us: int,
    levels: Sequence[str] = (),
    among: Container[int] | None = None,
) -> Displacement | Spared | None:
    """The cheapest jobs to displace for `asker`; None: it has no right over enough of them.

    free: by node, what is left now, after everything that the plan has given away and kept for
    others (claims count as taken, also where what they keep is still held: below zero is right).
    levels: `ClusterConfig.levels`. among: nobody else is displaced. Not to be called for a job
    whose claim is in force. The gang's limits (caps) are the caller's matter.
    """
    if not policy.preempt:
        return None
    rights = Rights(
        queue=asker.queue,
        priority=asker.priority,
        request=asker.job_class.request,
        nodes=asker.count,
        occupancy=occupancy,
        quotas=quotas,
        policy=policy,
        now_us=now_us,
        index=asker.index,
    )
    if among is not None:
        rights.only(among)
    stopping = occupancy.stopping()
    if not rights.may and not rights.spared and not stopping:
        return None
    sites = _sites(asker, occupancy, free, stopping, {*rights.may, *rights.spared})
    weight = _weights(rights, policy, now_us)
    if asker.count == 1:
        spots = _cheapest(asker, sites, rights, weight)
    else:
        spots = [site.spot(asker) for site in sites]
    found: _Found | None = None
    for group in _places(asker, spots, levels):
        one = _search(asker, group, rights, weight)
        if one is not None and (found is None or one.cost < found.cost):
            found = one
    if found is not None:
        return _displacement(asker, found, rights, occupancy, policy, now_us)
    return _spared(asker, sites, rights, occupancy, policy, levels)


# -- where it could go ---------------------------------------------------------------------------
class _Site(NamedTuple):
    """A node that could take a part. waits: jobs are stopping there."""

    node: Node
    free: Free
    parts: Mapping[int, Sequence[HeldPart]]
    stopping: set[int]
    waits: bool

    def spot(self, asker: Asker) -> Spot:
        parts = [part for some in self.parts.values() for part in some]
        return Spot(self.node, self.free, asker.job_class.request, parts, self.stopping)

    def least(self, asker: Asker, weight: Mapping[int, int]) -> float:
        """No jobs cost less whose end makes a part fit."""
        if self.waits:
            return 0.0
        request = asker.job_class.request
        milli = self.free.gpu_milli
        if request.gpu_milli == WHOLE_GPU_MILLI:
            lack = request.gpu_count
            for one in milli:
                lack -= one >= WHOLE_GPU_MILLI
            if lack > 0:
                return self._for_gpus(lack, weight)
        if self.free.cpu_milli >= request.cpu_milli and sum(milli) >= request.gpu_milli:
            return 0.0
        return min((float(weight[job]) for job in weight.keys() & self.parts), default=_NEVER)

    def _for_gpus(self, lack: int, weight: Mapping[int, int]) -> float:
        """As if parts of jobs could be taken, and each freed all GPUs that it uses here."""
        prices = []
        for job, parts in self.parts.items():
            if job in weight:
                devices = sum([len(part.devices) for part in parts])
                if devices:
                    prices.append((weight[job] / devices, devices))
        prices.sort()
        least = 0.0
        for price, devices in prices:
            if devices >= lack:
                return least + price * lack
            least += price * devices
            lack -= devices
        return _NEVER


def _sites(
    asker: Asker,
    occupancy: Occupancy,
    free: Callable[[str], Free],
    stopping: set[int],
    movable: set[int],
) -> list[_Site]:
    """Nodes that would take a part if they were empty, and have room or jobs that may go; by name.

    movable: jobs that could be displaced. Most nodes of a full cluster have none of them.
    """
    wanted = asker.job_class
    request, avoid, constraints = wanted.request, set(wanted.avoid), dict(wanted.constraints)
    gone = stopping | movable
    found = []
    nobody: Mapping[int, Sequence[HeldPart]] = {}
    for name, node in sorted(occupancy.nodes.items()):
        if node.state is not NodeState.READY or name in avoid:
            continue
        parts, left = occupancy.parts.get(name, nobody), free(name)
        is_full = left.cpu_milli < request.cpu_milli or sum(left.gpu_milli) < request.gpu_milli
        if is_full and gone.isdisjoint(parts):
            continue
        if matches(node.labels, constraints) and could_fit(node.capacity, request) is None:
            waits = not stopping.isdisjoint(parts)
            found.append(_Site(node, left, parts, stopping, waits))
    return found


def _cheapest(
    asker: Asker, sites: Sequence[_Site], rights: Rights, weight: Mapping[int, int]
) -> list[Spot]:
    """For a job of one node: sites without those that are dearer than the best, whatever is there.

    The answer is the same as with all of them. Looked at are few, the cheapest at best first.
    """
    least = [site.least(asker, weight) for site in sites]
    order = sorted(range(len(sites)), key=lambda i: (least[i], i))
    spots: dict[int, Spot] = {}
    number = _FEW
    while True:
        for i in order[:number]:
            if i not in spots:
                spots[i] = sites[i].spot(asker)
        found = [spots[i] for i in sorted(spots)]
        if number >= len(sites):
            return found
        best = Cover(found, 1, rights, weight).bound() * (1 + 1e-9)  # these are rounded
        if best < least[order[number]]:
            return found
        number = min(4 * number, bisect_right(order, best, key=lambda i: least[i]))


def _places(asker: Asker, spots: Sequence[Spot], levels: Sequence[str]) -> Iterator[Sequence[Spot]]:
    """Sets of nodes, the gang must lie in one: clusters, or domains where that is required.

    A domain that is only preferred comes before its cluster: at equal cost it is taken.
    """
    wanted, count = asker.job_class, asker.count
    by_cluster: dict[str, list[Spot]] = {}
    for spot in spots:
        by_cluster.setdefault(spot.node.cluster, []).append(spot)
    for _, members in sorted(by_cluster.items()):
        if wanted.level and count > 1:
            depth = levels.index(wanted.level) + 1 if wanted.level in levels else 0
            domains: dict[tuple[str, ...], list[Spot]] = {}
            for spot in members if depth else ():
                if len(spot.node.topology) >= depth:
                    domains.setdefault(spot.node.topology[:depth], []).append(spot)
            for _, domain in sorted(domains.items()):
                if len(domain) >= count:
                    yield domain
            if wanted.required:
                continue
        if len(members) >= count:
            yield members


# -- whom it costs -------------------------------------------------------------------------------
def _lost_milli_s(tenant: Tenant, now_us: int) -> int:
    return _size_milli(tenant) * max(0, now_us - tenant.facts.saved_us) // 1_000_000


def _size_milli(tenant: Tenant) -> int:
    return tenant.gpu_milli or tenant.cpu_milli // 1000


def _weights(rights: Rights, policy: Policy, now_us: int) -> Mapping[int, int]:
    """By job that may be displaced, sorted by id: its price in steps, and its rank below them."""
    if not rights.may:
        return {}
    table = rights.rows()
    jobs, gpu, cpu = table[JOB], table[GPU_MILLI], table[CPU_MILLI]
    beyond = rights.beyond_milli(table[GROUP])
    rank = np.empty(len(jobs), np.int64)
    order = np.lexsort((jobs, -table[SINCE_US], table[PRIORITY], -beyond))
    rank[order] = np.arange(len(jobs))
    size = np.where(gpu != 0, gpu, cpu // 1000)
    unsaved_us = np.maximum(0, now_us - table[SAVED_US])
    restart_milli = int(policy.restart_s * 1000)
    most = int(size.max()) * max(int(unsaved_us.max()), restart_milli * 1000) * _STEP
    if most > 1 << 62:  # as Python's integers: slow, and there is none that is too large
        size, unsaved_us, rank = (one.astype(object) for one in (size, unsaved_us, rank))
    steps = size * unsaved_us // 1_000_000 + size * restart_milli // 1000
    # half a step for being displaced at all, so that fewer jobs are preferred to low ranks
    weights = steps * _STEP + _STEP // 2 + rank * (_STEP // 2 - 1) // len(jobs)
    return dict(zip(jobs.tolist(), weights.tolist(), strict=True))


def _search(
    asker: Asker, group: Sequence[Spot], rights: Rights, weight: Mapping[int, int]
) -> _Found | None:
    cover = Cover(group, asker.count, rights, weight)
    jobs = cover.search()
    if jobs is None:
        return None
    nodes = tuple((spot.node, spot.free.copy()) for spot in _chosen(asker, cover.fitting()))
    found = _Found(cover.cost(), tuple(jobs), nodes)
    cover.set(())  # the nodes as they were: they may lie in other groups too
    return found


def _chosen(asker: Asker, fitting: Sequence[Spot]) -> list[Spot]:
    """The nodes, in rank order: those it had keep their ranks, others along the topology."""
    count, prefer = asker.count, asker.job_class.prefer
    had = {name: rank for rank, name in reversed([*enumerate(prefer[:count])])}

    def left_over(spot: Spot) -> int:
        return sum(spot.free.gpu_milli)

    best = sorted(fitting, key=lambda s: (s.node.name not in had, left_over(s), s.node.name))
    taken = best[:count]
    kept = {had[spot.node.name]: spot for spot in taken if spot.node.name in had}
    others = iter(
        sorted(
            (spot for spot in taken if spot.node.name not in had),
            key=lambda s: (s.node.topology, s.node.name),
        )
    )
    return [kept.get(rank) or next(others) for rank in range(count)]


# -- the answer ----------------------------------------------------------------------------------
def _displacement(
    asker: Asker,
    found: _Found,
    rights: Rights,
    occupancy: Occupancy,
    policy: Policy,
    now_us: int,
) -> Displacement:
    wanted = asker.job_class
    parts = []
    constraints = dict(wanted.constraints)
    for node, left in found.nodes:
        devices = check(node, left, wanted.request, constraints, wanted.avoid)
        assert not isinstance(devices, Misfit), f"search and check disagree: {devices}"
        parts.append(NodePart(node=node.name, request=wanted.request, devices=devices))
    preempts, cost = [], 0
    for job in found.jobs:
        tenant = occupancy.tenants[job]
        lost = _lost_milli_s(tenant, now_us)
        cost += lost + _size_milli(tenant) * int(policy.restart_s * 1000) // 1000
        preempts.append(
            Preempt(
                victim=JobId.from_key(job),
                favoured=asker.job,
                reason=rights.may[job],
                lost_gpu_milli_s=lost,
            )
        )
    until_us = now_us + int(HOLD_S * 1e6)
    cluster = found.nodes[0][0].cluster
    hold = Hold(job=asker.job, cluster=cluster, parts=tuple(parts), until_us=until_us)
    return Displacement(
        preempts=tuple(preempts),
        hold=hold,
        cost_gpu_milli_s=cost,
        reason=victims_stopping(_leaving(hold, found, occupancy)),
    )


def _leaving(hold: Hold, found: _Found, occupancy: Occupancy) -> list[JobId]:
    """Jobs that the asker waits for: the victims, and those that are stopping on its nodes."""
    nodes, all_stopping = {part.node for part in hold.parts}, occupancy.stopping()
    stopping = {
        job for name in nodes for job in occupancy.parts.get(name, ()) if job in all_stopping
    }
    return [JobId.from_key(job) for job in sorted(stopping.union(found.jobs))]


def _spared(
    asker: Asker,
    sites: Sequence[_Site],
    rights: Rights,
    occupancy: Occupancy,
    policy: Policy,
    levels: Sequence[str],
) -> Spared | None:
    """Whether protection is what keeps it waiting: would it fit without all of those?"""
    if not rights.spared:
        return None
    out = {*rights.may, *rights.spared}
    spots = [site.spot(asker) for site in sites]
    for spot in spots:
        for job in out & spot.pieces.keys():
            spot.give(job)
    enough = any(
        sum(spot.fits for spot in group) >= asker.count for group in _places(asker, spots, levels)
    )
    if not enough:
        return None
    times = [unprotected_us(occupancy.tenants[job].facts, policy) for job in rights.spared]
    ends = [at_us for at_us in times if at_us is not None]
    first = min(ends, default=None)
    return Spared(reason=victims_protected(len(rights.spared), first), again_us=first)


__all__ = [
    "HOLD_S",
    "Asker",
    "Displacement",
    "Occupancy",
    "PreemptReason",
    "Quotas",
    "Spared",
    "victims",
]
