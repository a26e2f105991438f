"""When the last plan still stands: all that is new are jobs behind others that could not start.

Called by `planner`. Pure. In one line without displacement, promises or growth a job that joins the
end of a segment cannot start while those before it cannot: they ask for the same, under the same
limits. So a plan on it would be the last one again: a crowded cluster is spared many plans.
Cost: O(new jobs).
"""

from __future__ import annotations

from zenkei.model.queue import Order
from zenkei.scheduler.decisions import Plan
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import job_of
from zenkei.scheduler.snapshot import Delta


def is_final(known: Known, plan: Plan) -> bool:
    """Whether the plan decided nothing, and would not whatever joins behind those who wait."""
    policy = known.config.policy
    is_plain = policy.order is Order.FIFO and not policy.preempt and not policy.reserve_gangs
    is_free = not (known.booked or known.elastic or known.claims)
    return is_plain and is_free and not plan.decisions and not plan.more


def only_joins(known: Known, delta: Delta) -> bool:
    """Asked before the delta is taken in: whether it has nothing but jobs that begin to wait."""
    others = (delta.held, delta.running, delta.usage, delta.claims, delta.nodes)
    if any(others) or delta.removed_nodes or delta.config is not None or delta.learned is not None:
        return False
    if delta.paused not in (None, known.paused) or len(delta.changed) != len(delta.waiting):
        return False
    line, running = known.line, known.running
    return all(
        not row.not_before_us and row.job not in running and line.class_of(row.job) is None
        for row in delta.waiting
    )


def stands_behind(known: Known, delta: Delta) -> bool:
    """Asked after it: whether each has somebody of its like before it that waited already."""
    line, new = known.line, {row.job for row in delta.waiting}
    for row in delta.waiting:
        key = line.segment_of(row.job)
        assert key is not None, "it was entered just now"
        segment = line.of_queue(row.queue)[row.user, row.priority].segments[key]
        if job_of(segment.keys[segment.start]).key in new:
            return False
    return True
