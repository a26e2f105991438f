"""The nearest requests that would start now: one thing asked differently, all else unchanged.

Used by `explain`. Pure. Each offer has passed `Prospect.starts`, so limits, reservations, promises
and topology count as much as what is free. Of amounts the most that starts is found by halves, in
whole GPUs, whole cores and GiB; of topology levels the narrowest wider one; of queues the first of
those nearest in the tree. Bounded: some 60 questions and MOST_QUEUES queues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.census import without_rdma
from zenkei.scheduler.offers import Lever, Nearest
from zenkei.scheduler.prospect import Prospect
from zenkei.scheduler.tree import Branch, QueueTree

MOST_QUEUES: Final = 64
"""Other queues that are tried."""
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def nearest(prospect: Prospect) -> tuple[Nearest, ...]:
    """By lever; empty if the job itself would start. Within `Prospect.asking`."""
    if prospect.starts(prospect.job_class):
        return ()
    found = [offer for offer in _amounts(prospect) if offer is not None]
    wanted = prospect.job_class
    for offer in _wishes(prospect):
        changed = offer.apply(wanted)
        if changed != wanted and prospect.starts(changed):
            found.append(offer)
    levels = (offer for offer in _levels(prospect) if prospect.starts(offer.apply(wanted)))
    found += [offer for offer in (next(levels, None), _queue(prospect)) if offer is not None]
    return tuple(found)


# -- less of something ---------------------------------------------------------------------------
def _amounts(prospect: Prospect) -> Iterator[Nearest | None]:
    wanted = prospect.job_class
    request = wanted.request
    gpus = request.gpu_count * request.gpu_milli
    whole = request.gpu_milli >= WHOLE_GPU_MILLI
    yield _less(prospect, Lever.NODES, wanted.fewest, 1)
    yield _less(prospect, Lever.GPUS, gpus, WHOLE_GPU_MILLI if whole else 10)
    yield _less(prospect, Lever.CPUS, request.cpu_milli, 1000 if request.cpu_milli > 1000 else 100)
    for lever, size in ((Lever.MEMORY, request.memory_bytes), (Lever.TMP, request.tmp_bytes)):
        yield _less(prospect, lever, size, _GIB if size > _GIB else _MIB)


def _less(prospect: Prospect, lever: Lever, asked: int, unit: int) -> Nearest | None:
    """The most that starts, in whole units; None if the least does not."""

    def offer(units: int) -> Nearest:
        return Nearest(lever=lever, asked=asked, would=units * unit)

    def starts(units: int) -> bool:
        return prospect.starts(offer(units).apply(prospect.job_class))

    low, high = 1, -(-asked // unit)
    if high <= low or not starts(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts(middle) else (low, middle)
    return offer(low)


# -- another wish --------------------------------------------------------------------------------
def _wishes(prospect: Prospect) -> Iterator[Nearest]:
    wanted = prospect.job_class
    if wanted.request.gpu_kinds:
        yield Nearest(lever=Lever.GPU_KIND)
    over_tcp = without_rdma(wanted)
    if over_tcp is not wanted:
        yield Nearest(lever=Lever.RDMA)
    if over_tcp.constraints:
        yield Nearest(lever=Lever.CONSTRAINTS)


def _levels(prospect: Prospect) -> Iterator[Nearest]:
    """Wider levels, the narrowest first, then none."""
    wanted = prospect.job_class
    if wanted.required and wanted.nodes > 1:
        levels = prospect.known.config.levels
        wider = levels[: levels.index(wanted.level)] if wanted.level in levels else ()
        for level in (*reversed(wider), ""):
            yield Nearest(lever=Lever.TOPOLOGY, was=wanted.level, now=level)


def _queue(prospect: Prospect) -> Nearest | None:
    """Another queue that would start it; where nobody passes who does not fit, none is sure to."""
    wanted, known = prospect.job_class, prospect.known
    if not known.config.queues or not known.config.policy.backfill:
        return None
    fits = prospect.survey.fits(known.census.forgiving(wanted))
    if not prospect.survey.enough(fits, wanted):
        return None  # the nodes are what is lacking
    for tried, name in enumerate(_others(known.tree, prospect.queue)):
        if tried >= MOST_QUEUES:
            break
        if prospect.starts(wanted, name):
            return Nearest(lever=Lever.QUEUE, was=prospect.queue, now=name)
    return None


def _others(tree: QueueTree, queue: str) -> list[str]:
    """Leaves, those first that have most queues above in common, then by name."""
    above = {branch.place for branch in tree.branch(queue).path()}

    def apart(branch: Branch) -> tuple[int, str]:
        return -sum(one.place in above for one in branch.path()), branch.name

    leaves = (b for b in tree.branches[1:] if not b.children and not b.missing and b.name != queue)
    return [branch.name for branch in sorted(leaves, key=apart)]
