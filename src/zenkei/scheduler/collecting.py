"""Which nodes a starving gang collects when nobody knows the end of what runs on them.

Used by `calendar` only; pure. Nodes with a known end come first, then those that lack fewest GPUs,
CPUs. Nobody else may use what is kept on a chosen node, so what a chosen set lacks only shrinks
while it is kept, and another set is taken only if it lacks less: nothing goes to and fro, although
no plan knows of the one before. Cost: one pass over the rows of all nodes that suit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.earliest import Search, Seeker
from zenkei.scheduler.snapshot import IntArray


class Chosen(NamedTuple):
    """ranks: of the nodes to keep, most free first. free: on how many a part would fit now."""

    ranks: IntArray
    free: int
    idle_gpu_milli: int


class _Now(NamedTuple):
    """By node: what it lacks (most weighty first), and what is idle if it is kept."""

    lacks: IntArray
    idle: IntArray


def choose(
    seeker: Seeker, search: Search, cluster: IntArray, groups: IntArray | None, most_idle: int
) -> Chosen | None:
    """The nodes of a gang that cannot be dated; None if too few suit.

    cluster: `[N]`; groups: `[N]`, the gang stays within one of them. most_idle: GPU thousandths
    that may be kept idle; nodes beyond that are left out.
    """
    nodes = np.flatnonzero(search.fit)
    if groups is not None:
        nodes = nodes[groups[nodes] >= 0]
    if len(nodes) < search.number:
        return None
    now = _now(seeker, search, nodes)
    order = np.lexsort((nodes, *now.lacks[::-1]))
    inside = (cluster if groups is None else groups)[nodes]
    picked = _pick(order, inside, now.lacks, search.number)
    if picked is None:
        return None
    within = np.cumsum(now.idle[picked]) <= most_idle
    picked = picked[within]
    if not len(picked):
        return None
    free = int((now.lacks[1:, picked] == 0).all(axis=0).sum())
    return Chosen(nodes[picked], free, int(now.idle[picked].sum()))


def _pick(order: IntArray, inside: IntArray, lacks: IntArray, number: int) -> IntArray | None:
    """The first `number` of one group: of that whose worst, taken together, lack least."""
    best: tuple[list[int], int] | None = None
    chosen: IntArray | None = None
    for group in np.unique(inside).tolist():
        own = order[inside[order] == group][:number]
        if len(own) == number:
            total = lacks[:, own].sum(axis=1).tolist(), group
            if best is None or total < best:
                best, chosen = total, own
    return chosen


def _now(seeker: Seeker, search: Search, nodes: IntArray) -> _Now:
    need = search.need
    dated = np.zeros(len(search.fit), np.bool_)
    dated[seeker.opening(search).rank] = True
    sizes, whole, most = seeker.free_now(nodes, search.allowed)
    asked = np.array([need.cpu, need.memory, need.tmp], np.int64)[:, None]
    short = np.maximum(asked - sizes, 0)
    if need.share:
        gpus = np.maximum(need.share - most, 0)
        idle = np.minimum(most, need.share)
    else:
        gpus = np.maximum(need.whole - whole, 0) * WHOLE_GPU_MILLI
        idle = np.clip(whole, 0, need.whole) * WHOLE_GPU_MILLI
    unknown = ~dated[nodes]
    lacks = np.stack((unknown.astype(np.int64), gpus, *short))
    return _Now(lacks, idle.astype(np.int64))
