"""`states.md`, `events.md`: the life cycle as the code has it."""

from __future__ import annotations

import dataclasses
import typing
from enum import StrEnum
from types import UnionType
from typing import Any

from tools.docs.markdown import code, page, sentence, table
from zenkei.lifecycle.outcome import CLASS_OF, HUNG_RESTARTS, MAX_REQUEUES
from zenkei.lifecycle.transitions import BIRTH, IMPORT, TRANSITIONS
from zenkei.model import cluster, data, event, job
from zenkei.model.ids import JobId
from zenkei.scheduler import Reason, ReasonCode

E = typing.TypeVar("E", bound=StrEnum)
EVENTS_INTRO = """
Events are append-only facts of one job, in the order of their commits (`seq`). `zenkei events JOB`
shows them. The keys of `body` are the fields below; their version is {version}.
"""
MEANING = {
    job.JobState.HELD: "waits for a person, another job or a budget; see the hold reasons",
    job.JobState.PREPARING: "its environment is resolved to a lock",
    job.JobState.PENDING: "waits for the planner; `zenkei explain JOB` says why",
    job.JobState.STARTING: "has its nodes and devices; code, environment and ranks are on the way",
    job.JobState.RUNNING: "all ranks run",
    job.JobState.STOPPING: "the ranks have ended or were told to; leftovers are being ended, and "
    "nodes and devices are still held",
    job.JobState.SUCCEEDED: "ended well (final)",
    job.JobState.FAILED: "ended badly, or could not run (final)",
    job.JobState.CANCELLED: "a person ended it (final)",
}
REASONS = {
    ReasonCode.GPUS_BUSY: "the GPUs it needs are in use",
    ReasonCode.CPUS_BUSY: "the CPUs it needs are in use",
    ReasonCode.MEMORY_BUSY: "the memory it needs is in use",
    ReasonCode.TMP_BUSY: "the scratch space it needs is in use",
    ReasonCode.RETRY_DELAY: "it waits out the pause before its next attempt",
    ReasonCode.NOT_YET_TRIED: "its turn comes in the next cycle",
    ReasonCode.CHECKPOINT_BEING_STORED: "its last checkpoint is still being stored",
    ReasonCode.PAUSED: "nothing starts at all: too little free disk, for example",
    ReasonCode.NO_NODES: "no node has registered yet",
    ReasonCode.NODES_NOT_READY: "enough nodes would suit, but too few of them are ready",
    ReasonCode.DEVICES_IN_FOREIGN_USE: "processes that zenkei did not start use the GPUs",
    ReasonCode.NODES_AVOIDED: "what is free are nodes that failed it; others could do and are busy",
    ReasonCode.TOPOLOGY_BUSY: "enough nodes are free, but too few in one rack, or what it requires",
    ReasonCode.NO_SUCH_DOMAIN: "no rack, or what it requires, has so many such nodes",
    ReasonCode.TOO_FEW_NODES: "the cluster has fewer such nodes than it asks for",
    ReasonCode.NO_SUCH_LABELS: "no node matches its constraints",
    ReasonCode.NO_RDMA: "too few nodes have a working InfiniBand or RoCE device",
    ReasonCode.NO_SUCH_GPU: "no node has GPUs of that type",
    ReasonCode.TOO_MANY_GPUS: "no node has so many GPUs",
    ReasonCode.TOO_MANY_CPUS: "no node has so many CPUs",
    ReasonCode.TOO_MUCH_MEMORY: "no node has so much memory",
    ReasonCode.TOO_MUCH_TMP: "no node has so much scratch space",
    ReasonCode.QUEUE_CAP: "its queue, or one above it, holds all that it may",
    ReasonCode.USER_CAP: "its owner holds all that one person may in that queue",
    ReasonCode.BORROW_LIMIT: "its queue holds its quota and all that it may borrow",
    ReasonCode.QUOTA_NOT_LENT: "what is free is kept for queues that lend only part of their quota",
    ReasonCode.RESERVED: "nodes that would do are reserved for others, or for maintenance",
    ReasonCode.WOULD_DELAY: "it would delay a gang whose start is promised",
    ReasonCode.LIMIT_KEPT: "room under a limit is kept for a job that has waited long for it",
    ReasonCode.BEHIND: "back-filling is off, and a job before it does not fit",
    ReasonCode.COLLECTING: "its nodes are kept as they fall free, until there are enough",
    ReasonCode.VICTIMS_STOPPING: "the jobs that make room for it are stopping",
    ReasonCode.VICTIMS_PROTECTED: "jobs that could make room for it are protected for now",
    ReasonCode.QUEUE_PAUSED: "its queue, or one above it, is paused",
    ReasonCode.UNKNOWN_QUEUE: "there is no such queue",
    ReasonCode.QUEUE_NOT_LEAF: "its queue is divided into others",
    ReasonCode.ABOVE_QUEUE_CAP: "it asks for more than its queue may ever have",
    ReasonCode.ABOVE_USER_CAP: "it asks for more than one person may ever have there",
    ReasonCode.ABOVE_BORROW_LIMIT: "it asks for more than the quota and what may be borrowed",
    ReasonCode.ABOVE_LENT: "it asks for more than other queues could ever lend",
    ReasonCode.GPU_KIND_NOT_ALLOWED: "its queue may use none of the types of GPU that it asks for",
}
HOLDS = {
    job.HoldReason.USER: "`zenkei hold`; left by `zenkei release`",
    job.HoldReason.DEPENDENCY: "a job in `after` is not over; left when it ends as asked",
    job.HoldReason.BUDGET: "the budget is used up",
}
STOPS = {
    job.StopReason.COMPLETED: "all ranks ended with code 0",
    job.StopReason.NONZERO_EXIT: "a rank ended with another code, or by a signal",
    job.StopReason.OUT_OF_MEMORY: "more memory was used than `resources.memory` allows",
    job.StopReason.TIME_LIMIT: "`time_limit` was reached",
    job.StopReason.USER_CANCEL: "`zenkei cancel`",
    job.StopReason.USER_HOLD: "`zenkei hold` of a running job",
    job.StopReason.PREEMPTED: "another job took its place",
    job.StopReason.RESIZED: "it goes on with another number of nodes",
    job.StopReason.NODE_LOST: "a node rebooted or does not answer",
    job.StopReason.LAUNCH_FAILED: "the ranks could not be started",
    job.StopReason.HUNG: "no sign of life for too long",
    job.StopReason.HEALTH_CHECK: "a node failed a check",
    job.StopReason.DISK_FULL: "there was no space left",
    job.StopReason.BUDGET_EXHAUSTED: "the budget was used up",
}
FAILURES = {
    job.FailureClass.NONE: "none",
    job.FailureClass.USER_ERROR: "counts; tried again up to `retry.limit`, by `retry.rules`",
    job.FailureClass.OUT_OF_MEMORY: "counts; tried again up to `retry.limit`, once with twice the "
    "memory that was asked for",
    job.FailureClass.INFRASTRUCTURE: f"sent back to other nodes, at most {MAX_REQUEUES} times "
    "without a new checkpoint; never counts, except where only the program's words say so and the "
    "node is one that failed it before",
    job.FailureClass.DATA: "counts; tried again up to `retry.limit`",
    job.FailureClass.HUNG: f"counts; tried again elsewhere up to `retry.limit`, {HUNG_RESTARTS} "
    "times at least",
    job.FailureClass.PREEMPTED: f"never counts; sent back, at most {MAX_REQUEUES} times "
    "without a new checkpoint",
    job.FailureClass.CANCELLED: "a person's wish: no retry",
}
NODES = {
    cluster.NodeState.READY: "takes work",
    cluster.NodeState.SUSPECT: "failed too often, or gives no sign of life; takes no new work",
    cluster.NodeState.DRAINING: "takes no new work, finishes what it has",
    cluster.NodeState.DRAINED: "empty, takes no work",
    cluster.NodeState.PROBING: "is being checked before it takes work again",
    cluster.NodeState.DOWN: "a check found it unfit, its engine says so, or it is fenced",
}
RESULTS = {
    data.ResultState.SEALING: "output is being stored; devices are free already",
    data.ResultState.SEALED: "complete and immutable",
    data.ResultState.INCOMPLETE: "something could not be kept; the reason says what",
    data.ResultState.REMOVED: "its files were removed by somebody; the record is kept",
}


def states() -> str:
    """Raises KeyError for a member of an enum that has no meaning here."""
    return page(
        "States",
        "A state exists only if it can last; everything else is a reason. The table of transitions "
        "is the code's own (`zenkei.lifecycle.transitions`); what is not in it cannot happen.",
        "## Job states",
        _meanings(job.JobState, MEANING),
        "## Transitions",
        f"```text\n{diagram()}\n```",
        table(["from", "event", "to"], _transitions()),
        "## Why a pending job waits",
        "`waiting` ends by itself, `blocked` needs somebody, `never` needs another request or "
        "another machine. `zenkei explain JOB` says it with numbers.",
        table(
            ["reason", "severity", "meaning"],
            [[code(r), Reason(code=r).severity, REASONS[r]] for r in ReasonCode],
        ),
        "## Why a job is held",
        _meanings(job.HoldReason, HOLDS),
        "## What ends an attempt",
        "The first reason is the root cause. Only a cancel overrules it, and only where the job "
        "would come back.",
        table(
            ["stop reason", "meaning", "failure class"],
            [[code(r), STOPS[r], code(CLASS_OF[r])] for r in job.StopReason],
        ),
        "## What follows a failure",
        _meanings(job.FailureClass, FAILURES, head="failure class"),
        "## Node states",
        _meanings(cluster.NodeState, NODES),
        "What leads from one to another: [nodes](../concepts/nodes.md).",
        "## Result states",
        _meanings(data.ResultState, RESULTS),
    )


def diagram() -> str:
    """Who leads where, as plain text: one line for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state in sorted(BIRTH):
        arrows[("(birth)", state)] = ["submitted"]
    for state in sorted(IMPORT):
        arrows[("(birth)", state)] = ["imported"]
    for (before, kind), after in TRANSITIONS.items():
        for state in job.JobState:
            if state in after:
                arrows.setdefault((before, state), []).append(kind)
    width = max(len(before) for before, _after in arrows)
    labels = {pair: ", ".join(kinds) for pair, kinds in arrows.items()}
    wide = max(map(len, labels.values()))
    lines = [
        f"{before:>{width}} --{label:-<{wide}}--> {after}"
        for (before, after), label in labels.items()
    ]
    return "\n".join(lines)


def _transitions() -> list[list[str]]:
    rows = [["(birth)", code("submitted"), _states(BIRTH)]]
    rows.append(["(birth)", code("imported"), _states(IMPORT)])
    for (before, kind), after in TRANSITIONS.items():
        rows.append([code(before), code(kind), _states(after)])
    return rows


def _states(found: frozenset[job.JobState]) -> str:
    return ", ".join(code(state) for state in job.JobState if state in found)


def _meanings(kind: type[E], texts: dict[E, str], head: str = "") -> str:
    first = head or "state"
    return table([first, "meaning"], [[code(member), texts[member]] for member in kind])


def events() -> str:
    parts = [
        EVENTS_INTRO.format(version=event.TYPE_VERSION),
        "## Every event",
        _fields(event.Event, leave_out=frozenset({"body"})),
    ]
    for kind, body in event.BODY_TYPES.items():
        parts += [f"## {kind}", sentence(body.__doc__), _where(kind), _fields(body)]
    return page("Events", *parts)


def _where(kind: event.EventKind) -> str:
    if kind is event.EventKind.SUBMITTED:
        return f"Birth, to {_states(BIRTH)}."
    if kind is event.EventKind.IMPORTED:
        return f"Birth, to {_states(IMPORT)}."
    steps = [
        f"{code(before)} to {_states(after)}"
        for (before, of), after in TRANSITIONS.items()
        if of is kind
    ]
    return "From " + "; from ".join(steps) + "."


def _fields(kind: type, leave_out: frozenset[str] = frozenset()) -> str:
    hints = typing.get_type_hints(kind)
    rows = [
        [code(f.name), _type(hints[f.name])]
        for f in dataclasses.fields(kind)
        if f.name not in leave_out
    ]
    return table(["field", "type"], rows)


_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    data.Digest: "digest",
    JobId: "job id",
}


def _type(hint: Any) -> str:
    """A type in a reader's words; closed sets are spelled out, values of several fields named."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, UnionType):
        return " or ".join(map(_type, inner))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping of {_type(inner[0])} to {_type(inner[1])}"
    if issubclass(hint, StrEnum):
        return "one of " + ", ".join(code(member) for member in hint)
    return "{" + ", ".join(f.name for f in dataclasses.fields(hint)) + "}"
