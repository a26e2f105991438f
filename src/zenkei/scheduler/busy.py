"""Why the jobs of a class did not fit: by what nodes lack now, or by what they never have.

Called by `cycle` for a class that failed. Pure. Cost: one tally of the nodes per cluster.
"""

from __future__ import annotations

from zenkei.scheduler.census import asked
from zenkei.scheduler.index import Tally
from zenkei.scheduler.known import Known
from zenkei.scheduler.placer import Placer, Wanted, wishes_of
from zenkei.scheduler.reasons import Reason, ReasonCode
from zenkei.scheduler.snapshot import JobClass


def why_not(known: Known, placer: Placer, wanted: Wanted) -> Reason:
    """The first thing that runs out; or what waiting alone cannot help."""
    job_class = known.census.forgiving(wanted.job_class)
    obstacle = known.census.obstacle(job_class)
    if obstacle is not None:
        return obstacle
    best, ready = Tally(), 0
    for cluster, suits in sorted(known.census.suits(job_class).items()):
        shape = placer.shape(wanted, cluster)
        tally = known.index.tally(shape, job_class.request, wishes_of(job_class))
        if suits.ready >= job_class.fewest and (not ready or tally.fitting > best.fitting):
            best, ready = tally, suits.ready
    if job_class.avoid and placer.place_again(wanted, forgives=True) is not None:
        return _avoided(job_class, best, ready)
    return _busy(job_class, best, ready)


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
