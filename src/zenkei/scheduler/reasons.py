"""Why a job waits: a closed list of codes, each with a severity, its numbers and one sentence.

Made by `planner` for every class of jobs that did not fit; shown by the command line and the pages.
A reason is data: the sentence is made from the numbers, never parsed. Pure. Cost: O(1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from zenkei.model.ids import JobId
from zenkei.model.queue import Reservation
from zenkei.model.wording import count
from zenkei.scheduler.codes import SEVERITY, ReasonCode, Severity

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Numbers: TypeAlias = dict[str, int | str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a job waits. numbers: by name, units last in the name; all that the sentence says."""

    code: ReasonCode
    numbers: Numbers = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        return SEVERITY[self.code]

    @property
    def text(self) -> str:
        """One English sentence, without a full stop."""
        return _TEXTS[self.code](self.numbers)

    @property
    def hint(self) -> str:
        """What the asker can do about it; empty if it is to wait."""
        make = _HINTS.get(self.code)
        return make(self.numbers) if make else ""


def delayed(not_before_us: int, now_us: int) -> Reason:
    """A retry that waits out its back-off."""
    return Reason(
        code=ReasonCode.RETRY_DELAY,
        numbers={"not_before_us": not_before_us, "left_us": not_before_us - now_us},
    )


def being_stored(steps: Iterable[int]) -> Reason:
    """Its next attempt shall go on from a checkpoint that is still on the way to the store."""
    return Reason(code=ReasonCode.CHECKPOINT_BEING_STORED, numbers={"step": max(steps)})


MOST_NAMED: Final = 8
"""Jobs named in one sentence; the rest is counted."""


def victims_stopping(jobs: Iterable[JobId]) -> Reason:
    """Its place is kept; these jobs are on their way out of it."""
    leaving = list(jobs)
    named = ", ".join(str(job) for job in leaving[:MOST_NAMED])
    return Reason(
        code=ReasonCode.VICTIMS_STOPPING, numbers={"jobs": named, "victims": len(leaving)}
    )


def victims_protected(jobs: int, until_us: int | None) -> Reason:
    """It may take the place of jobs, but not yet. until_us: when of the first of them."""
    numbers: Numbers = {"jobs_protected": jobs}
    if until_us is not None:
        numbers["until_us"] = until_us
    return Reason(code=ReasonCode.VICTIMS_PROTECTED, numbers=numbers)


def not_yet_tried() -> Reason:
    """The cycle stopped at its limit of starts before this job's turn."""
    return Reason(code=ReasonCode.NOT_YET_TRIED)


def reserved(by: Reservation, met: int, fitting: int, *, begun: bool = False) -> Reason:
    """Of `fitting` nodes that would do now, `met` are reserved for others before it has ended.

    begun: the reservation is in force, no time limit helps.
    """
    numbers: Numbers = {"reservation": by.name, "from_us": by.from_us, "to_us": by.to_us}
    if begun:
        numbers["begun"] = 1
    return Reason(
        code=ReasonCode.RESERVED,
        numbers=numbers | {"why": by.reason, "nodes_reserved": met, "nodes_fitting": fitting},
    )


def would_delay(job: JobId, due_us: int | None, met: int, fitting: int) -> Reason:
    """Of `fitting` nodes that would do now, `met` are kept for others, first for `job`.

    due_us: by when that starts; None: nobody knows, it collects nodes.
    """
    numbers: Numbers = {"job": str(job), "nodes_kept": met, "nodes_fitting": fitting}
    if due_us is not None:
        numbers["due_us"] = due_us
    return Reason(code=ReasonCode.WOULD_DELAY, numbers=numbers)


def limit_kept(job: JobId, numbers: Numbers) -> Reason:
    """There is room under a limit, but it is kept for `job`, which has waited too long for it.

    numbers: resource, kind, asked, kept; queue (empty: what others lend) and user (empty: all).
    """
    return Reason(code=ReasonCode.LIMIT_KEPT, numbers={**numbers, "job": str(job)})


def collecting(free: int, kept: int, nodes: int) -> Reason:
    """Nobody knows when it starts: nodes are kept for it as they fall free."""
    return Reason(
        code=ReasonCode.COLLECTING,
        numbers={"nodes_free": free, "nodes_kept": kept, "nodes": nodes},
    )


def behind(job: JobId) -> Reason:
    """Back-filling is off: nobody passes `job`, which does not fit."""
    return Reason(code=ReasonCode.BEHIND, numbers={"job": str(job)})


def paused(why: str) -> Reason:
    """Nothing starts at all."""
    return Reason(code=ReasonCode.PAUSED, numbers={"why": why})


def when(instant_us: int | str) -> str:
    """`2026-11-27 08:30 UTC`."""
    try:
        at = _EPOCH + timedelta(microseconds=int(instant_us))
    except OverflowError:
        return "a time far away"
    return f"{at:%Y-%m-%d %H:%M} UTC"


def cores(milli: int | str) -> str:
    """`8`, `0.5`: thousandths of a core or of a GPU, as people say it."""
    return f"{int(milli) / 1000:g}"


def cpus(milli: int | str) -> str:
    """`8 CPUs`, `0.5 CPUs`, `1 CPU`."""
    return f"{cores(milli)} {'CPU' if milli == 1000 else 'CPUs'}"


def size(number: int | str) -> str:
    """`16 GiB`: bytes in the largest unit of which there is at least one."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"


def gpus(n: Numbers) -> str:
    """`8 GPUs`, `0.5 of a GPU`: what the job asks of each node."""
    if n["gpu_milli"] == 1000:
        return count(n["gpus"], "GPU")
    return f"{cores(n['gpu_milli'])} of a GPU"


def _busy(n: Numbers, asked: str, enough: str) -> str:
    where = "1 node has" if n[enough] == 1 else f"{n[enough]} nodes have"
    them = "a node" if n["nodes"] == 1 else f"{n['nodes']} nodes"
    return f"waits for {them} with {asked} free: now {where}, of {n['ready_nodes']} that could"


def _gpus_busy(n: Numbers) -> str:
    said = _busy(n, gpus(n), "nodes_with_gpus")
    free = count(n["gpus_free"], "whole GPU")
    return f"{said}; {free} free in all, at most {n['most_gpus_free']} on one node"


def _not_ready(n: Numbers) -> str:
    need = count(n["nodes"], "node") + (f" in one {n['level']}" if "level" in n else "")
    said = f"{need} needed, but {n['ready_nodes']} of {n['suitable_nodes']} suitable ones are ready"
    return f"{said}; it failed on {n['avoided']}" if "avoided" in n else said


def _apart(n: Numbers) -> str:
    return (
        f"waits for {n['nodes']} free nodes in one {n['level']}: now {n['nodes_fitting']} would "
        f"do, at most {n['most_together']} of them in one"
    )


def _avoided(n: Numbers) -> str:
    now = f"now {n['nodes_fitting']} of {n['ready_nodes']} that could"
    where = "a node" if n["nodes"] == 1 else f"{n['nodes']} nodes"
    return f"waits for {where} on which it has not failed: {now}; it failed on {n['avoided']}"


def amount(n: Numbers, name: str) -> str:
    """`8 GPUs`, `2.5 H100 GPUs`, `16 GiB of memory`: one of the numbers in the unit of `resource`.

    resource: cpu_milli, memory_bytes or gpu_milli; kind: a GPU model, or empty.
    """
    value = n[name]
    if n["resource"] == "memory_bytes":
        return f"{size(value)} of memory"
    if n["resource"] == "cpu_milli":
        return cpus(value)
    kind = f"{n['kind']} " if n["kind"] else ""
    return f"{cores(value)} {kind}{'GPU' if value == 1000 else 'GPUs'}"


def _full(n: Numbers, whose: str) -> str:
    held, asked = amount(n, "held"), amount(n, "asked")
    return f"asks for {asked}, and {whose} {amount(n, 'limit')} at most; {held} are held"


def _queue(n: Numbers) -> str:
    return f"queue `{n['queue']}` may have"


def _borrower(n: Numbers) -> str:
    return f"queue `{n['queue']}` with what it may borrow has"


def _person(n: Numbers) -> str:
    return f"user {n['user']} may have in queue `{n['queue']}`"


def _victims_stopping(n: Numbers) -> str:
    many = int(n["victims"])
    more = f" and {many - MOST_NAMED} more" if many > MOST_NAMED else ""
    said = f"job {n['jobs']}" if many == 1 else f"jobs {n['jobs']}{more}"
    return f"its place is kept for it: waits for {said} to save and stop"


def _reserved(n: Numbers) -> str:
    what = f"reserved for `{n['reservation']}` from {when(n['from_us'])} to {when(n['to_us'])}"
    said = f"{n['nodes_reserved']} of {count(n['nodes_fitting'], 'node')} that would do are {what}"
    return f"{said} ({n['why']})" if n["why"] else said


def _would_delay(n: Numbers) -> str:
    kept = f"{n['nodes_kept']} of {count(n['nodes_fitting'], 'node')} that would do"
    if "due_us" in n:
        return f"would delay job {n['job']}, which starts by {when(n['due_us'])}: it needs {kept}"
    return f"{kept} are kept for job {n['job']}, which collects nodes as they fall free"


def _limit_kept(n: Numbers) -> str:
    if not n["queue"]:
        where = "of what other queues lend"
    elif n["user"]:
        where = f"of what {_person(n)}"
    else:
        where = f"of what {_queue(n)}"
    asked, kept = amount(n, "asked"), amount(n, "kept")
    return f"asks for {asked}, and {kept} {where} are kept for job {n['job']}, which waits longest"


_TEXTS: Final[dict[ReasonCode, Callable[[Numbers], str]]] = {
    ReasonCode.GPUS_BUSY: _gpus_busy,
    ReasonCode.CPUS_BUSY: lambda n: _busy(n, cpus(n["cpu_milli"]), "nodes_with_cpus"),
    ReasonCode.MEMORY_BUSY: lambda n: _busy(
        n, f"{size(n['memory_bytes'])} of memory", "nodes_with_memory"
    ),
    ReasonCode.TMP_BUSY: lambda n: _busy(
        n, f"{size(n['tmp_bytes'])} of scratch space", "nodes_fitting"
    ),
    ReasonCode.TOPOLOGY_BUSY: _apart,
    ReasonCode.NODES_AVOIDED: _avoided,
    ReasonCode.RESERVED: _reserved,
    ReasonCode.WOULD_DELAY: _would_delay,
    ReasonCode.LIMIT_KEPT: _limit_kept,
    ReasonCode.COLLECTING: lambda n: (
        f"collects nodes as they fall free, because nobody knows when jobs there end: has "
        f"{n['nodes_free']} of {n['nodes']}"
    ),
    ReasonCode.BEHIND: lambda n: (
        f"waits behind job {n['job']}: nobody passes one that does not fit"
    ),
    ReasonCode.RETRY_DELAY: lambda n: (
        (f"attempt {n['attempt']} {n['ended']}; " if "ended" in n else "")
        + f"tries again in {int(n['left_us']) / 1e6:.1f} s"
    ),
    ReasonCode.CHECKPOINT_BEING_STORED: lambda n: (
        f"its checkpoint of step {n['step']} is being stored"
    ),
    ReasonCode.VICTIMS_STOPPING: _victims_stopping,
    ReasonCode.VICTIMS_PROTECTED: lambda n: (
        f"may take the place of {count(n['jobs_protected'], 'job')}, but not yet: who has just "
        "started, or was displaced too often within the hour, is left alone"
    ),
    ReasonCode.NOT_YET_TRIED: lambda n: "its turn comes in the next cycle",
    ReasonCode.QUEUE_CAP: lambda n: _full(n, _queue(n)),
    ReasonCode.USER_CAP: lambda n: _full(n, _person(n)),
    ReasonCode.BORROW_LIMIT: lambda n: _full(n, _borrower(n)),
    ReasonCode.QUOTA_NOT_LENT: lambda n: (
        f"asks for {amount(n, 'asked')}, and {amount(n, 'unheld')} are not held, "
        f"of which {amount(n, 'kept')} are kept for queues that do not lend all of their quota"
    ),
    ReasonCode.QUEUE_PAUSED: lambda n: f"queue `{n['queue']}` is paused: {n['why']}",
    ReasonCode.UNKNOWN_QUEUE: lambda n: f"there is no queue `{n['queue']}`",
    ReasonCode.QUEUE_NOT_LEAF: lambda n: (
        f"queue `{n['queue']}` is divided into others, and jobs wait in the last ones only"
    ),
    ReasonCode.PAUSED: lambda n: f"nothing starts now: {n['why']}",
    ReasonCode.NO_NODES: lambda n: "no node has registered yet",
    ReasonCode.NODES_NOT_READY: _not_ready,
    ReasonCode.DEVICES_IN_FOREIGN_USE: lambda n: (
        f"{gpus(n)} on {count(n['nodes'], 'node')} needed, but processes that zenkei did not start "
        f"use {count(n['blocked_gpus'], 'GPU')} there"
    ),
    ReasonCode.TOO_FEW_NODES: lambda n: (
        f"asked for {count(n['nodes'], 'node')}, the cluster has {n['suitable_nodes']} such"
    ),
    ReasonCode.NO_SUCH_DOMAIN: lambda n: (
        f"asked for {count(n['nodes'], 'node')} in one {n['level']}, "
        + (
            f"the largest has {n['most_together']} that suit"
            if n["most_together"]
            else f"and of no node that suits is it known in which {n['level']} it is"
        )
    ),
    ReasonCode.NO_SUCH_LABELS: lambda n: f"no node matches the constraints {n['constraints']}",
    ReasonCode.NO_RDMA: lambda n: (
        f"asked for {count(n['nodes'], 'node')} with RDMA (InfiniBand, RoCE), the cluster has "
        f"{n['suitable_nodes']} such, and {n['other_nodes']} that would suit without it"
    ),
    ReasonCode.NO_SUCH_GPU: lambda n: (
        f"asked for GPU type {n['gpu_kinds']}, the cluster has {n['cluster_gpu_kinds'] or 'none'}"
    ),
    ReasonCode.TOO_MANY_GPUS: lambda n: (
        f"asked for {gpus(n)} per node, "
        + (f"the largest node has {n['largest']}" if n["largest"] else "no node has any")
    ),
    ReasonCode.TOO_MANY_CPUS: lambda n: (
        f"asked for {cpus(n['cpu_milli'])} per node, the largest node has {cores(n['largest'])}"
    ),
    ReasonCode.TOO_MUCH_MEMORY: lambda n: (
        f"asked for {size(n['memory_bytes'])} of memory per node, the largest node has "
        f"{size(n['largest'])}"
    ),
    ReasonCode.ABOVE_QUEUE_CAP: lambda n: (
        f"asks for {amount(n, 'asked')}, {_queue(n)} {amount(n, 'limit')} at most"
    ),
    ReasonCode.ABOVE_USER_CAP: lambda n: (
        f"asks for {amount(n, 'asked')}, {_person(n)} {amount(n, 'limit')} at most"
    ),
    ReasonCode.ABOVE_BORROW_LIMIT: lambda n: (
        f"asks for {amount(n, 'asked')}, {_borrower(n)} {amount(n, 'limit')} at most"
    ),
    ReasonCode.ABOVE_LENT: lambda n: (
        f"asks for {amount(n, 'asked')}, {_queue(n)} {amount(n, 'limit')} at most: the others are "
        "kept for queues that do not lend all of their quota"
    ),
    ReasonCode.GPU_KIND_NOT_ALLOWED: lambda n: (
        f"asks for GPU type {n['gpu_kinds']}, queue `{n['queue']}` may use {n['allowed'] or 'none'}"
        if n["gpu_kinds"]
        else f"queue `{n['queue']}` may use {n['allowed']} only, of which no node has any"
    ),
    ReasonCode.TOO_MUCH_TMP: lambda n: (
        f"asked for {size(n['tmp_bytes'])} of scratch space per node, the largest node has "
        f"{size(n['largest'])}"
    ),
}


def _less(n: Numbers) -> str:
    return f"ask for at most {amount(n, 'limit')} in all, or use another queue"


_HINTS: Final[dict[ReasonCode, Callable[[Numbers], str]]] = {
    ReasonCode.QUEUE_PAUSED: lambda n: f"`zenkei queue resume {n['queue']}` ends that",
    ReasonCode.UNKNOWN_QUEUE: lambda n: "`zenkei queue tree` shows the queues that there are",
    ReasonCode.QUEUE_NOT_LEAF: lambda n: (
        f"use one of those below it{': ' + str(n['below']) if n['below'] else ''}"
    ),
    ReasonCode.ABOVE_QUEUE_CAP: _less,
    ReasonCode.ABOVE_USER_CAP: _less,
    ReasonCode.ABOVE_BORROW_LIMIT: _less,
    ReasonCode.ABOVE_LENT: _less,
    ReasonCode.GPU_KIND_NOT_ALLOWED: lambda n: (
        "leave `resources.gpu_type` out, or use another queue"
        if n["gpu_kinds"]
        else "use another queue"
    ),
    ReasonCode.RESERVED: lambda n: (
        "" if "begun" in n else "set a `time_limit` that ends before it begins"
    ),
    ReasonCode.WOULD_DELAY: lambda n: (
        "set a `time_limit` that ends before that job starts" if "due_us" in n else ""
    ),
    ReasonCode.NO_NODES: lambda n: "`zenkei nodes` shows nodes as they register",
    ReasonCode.NODES_NOT_READY: lambda n: "`zenkei nodes` says what is wrong with the others",
    ReasonCode.DEVICES_IN_FOREIGN_USE: lambda n: "`zenkei nodes` names the devices",
    ReasonCode.TOO_FEW_NODES: lambda n: (
        f"ask for at most {count(n['suitable_nodes'], 'node')} (`resources.nodes`)"
    ),
    ReasonCode.NO_SUCH_DOMAIN: lambda n: (
        "ask for fewer nodes (`resources.nodes`), for a wider level, or for the level as "
        f"`preferred` only (`topology: {{preferred: {n['level']}}}`)"
    ),
    ReasonCode.NO_SUCH_LABELS: lambda n: "`zenkei nodes` shows the labels of each node",
    ReasonCode.NO_RDMA: lambda n: (
        "leave `rdma: true` out to use TCP"
        + (
            f", or ask for at most {count(n['suitable_nodes'], 'node')} (`resources.nodes`)"
            if n["suitable_nodes"]
            else ""
        )
    ),
    ReasonCode.NO_SUCH_GPU: lambda n: "leave `resources.gpu_type` out to take any",
    ReasonCode.TOO_MANY_GPUS: lambda n: (
        f"ask for at most {n['largest']} per node (`resources.gpus`), on more nodes"
        if n["largest"]
        else "leave `resources.gpus` out to run on CPUs"
    ),
    ReasonCode.TOO_MANY_CPUS: lambda n: f"ask for at most `resources.cpus: {cores(n['largest'])}`",
    ReasonCode.TOO_MUCH_MEMORY: lambda n: (
        f"ask for at most {size(n['largest'])} (`resources.memory`)"
    ),
    ReasonCode.TOO_MUCH_TMP: lambda n: f"ask for at most {size(n['largest'])} (`resources.tmp`)",
}
