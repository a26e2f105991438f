"""What is shown of jobs, events, nodes, results: stable keys, documented in the HTTP reference.

Called by the server's routes only. Plain dicts on purpose: they are encoded at once and travel no
further inside the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zenkei.api.exits import ExitView, exit_of
from zenkei.lifecycle import cause
from zenkei.lifecycle.history import Attempt
from zenkei.model import event as e
from zenkei.model.cluster import Allocation, Drain, Fence, Node, NodeEvent
from zenkei.model.data import Checkpoint, GitState, Result
from zenkei.model.event import Event, EventKind
from zenkei.model.ids import WHOLE
from zenkei.model.job import Exit, FailureClass, Job, JobState, StopReason
from zenkei.scheduler import Explanation, Reason

View = dict[str, Any]


def job_row(job: Job) -> View:
    """One line of a list. O(1), no lookups."""
    return {
        "id": str(job.id),
        "number": job.id.number,
        "member": None if job.id.member == WHOLE else job.id.member,
        "name": job.name,
        "state": job.state,
        "owner": job.owner,
        "project": job.project,
        "queue": job.queue,
        "priority": job.priority,
        "params": job.params,
        "holds": sorted(job.holds),
        "attempt": job.attempt,
        "retries": job.counted,
        "requeues": job.requeues,
        "submitted_us": job.submitted_us,
        "changed_us": job.changed_us,
        "started_us": job.started_us,
        "ended_us": job.ended_us,
        "not_before_us": job.not_before_us,
        "stop": job.stop,
        "failure": job.failure,
        "rank_exit": exit_view(job.exit),
        "exit": exit_of(job),
        "message": job.message,
        "rerun_of": job.rerun_of,
        "version": job.version,
    }


def exit_view(ended: Exit | None) -> View | None:
    """How the rank that decided ended; `code` is null if a signal did."""
    if ended is None:
        return None
    return {
        "code": ended.code,
        "signal": ended.signal,
        "rank": ended.rank,
        "node": ended.node,
        "detail": ended.detail,
        "symptom": ended.symptom,
    }


def cause_view(job: Job) -> View | None:
    """Why its last attempt ended badly: the line that `show` begins with, and what to do.

    Null while nothing has failed, and where somebody wanted the end.
    """
    if not job.message and (job.exit is None or job.failure in _NO_FAULT):
        return None
    ran, ended = job.stop is not None, job.exit or Exit()
    stop = job.stop or StopReason.COMPLETED
    text = job.message or (cause.line(stop, ended) if ran else "")
    if not text:
        return None
    return {
        "text": text,
        "hint": cause.hint(stop, ended) if ran else "",
        "failure": job.failure,
        "symptom": ended.symptom,
        "rank": ended.rank if ran else None,
        "node": ended.node,
        "tail": list(ended.tail),
    }


_NO_FAULT = frozenset({None, FailureClass.NONE, FailureClass.CANCELLED, FailureClass.PREEMPTED})


def digests(job: Job) -> View:
    """The artefacts of a job by digest; empty texts where there is none."""
    return {
        "spec": job.spec,
        "code": job.code,
        "source": job.source,
        "environment": job.env,
        "data": job.data,
    }


def git_view(git: GitState | None) -> View | None:
    """Where the code came from; null if it did not travel or was in no repository."""
    if git is None:
        return None
    return {
        "commit": git.commit,
        "branch": git.branch,
        "remote": git.remote,
        "dirty": git.dirty,
        "diff": git.diff,
        "diff_bytes": git.diff_bytes,
        "diff_cut": git.diff_cut,
    }


def attempt_view(attempt: Attempt) -> View:
    return {
        "id": str(attempt.id),
        "number": attempt.id.number,
        "cluster": attempt.cluster,
        "nodes": [
            {
                "node": part.node,
                "cpu_milli": part.request.cpu_milli,
                "memory_bytes": part.request.memory_bytes,
                "devices": [{"index": s.index, "milli": s.milli} for s in part.devices],
            }
            for part in attempt.parts
        ],
        "allocated_us": attempt.allocated_us,
        "started_us": attempt.started_us,
        "exited_us": attempt.exited_us,
        "released_us": attempt.released_us,
        "stop": attempt.stop,
        "favoured": attempt.favoured,
        "why": attempt.why,
        "failure": attempt.failure,
        "rank_exit": exit_view(attempt.exit),
        "tail": list(attempt.exit.tail) if attempt.exit is not None else [],
        "release_proof": attempt.proof,
        "notices": [
            {"notice": n.notice, "rank": n.rank, "node": n.node, "detail": n.detail}
            for n in attempt.notices
        ],
    }


def event_view(event: Event) -> View:
    """`state` is the one that the event led to, where the event alone says so."""
    return {
        "seq": event.seq,
        "job": str(event.job),
        "version": event.version,
        "at_us": event.at_us,
        "kind": event.kind,
        "state": state_after(event),
        "body": event.body,
    }


_STATE_AFTER = {
    EventKind.PREPARED: JobState.PENDING,
    EventKind.PREPARE_FAILED: JobState.FAILED,
    EventKind.HELD: JobState.HELD,
    EventKind.REJECTED: JobState.FAILED,
    EventKind.CANCELLED: JobState.CANCELLED,
    EventKind.ALLOCATED: JobState.STARTING,
    EventKind.STARTED: JobState.RUNNING,
    EventKind.EXITED: JobState.STOPPING,
    EventKind.STOP_ORDERED: JobState.STOPPING,
}


def state_after(event: Event) -> JobState | None:
    """None only for `unheld`, after which other reasons may still hold the job."""
    if isinstance(event.body, e.Submitted):
        return JobState.HELD if event.body.holds else JobState.PREPARING
    if isinstance(event.body, e.Released):
        return event.body.next
    if isinstance(event.body, e.Imported):
        return event.body.state
    return _STATE_AFTER.get(event.kind)


def node_view(node: Node, held: Iterable[Allocation]) -> View:
    """A node with what is held on it. held: allocations with a part on it."""
    return {
        "name": node.name,
        "cluster": node.cluster,
        "state": node.state,
        "reason": node.reason,
        "since_us": node.since_us,
        "virtual": node.virtual,
        "address": node.address,
        "labels": node.labels,
        "own_labels": node.own_labels,
        "drain": _drain_view(node.drain),
        "health": {
            "state": node.health.state,
            "reason": node.health.reason,
            "failures": node.health.failures_milli / 1000,
            "counted_us": node.health.counted_us,
            "failed_checks": node.health.failed_checks,
            "next_check_us": node.health.next_check_us,
        },
        "fence": _fence_view(node.fence),
        "topology": list(node.topology),
        "cpu_milli": node.capacity.cpu_milli,
        "memory_bytes": node.capacity.memory_bytes,
        "tmp_bytes": node.capacity.tmp_bytes,
        "devices": [
            {
                "index": d.index,
                "kind": d.kind,
                "uuid": d.uuid,
                "memory_bytes": d.memory_bytes,
                "foreign": d.index in node.blocked,
            }
            for d in node.capacity.devices
        ],
        "held": [
            {
                "attempt": str(allocation.attempt),
                "job": str(allocation.attempt.job),
                "cpu_milli": part.request.cpu_milli,
                "memory_bytes": part.request.memory_bytes,
                "tmp_bytes": part.request.tmp_bytes,
                "devices": [{"index": s.index, "milli": s.milli} for s in part.devices],
            }
            for allocation in held
            for part in allocation.parts
            if part.node == node.name
        ],
    }


def checkpoint_view(point: Checkpoint) -> View:
    """manifest: digest of its content once it is kept. parts: where it lay on the nodes."""
    return {
        "attempt": point.attempt,
        "step": point.step,
        "state": point.state,
        "reason": point.reason,
        "manifest": point.manifest,
        "files": point.files,
        "size_bytes": point.size_bytes,
        "at_us": point.at_us,
        "parts": [{"node_rank": part.node_rank, "path": part.path} for part in point.parts],
    }


def _drain_view(drain: Drain | None) -> View | None:
    if drain is None:
        return None
    return {"by": drain.by, "reason": drain.reason, "since_us": drain.since_us}


def _fence_view(fence: Fence | None) -> View | None:
    if fence is None:
        return None
    return {
        "attempts": list(fence.attempts),
        "reason": fence.reason,
        "since_us": fence.since_us,
    }


def node_event_view(event: NodeEvent) -> View:
    """A line of the nodes' log."""
    return {
        "seq": event.seq,
        "node": event.node,
        "at_us": event.at_us,
        "kind": event.kind,
        "before": event.before,
        "after": event.after,
        "reason": event.reason,
        "by": event.by,
    }


def result_view(result: Result | None) -> View | None:
    if result is None:
        return None
    return {
        "attempt": result.attempt,
        "state": result.state,
        "reason": result.reason,
        "output": result.output,
        "record": result.record,
        "files": result.files,
        "size_bytes": result.size_bytes,
        "at_us": result.at_us,
    }


def array_exit(rows: Iterable[Job]) -> ExitView | None:
    """Of a whole array: 0 if all members succeeded, else that of the first that did not."""
    rows = tuple(rows)
    ends = [exit_of(row) for row in rows]
    if any(end is None for end in ends):
        return None
    for row, end in zip(rows, ends, strict=True):
        if end is not None and end["code"]:
            return ExitView(code=end["code"], by=end["by"], text=f"failed: {row.id} {end['text']}")
    return ExitView(code=0, by="job", text="succeeded, all members")


def reason_view(reason: Reason | None) -> View | None:
    """Why a job waits: one sentence, its numbers, and what could be done."""
    if reason is None:
        return None
    return {
        "code": reason.code,
        "severity": reason.severity,
        "text": reason.text,
        "hint": reason.hint,
        "numbers": dict(reason.numbers),
    }


def explanation_view(found: Explanation | None) -> View | None:
    """The planner's whole account of a waiting job."""
    if found is None:
        return None
    return {
        "cause": found.cause,
        "queue": found.queue,
        "nodes": found.nodes,
        "needed": found.needed,
        "level": found.level,
        "request": found.request,
        "constraints": {key: list(values) for key, values in found.constraints},
        "ahead": found.ahead,
        "fitting": found.fitting,
        "together": {"nodes": found.together.nodes, "where": found.together.where},
        "kept": found.kept,
        "suitable": found.suitable,
        "excluded": {str(misfit): count for misfit, count in found.excluded},
        "failed_on": list(found.failed_on),
        "forgives": found.forgives,
        "free": {
            "gpu_milli": found.free_gpu_milli,
            "cpu_milli": found.free_cpu_milli,
            "memory_bytes": found.free_memory_bytes,
            "tmp_bytes": found.free_tmp_bytes,
            "most_gpu_milli": found.most_gpu_milli,
        },
        "holders": found.holders,
        "more_holders": found.more_holders,
        "ends": found.ends,
        "nearest": [
            {
                "lever": near.lever,
                "asked": near.asked,
                "would": near.would,
                "was": near.was,
                "now": near.now,
                "text": near.text,
            }
            for near in found.nearest
        ],
    }
