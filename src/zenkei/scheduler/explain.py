"""The full account of one waiting job: what it asks, what is free, who holds it, what would start.

Called by `Planner.explain` when a person asks. Pure; asks the same predicate as planner and applier
of every node. Cost: O(nodes · devices + parts held).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.resources import WHOLE_GPU_MILLI, Free, Misfit, Request, allowed_devices
from zenkei.model.wording import count
from zenkei.scheduler.census import without_rdma
from zenkei.scheduler.free import HeldPart, check
from zenkei.scheduler.reasons import Reason, cores, cpus, size
from zenkei.scheduler.snapshot import JobClass

MOST_HOLDERS: Final = 16
"""Jobs named as holding what is needed; the rest is counted."""


class NodeNow(NamedTuple):
    """A node, what is free on it, and the parts held on it."""

    node: Node
    free: Free
    held: tuple[HeldPart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """What a job holds on nodes that would suit, of what the waiting job lacks there."""

    job: JobId
    nodes: int
    gpu_milli: int
    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int


class Lever(StrEnum):
    """What could be asked differently."""

    NODES = "nodes"
    GPUS = "gpus"
    CPUS = "cpus"
    MEMORY = "memory"
    TMP = "tmp"
    GPU_KIND = "gpu_kind"
    RDMA = "rdma"
    CONSTRAINTS = "constraints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """A request that differs in one thing and would start now if it were next in line.

    asked, would: in the unit of the request (GPUs in thousandths); 0, 0 where a wish is dropped.
    """

    lever: Lever
    asked: int
    would: int

    def apply(self, job_class: JobClass) -> JobClass:
        """The class that would start."""
        request, nodes, constraints = job_class.request, job_class.nodes, job_class.constraints
        match self.lever:
            case Lever.NODES:
                nodes = self.would
            case Lever.GPUS if request.gpu_milli == WHOLE_GPU_MILLI:
                request = replace(request, gpu_count=self.would // WHOLE_GPU_MILLI)
            case Lever.GPUS:
                request = replace(request, gpu_milli=self.would)
            case Lever.CPUS:
                request = replace(request, cpu_milli=self.would)
            case Lever.MEMORY:
                request = replace(request, memory_bytes=self.would)
            case Lever.TMP:
                request = replace(request, tmp_bytes=self.would)
            case Lever.GPU_KIND:
                request = replace(request, gpu_kinds=())
            case Lever.RDMA:
                constraints = without_rdma(job_class).constraints
            case Lever.CONSTRAINTS:
                constraints = ()
        least = job_class.least if job_class.least < nodes else 0
        return replace(
            job_class, request=request, nodes=nodes, least=least, constraints=constraints
        )

    @property
    def text(self) -> str:
        """One English clause, such as `with 4 GPUs per node instead of 8`."""
        if self.lever is Lever.GPU_KIND:
            return "with any type of GPU"
        if self.lever is Lever.RDMA:
            return "without RDMA"
        if self.lever is Lever.CONSTRAINTS:
            return "without the constraints"
        asked, would = (_SAY[self.lever](v) for v in (self.asked, self.would))
        return (
            f"on {would} instead of {asked}"
            if self.lever is Lever.NODES
            else (f"with {would} per node instead of {asked}")
        )


_SAY: Final[dict[Lever, Callable[[int], str]]] = {
    Lever.NODES: lambda n: count(n, "node"),
    Lever.GPUS: lambda n: f"{cores(n)} {'GPU' if n == 1000 else 'GPUs'}",
    Lever.CPUS: cpus,
    Lever.MEMORY: lambda n: f"{size(n)} of memory",
    Lever.TMP: lambda n: f"{size(n)} of scratch space",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """See the module's docstring.

    reason: of the last plan; None if the job came after it. ahead: jobs before it in line.
    fitting: nodes that could take a part now. excluded: the others by why, in the order tested.
    free_gpu_milli, free_cpu_milli, ...: in all on nodes that would suit (READY, matching, large
    enough). holders: largest first; more_holders: how many are not listed. nearest: by lever.
    failed_on: nodes that failed it. forgives: it takes them all the same, having too few others.
    """

    job: JobId
    request: Request
    nodes: int
    constraints: tuple[tuple[str, tuple[str, ...]], ...]
    reason: Reason | None
    ahead: int
    fitting: int
    excluded: tuple[tuple[Misfit, int], ...]
    suitable: int
    free_gpu_milli: int
    free_cpu_milli: int
    free_memory_bytes: int
    free_tmp_bytes: int
    holders: tuple[Holder, ...]
    more_holders: int
    nearest: tuple[Nearest, ...]
    failed_on: tuple[str, ...] = ()
    forgives: bool = False


def explain(
    *,
    job: JobId,
    job_class: JobClass,
    failed_on: tuple[str, ...],
    nodes: tuple[NodeNow, ...],
    ahead: int,
    reason: Reason | None,
    placed: Callable[[JobClass], JobClass],
    names: int = 0,
) -> Explanation:
    """The account of `job` on `nodes`; see `Explanation`. job_class: avoids what it still must.

    placed: a class as it would be placed (`Census.forgiving`). names: so many names of a topology
    path say which nodes a gang may have together; 0: all may.
    """
    request, wanted = job_class.request, _wanted(job_class)
    verdicts = [(now, _misfit(now, request, wanted)) for now in nodes]
    counts = dict.fromkeys(Misfit, 0)
    for _, misfit in verdicts:
        if misfit is not None:
            counts[misfit] += 1
    suitable = [now for now, m in verdicts if m is None or m in _NEEDS]
    holders = _holders([(now, m) for now, m in verdicts if m in _NEEDS])
    offers = nearest(job_class, nodes, names)
    return Explanation(
        job=job,
        request=request,
        nodes=job_class.nodes,
        constraints=job_class.constraints,
        reason=reason,
        ahead=ahead,
        fitting=sum(misfit is None for _, misfit in verdicts),
        excluded=tuple((misfit, number) for misfit, number in counts.items() if number),
        suitable=len(suitable),
        free_gpu_milli=sum(_free_gpu(now, request) for now in suitable),
        free_cpu_milli=sum(max(0, now.free.cpu_milli) for now in suitable),
        free_memory_bytes=sum(max(0, now.free.memory_bytes) for now in suitable),
        free_tmp_bytes=sum(max(0, now.free.tmp_bytes) for now in suitable),
        holders=holders[:MOST_HOLDERS],
        more_holders=max(0, len(holders) - MOST_HOLDERS),
        nearest=_starting(offers, replace(job_class, avoid=failed_on), nodes, placed, names),
        failed_on=failed_on,
        forgives=bool(failed_on) and not job_class.avoid,
    )


class _Wanted(NamedTuple):
    """What a node must be, beside what it must have."""

    constraints: dict[str, tuple[str, ...]]
    avoid: tuple[str, ...]


def _wanted(job_class: JobClass) -> _Wanted:
    return _Wanted(dict(job_class.constraints), job_class.avoid)


def _misfit(now: NodeNow, request: Request, wanted: _Wanted) -> Misfit | None:
    found = check(now.node, now.free, request, wanted.constraints, wanted.avoid)
    return found if isinstance(found, Misfit) else None


def _free_gpu(now: NodeNow, request: Request) -> int:
    allowed = allowed_devices(now.node.capacity, request)
    return sum(max(0, now.free.gpu_milli[i]) for i in allowed)


_NEEDS: Final[dict[Misfit | None, Callable[[HeldPart], int]]] = {
    Misfit.GPU: lambda part: sum(share.milli for share in part.devices),
    Misfit.CPU: lambda part: part.cpu_milli,
    Misfit.MEMORY: lambda part: part.memory_bytes,
    Misfit.TMP: lambda part: part.tmp_bytes,
}
"""How much a part holds of what a node lacks."""


def _holders(lacking: list[tuple[NodeNow, Misfit | None]]) -> tuple[Holder, ...]:
    """Jobs that hold what nodes lack, those with most GPU, CPU, memory first, then by id."""
    sums: dict[int, list[int]] = {}
    for now, misfit in lacking:
        for part in now.held:
            if not _NEEDS[misfit](part):
                continue
            held = sums.setdefault(part.job, [0, 0, 0, 0, 0])
            held[0] += 1
            held[1] += sum(share.milli for share in part.devices)
            held[2] += part.cpu_milli
            held[3] += part.memory_bytes
            held[4] += part.tmp_bytes
    order = sorted(sums.items(), key=lambda item: (*(-x for x in item[1][1:]), item[0]))
    return tuple(
        Holder(
            job=JobId.from_key(job),
            nodes=held[0],
            gpu_milli=held[1],
            cpu_milli=held[2],
            memory_bytes=held[3],
            tmp_bytes=held[4],
        )
        for job, held in order
    )


# -- the nearest request that would start now ----------------------------------------------------
def nearest(job_class: JobClass, nodes: tuple[NodeNow, ...], names: int = 0) -> tuple[Nearest, ...]:
    """Requests that differ in one thing and would start now, for each lever the largest one.

    Empty if the job itself would start. Each is found by asking `check` with that one thing taken
    out of the request, then looking how much of it the nodes could give.
    """
    request, parts = job_class.request, job_class.fewest
    wanted = _wanted(job_class)
    groups = _together(nodes, names)
    counts = _able(groups, lambda now: _misfit(now, request, wanted) is None)
    best = max(map(len, counts), default=0)
    if best >= parts:
        return ()
    found = []
    if best:
        found.append(Nearest(lever=Lever.NODES, asked=parts, would=best))
    for lever, have, without, give in _levers(request):
        able = _able(groups, lambda now, r=without: _misfit(now, r, wanted) is None)  # type: ignore[misc]
        would = max((_nth(group, parts, give) for group in able), default=0)
        if 0 < would < have:
            found.append(Nearest(lever=lever, asked=have, would=would))
    if request.gpu_kinds:
        other = replace(request, gpu_kinds=())
        if _enough(groups, other, wanted, parts):
            found.append(Nearest(lever=Lever.GPU_KIND, asked=0, would=0))
    over_tcp = without_rdma(job_class)
    own = dict(over_tcp.constraints)
    if over_tcp is not job_class and _enough(groups, request, _wanted(over_tcp), parts):
        found.append(Nearest(lever=Lever.RDMA, asked=0, would=0))
    freely = wanted._replace(constraints={})
    if own and _enough(groups, request, freely, parts):
        found.append(Nearest(lever=Lever.CONSTRAINTS, asked=0, would=0))
    return tuple(found)


def _starting(
    offers: tuple[Nearest, ...],
    asked: JobClass,
    nodes: tuple[NodeNow, ...],
    placed: Callable[[JobClass], JobClass],
    names: int,
) -> tuple[Nearest, ...]:
    """Those of `offers` that start although fewer wishes may be forgiven.

    A smaller request suits more nodes, so that those which failed the job may be avoided again.
    """
    groups = _together(nodes, names)
    found = []
    for offer in offers:
        job_class = placed(offer.apply(asked))
        if _enough(groups, job_class.request, _wanted(job_class), job_class.fewest):
            found.append(offer)
    return tuple(found)


def _levers(
    request: Request,
) -> list[tuple[Lever, int, Request, Callable[[NodeNow], int]]]:
    """Lever, what was asked, the request without it, and how much of it a node could give now."""

    def gpus(now: NodeNow) -> int:
        allowed = allowed_devices(now.node.capacity, request)
        free = [now.free.gpu_milli[i] for i in allowed]
        if request.gpu_milli < WHOLE_GPU_MILLI:
            return max(free, default=0)
        return WHOLE_GPU_MILLI * sum(milli >= WHOLE_GPU_MILLI for milli in free)

    none = replace(request, gpu_count=0, gpu_milli=0)
    return [
        (Lever.GPUS, request.gpu_count * request.gpu_milli, none, gpus),
        (
            Lever.CPUS,
            request.cpu_milli,
            replace(request, cpu_milli=0),
            lambda now: now.free.cpu_milli // 1000 * 1000 or now.free.cpu_milli,
        ),
        (
            Lever.MEMORY,
            request.memory_bytes,
            replace(request, memory_bytes=0),
            lambda now: now.free.memory_bytes,
        ),
        (
            Lever.TMP,
            request.tmp_bytes,
            replace(request, tmp_bytes=0),
            lambda now: now.free.tmp_bytes,
        ),
    ]


def _together(nodes: tuple[NodeNow, ...], names: int) -> list[list[NodeNow]]:
    """Nodes by what a gang may have together: a cluster, or a domain of the required level."""
    groups: dict[tuple[str, ...], list[NodeNow]] = {}
    for now in nodes:
        path = now.node.topology[:names]
        if len(path) == names:
            groups.setdefault((now.node.cluster, *path), []).append(now)
    return list(groups.values())


def _able(groups: list[list[NodeNow]], able: Callable[[NodeNow], bool]) -> list[list[NodeNow]]:
    return [[now for now in group if able(now)] for group in groups]


def _nth(group: list[NodeNow], parts: int, give: Callable[[NodeNow], int]) -> int:
    """The most that each of `parts` nodes of the group can give; 0 if there are not so many."""
    if len(group) < parts:
        return 0
    return sorted(map(give, group), reverse=True)[parts - 1]


def _enough(groups: list[list[NodeNow]], request: Request, wanted: _Wanted, parts: int) -> bool:
    able = _able(groups, lambda now: _misfit(now, request, wanted) is None)
    return any(len(group) >= parts for group in able)
