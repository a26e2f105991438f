"""The full account of one waiting job: what binds it, what is free, who holds it, what would help.

Called by `Planner.explain` when a person asks. Pure. Everything is said of the world as the last
plan leaves it: what that plan started is taken, what it promised is kept. What would start now is
tested by what the plan goes by (`prospect`); what would have to end is in `wayout`.
Cost: some NumPy passes over nodes and parts, some 60 questions, a bounded search for jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from zenkei.model.ids import JobId
from zenkei.model.queue import Order
from zenkei.model.resources import Misfit, Request
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.nearest import nearest
from zenkei.scheduler.offers import Lever, Nearest
from zenkei.scheduler.prospect import Prospect
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import IntArray, JobClass
from zenkei.scheduler.survey import CODE, CODES, FITS, LACKS, Lacking, Together
from zenkei.scheduler.tree import Held
from zenkei.scheduler.wayout import way_out

MOST_HOLDERS: Final = 16
"""Jobs named as holding what is needed; the rest is counted."""


class Cause(StrEnum):
    """What binds, in one word. Each reason has one; GPUs that lie in pieces are told from few."""

    CAP = "cap"
    QUOTA = "quota"
    PRIORITY = "priority"
    MODEL = "model"
    BUSY = "busy"
    FRAGMENTATION = "fragmentation"
    TOPOLOGY = "topology"
    RESERVATION = "reservation"
    CONSTRAINT = "constraint"
    FAILURES = "failures"
    SIZE = "size"
    NODES = "nodes"
    PAUSE = "pause"
    QUEUE = "queue"
    PREEMPTION = "preemption"
    TURN = "turn"


_BUSY: Final = {
    ReasonCode.GPUS_BUSY,
    ReasonCode.CPUS_BUSY,
    ReasonCode.MEMORY_BUSY,
    ReasonCode.TMP_BUSY,
}
_CAUSES: Final = {
    Cause.CAP: (
        ReasonCode.QUEUE_CAP,
        ReasonCode.USER_CAP,
        ReasonCode.ABOVE_QUEUE_CAP,
        ReasonCode.ABOVE_USER_CAP,
    ),
    Cause.QUOTA: (
        ReasonCode.BORROW_LIMIT,
        ReasonCode.QUOTA_NOT_LENT,
        ReasonCode.ABOVE_BORROW_LIMIT,
        ReasonCode.ABOVE_LENT,
    ),
    Cause.PRIORITY: (ReasonCode.WOULD_DELAY, ReasonCode.LIMIT_KEPT, ReasonCode.BEHIND),
    Cause.MODEL: (ReasonCode.NO_SUCH_GPU, ReasonCode.GPU_KIND_NOT_ALLOWED),
    Cause.BUSY: (*_BUSY, ReasonCode.COLLECTING),
    Cause.TOPOLOGY: (ReasonCode.TOPOLOGY_BUSY, ReasonCode.NO_SUCH_DOMAIN),
    Cause.RESERVATION: (ReasonCode.RESERVED,),
    Cause.CONSTRAINT: (ReasonCode.NO_SUCH_LABELS, ReasonCode.NO_RDMA),
    Cause.FAILURES: (ReasonCode.NODES_AVOIDED,),
    Cause.SIZE: (
        ReasonCode.TOO_FEW_NODES,
        ReasonCode.TOO_MANY_GPUS,
        ReasonCode.TOO_MANY_CPUS,
        ReasonCode.TOO_MUCH_MEMORY,
        ReasonCode.TOO_MUCH_TMP,
    ),
    Cause.NODES: (
        ReasonCode.NO_NODES,
        ReasonCode.NODES_NOT_READY,
        ReasonCode.DEVICES_IN_FOREIGN_USE,
    ),
    Cause.PAUSE: (ReasonCode.PAUSED, ReasonCode.QUEUE_PAUSED),
    Cause.QUEUE: (ReasonCode.UNKNOWN_QUEUE, ReasonCode.QUEUE_NOT_LEAF),
    Cause.PREEMPTION: (ReasonCode.VICTIMS_STOPPING, ReasonCode.VICTIMS_PROTECTED),
    Cause.TURN: (
        ReasonCode.RETRY_DELAY,
        ReasonCode.CHECKPOINT_BEING_STORED,
        ReasonCode.NOT_YET_TRIED,
    ),
}
CAUSE_OF: Final = {code: cause for cause, codes in _CAUSES.items() for code in codes}
_OWN_TIME: Final = {
    ReasonCode.RETRY_DELAY,
    ReasonCode.CHECKPOINT_BEING_STORED,
    ReasonCode.NOT_YET_TRIED,
    ReasonCode.VICTIMS_STOPPING,
    ReasonCode.PAUSED,
}
"""Reasons for which no other request would start now either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """What a job holds on nodes that would suit, of what the waiting job lacks there."""

    job: JobId
    queue: str
    nodes: int
    gpu_milli: int
    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """A job that would have to end, with what it holds in all."""

    job: JobId
    queue: str
    gpu_milli: int
    cpu_milli: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """See the module's docstring.

    reason: of the last plan; None if the job came after it. cause: of that reason. ahead: jobs
    before it in its queue, or in all if they are one line (`order: fifo`). needed: nodes
    without which it does not start. fitting: nodes that could take a part now. together: the
    most of them in one cluster, or domain of the level that it requires. kept: of the fitting
    ones, those reserved or kept for others. excluded: the others by why, in the order tested.
    free_gpu_milli, ...: in all on nodes that would suit (READY, matching, large enough);
    most_gpu_milli: on one of them. holders: largest first, in the order of what is lacking; for
    a limit, of those who hold it; more_holders: how many are not listed. ends: jobs after whose
    end it would start, if it were next; empty: none are known. nearest: by lever. failed_on:
    nodes that failed it. forgives: it takes them all the same, having too few others.
    """

    job: JobId
    queue: str
    request: Request
    nodes: int
    needed: int
    level: str
    constraints: tuple[tuple[str, tuple[str, ...]], ...]
    reason: Reason | None
    cause: Cause | None
    ahead: int
    fitting: int
    together: Together
    kept: int
    excluded: tuple[tuple[Misfit, int], ...]
    suitable: int
    free_gpu_milli: int
    free_cpu_milli: int
    free_memory_bytes: int
    free_tmp_bytes: int
    most_gpu_milli: int
    holders: tuple[Holder, ...]
    more_holders: int
    ends: tuple[End, ...]
    nearest: tuple[Nearest, ...]
    failed_on: tuple[str, ...] = ()
    forgives: bool = False


def explain(prospect: Prospect, reason: Reason | None, *, answerable: bool) -> Explanation:
    """The account of a waiting job. answerable: the plan went on to its end, and left it waiting.

    If it did not, or the job waits for its own time, nothing is offered.
    """
    with prospect.asking():
        return _explain(prospect, reason, answerable=answerable)


def _explain(prospect: Prospect, reason: Reason | None, *, answerable: bool) -> Explanation:
    survey, asked = prospect.survey, prospect.job_class
    job_class = prospect.known.census.forgiving(asked)
    verdicts = survey.verdicts(job_class)
    counts = {m: int((verdicts == CODE[m]).sum()) for m in CODES}
    fits = verdicts == FITS
    suitable = fits.copy()
    for misfit in LACKS:
        suitable |= verdicts == CODE[misfit]
    gpu, cpu, memory, tmp, most_gpu = survey.free_of(asked.request, suitable)
    code = reason.code if reason is not None else None
    helps = answerable and code not in _OWN_TIME
    holders, more = _holders(prospect, verdicts, reason)
    open_to = prospect.open(job_class.request)
    together = survey.most(fits, job_class)
    order = prospect.known.config.policy.order
    return Explanation(
        job=JobId.from_key(prospect.job),
        queue=prospect.queue,
        request=asked.request,
        nodes=asked.nodes,
        needed=asked.fewest,
        level=asked.level if asked.required and asked.nodes > 1 else "",
        constraints=asked.constraints,
        reason=reason,
        cause=_cause(reason, asked, gpu, cpu),
        ahead=prospect.known.line.ahead_of(prospect.job, in_queue=order is not Order.FIFO),
        fitting=int(fits.sum()),
        together=together,
        kept=int((fits & ~open_to).sum()),
        excluded=tuple((misfit, number) for misfit, number in counts.items() if number),
        suitable=int(suitable.sum()),
        free_gpu_milli=gpu,
        free_cpu_milli=cpu,
        free_memory_bytes=memory,
        free_tmp_bytes=tmp,
        most_gpu_milli=most_gpu,
        holders=holders,
        more_holders=more,
        ends=_ends(prospect) if helps else (),
        nearest=nearest(prospect) if helps and _may_pass(prospect) else (),
        failed_on=asked.avoid,
        forgives=bool(asked.avoid) and not job_class.avoid,
    )


def _may_pass(prospect: Prospect) -> bool:
    """Whether another job that does not fit stands in its way, and nobody may pass that."""
    return prospect.stopped_at is None or prospect.stopped_at.key == prospect.job


def _cause(reason: Reason | None, asked: JobClass, gpu_milli: int, cpu_milli: int) -> Cause | None:
    """BUSY, unless what is free would do if only it lay together."""
    if reason is None:
        return None
    request, nodes = asked.request, asked.fewest
    gpus = nodes * request.gpu_count * request.gpu_milli
    if reason.code is ReasonCode.GPUS_BUSY and gpu_milli >= gpus:
        return Cause.FRAGMENTATION
    if reason.code is ReasonCode.CPUS_BUSY and cpu_milli >= nodes * request.cpu_milli:
        return Cause.FRAGMENTATION
    return CAUSE_OF[reason.code]


def _holders(
    prospect: Prospect, verdicts: IntArray, reason: Reason | None
) -> tuple[tuple[Holder, ...], int]:
    """Who holds what is lacking on nodes; of a limit, who holds what it allows."""
    tree = prospect.known.tree
    if reason is not None and CAUSE_OF[reason.code] in (Cause.CAP, Cause.QUOTA):
        return _holders_of_limit(prospect, reason)
    found, every = prospect.survey.holders(verdicts, MOST_HOLDERS)
    holders = []
    for held in found:
        row = tree.held_by(held.job)
        job = JobId.from_key(held.job)
        queue = row[0] if row is not None else ""
        holders.append(Holder(job=job, queue=queue, **_amounts(held)))
    return tuple(holders), every - len(found)


def _amounts(held: Lacking) -> dict[str, int]:
    return {name: value for name, value in held._asdict().items() if name != "job"}


def _holders_of_limit(prospect: Prospect, reason: Reason) -> tuple[tuple[Holder, ...], int]:
    """reason: names a queue, and a person where it is that person's limit."""
    known = prospect.known
    if reason.code is ReasonCode.QUOTA_NOT_LENT:
        return (), 0
    queue, user = str(reason.numbers["queue"]), str(reason.numbers.get("user", ""))
    rows = known.tree.holding(queue, user)
    resource = str(reason.numbers["resource"])
    holds = {job: int(getattr(held, resource)) for job, (_, _, held) in rows.items()}
    order = sorted((job for job in rows if holds[job]), key=lambda job: (-holds[job], job))
    holders = tuple(
        Holder(
            job=JobId.from_key(job),
            queue=rows[job][0],
            nodes=known.running[job].nodes if job in known.running else 0,
            gpu_milli=rows[job][2].gpu_milli,
            cpu_milli=rows[job][2].cpu_milli,
            memory_bytes=rows[job][2].memory_bytes,
            tmp_bytes=0,
        )
        for job in order[:MOST_HOLDERS]
    )
    return holders, max(0, len(order) - MOST_HOLDERS)


def _ends(prospect: Prospect) -> tuple[End, ...]:
    found = []
    for job in way_out(prospect):
        row = prospect.known.tree.held_by(job)
        queue, held = (row[0], row[2]) if row is not None else ("", Held())
        found.append(
            End(
                job=JobId.from_key(job),
                queue=queue,
                gpu_milli=held.gpu_milli,
                cpu_milli=held.cpu_milli,
            )
        )
    return tuple(found)


__all__ = [
    "CAUSE_OF",
    "MOST_HOLDERS",
    "Cause",
    "End",
    "Explanation",
    "Holder",
    "Lever",
    "Nearest",
    "explain",
]
