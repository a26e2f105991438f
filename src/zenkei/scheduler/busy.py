"""Why the jobs of a class did not fit: by what nodes lack now, or by what they never have.

Called by `cycle` for a class that failed. Pure. Cost: one tally of the nodes per cluster.
"""

from __future__ import annotations

import numpy as np

from zenkei.model.resources import could_fit, matches
from zenkei.scheduler.census import asked
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.holdings import Bools
from zenkei.scheduler.index import Tally
from zenkei.scheduler.known import Known
from zenkei.scheduler.placer import Placer, Wanted, wishes_of
from zenkei.scheduler.reasons import Numbers, Reason
from zenkei.scheduler.snapshot import JobClass


def why_not(known: Known, placer: Placer, wanted: Wanted) -> Reason:
    """The first thing that runs out; or what waiting alone cannot help."""
    job_class = known.census.forgiving(wanted.job_class)
    obstacle = known.census.obstacle(job_class)
    if obstacle is not None:
        return obstacle
    required = wishes_of(job_class).required
    if required and (narrow := _too_narrow(known, job_class)) is not None:
        return narrow
    best, ready = Tally(), 0
    for cluster, suits in sorted(known.census.suits(job_class).items()):
        shape = placer.shape(wanted, cluster)
        tally = known.index.tally(shape, job_class.request, wishes_of(job_class))
        if suits.ready >= job_class.fewest and (not ready or tally.fitting > best.fitting):
            best, ready = tally, suits.ready
    if job_class.avoid and placer.place_again(wanted, forgives=True) is not None:
        return _avoided(job_class, best, ready)
    if required and best.fitting >= job_class.fewest:
        return _apart(job_class, best)
    return _busy(job_class, best, ready)


def could_start(known: Known, job_class: JobClass) -> bool:
    """Whether jobs that end would let it start: enough nodes are ready that suit it."""
    wanted = known.census.forgiving(job_class)
    if known.census.obstacle(wanted) is not None:
        return False
    return not wishes_of(wanted).required or _too_narrow(known, wanted) is None


def _too_narrow(known: Known, wanted: JobClass) -> Reason | None:
    """No domain of the level that it requires has so many nodes that suit, or that are ready."""
    levels, layout = known.config.levels, known.holdings.layout
    large = [could_fit(node.capacity, wanted.request) is None for node in layout.models]
    suits = np.array(large, np.bool_)[layout.model]
    if wanted.constraints:
        wishes = dict(wanted.constraints)
        suits &= np.array([matches(node.labels, wishes) for node in layout.nodes], np.bool_)
    suits[[layout.rank_of[name] for name in wanted.avoid if name in layout.rank_of]] = False

    def largest(able: Bools) -> int:
        if wanted.level not in levels:
            return 0
        domains = layout.domains(levels.index(wanted.level))[able]
        return int(np.bincount(domains[domains >= 0]).max(initial=0))

    numbers: Numbers = {**asked(wanted), "level": wanted.level}
    together = largest(suits)
    if together < wanted.fewest:
        numbers["most_together"] = together
        return Reason(code=ReasonCode.NO_SUCH_DOMAIN, numbers=numbers)
    ready = largest(layout.apt(wanted) & known.holdings.ready())
    if ready < wanted.fewest:
        numbers |= {"suitable_nodes": together, "ready_nodes": ready}
        return Reason(code=ReasonCode.NODES_NOT_READY, numbers=numbers)
    return None


def _apart(wanted: JobClass, tally: Tally) -> Reason:
    """Enough nodes have room, but not in one domain of the level that it requires."""
    return Reason(
        code=ReasonCode.TOPOLOGY_BUSY,
        numbers={
            **asked(wanted),
            "level": wanted.level,
            "nodes_fitting": tally.fitting,
            "most_together": tally.largest_domain,
        },
    )


def _avoided(wanted: JobClass, tally: Tally, ready: int) -> Reason:
    """It could start now, but only where it failed before; the others are busy."""
    return Reason(
        code=ReasonCode.NODES_AVOIDED,
        numbers={
            **asked(wanted),
            "ready_nodes": ready,
            "nodes_fitting": tally.fitting,
            "avoided": ", ".join(wanted.avoid),
        },
    )


def _busy(wanted: JobClass, tally: Tally, ready: int) -> Reason:
    """Suitable nodes are there, but jobs hold what is needed: the first thing that runs out."""
    if tally.with_gpus < wanted.fewest:
        code = ReasonCode.GPUS_BUSY
    elif tally.with_cpus < wanted.fewest:
        code = ReasonCode.CPUS_BUSY
    elif tally.with_memory < wanted.fewest:
        code = ReasonCode.MEMORY_BUSY
    else:
        code = ReasonCode.TMP_BUSY
    return Reason(
        code=code,
        numbers={
            **asked(wanted),
            "ready_nodes": ready,
            "nodes_with_gpus": tally.with_gpus,
            "nodes_with_cpus": tally.with_cpus,
            "nodes_with_memory": tally.with_memory,
            "nodes_fitting": tally.fitting,
            "gpus_free": tally.gpus_free,
            "most_gpus_free": tally.most_gpus_free,
        },
    )
