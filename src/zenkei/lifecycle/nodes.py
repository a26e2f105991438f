"""State machine of a node, pure: what its engine, an operator, failures and checks make of it.

Called by `control` inside store transactions. Each function answers with the row after and what to
write into the node's log, or with None if nothing changes. The state follows from four inputs, the
first that objects decides: a fence, the engine, an operator's drain, health. `now_us` is an input.
Cost: O(1).

Failures are counted with decay: half of them are forgotten every HALF_LIFE_S. Over THRESHOLD the
node is suspect and is checked; what a check finds makes it down and is checked again, after pauses
that grow. So it comes back by itself, and a bad job that fails everywhere costs checks, not nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from zenkei.model.cluster import (
    Drain,
    Fence,
    Node,
    NodeEvent,
    NodeEventKind,
    NodeHealth,
    NodeState,
)
from zenkei.model.instants import MAX_BACKOFF_S, is_ahead
from zenkei.model.job import FailureClass, StopReason

HALF_LIFE_S: Final = 4 * 3600.0
THRESHOLD: Final = 3.0
"""Failures, decayed, from which on a node is suspect."""
FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = MAX_BACKOFF_S
"""Between two checks of a node that is down."""


class Moved(NamedTuple):
    """The row of a node after something happened to it, and the line for its log, if it is news."""

    node: Node
    event: NodeEvent | None


def state_of(node: Node) -> tuple[NodeState, str]:
    """State and reason, from the inputs."""
    if node.fence is not None:
        return NodeState.DOWN, f"fenced: {node.fence.reason}"
    if node.reported is not NodeState.READY:
        return node.reported, node.reported_reason
    if node.drain is not None:
        state = NodeState.DRAINED if node.drain.empty else NodeState.DRAINING
        return state, f"{node.drain.reason} (by {node.drain.by})"
    return node.health.state, node.health.reason


def failures(health: NodeHealth, now_us: int) -> float:
    """What is not yet forgotten of a node's failures."""
    age_s = max(0.0, (now_us - health.counted_us) / 1e6)
    return float(health.failures_milli / 1000 * 0.5 ** (age_s / HALF_LIFE_S))


def weight_of(stop: StopReason | None, failure: FailureClass) -> float:
    """How much an attempt's end speaks against the node that it blames; 0: not at all.

    A failed health check is no suspicion: it alone makes the node suspect.
    """
    if stop is StopReason.HEALTH_CHECK:
        return THRESHOLD
    # a full disk heals by itself, and what starts is refused by the disk guard meanwhile
    is_fault = failure is FailureClass.INFRASTRUCTURE and stop is not StopReason.DISK_FULL
    return 1.0 if is_fault else 0.0


# -- the engine ----------------------------------------------------------------------------------


def seen(known: Node | None, found: Node, now_us: int) -> Moved | None:
    """The engine's description of a node. Operator's wishes, health and fence stay."""
    reported, why = found.state, found.reason
    if known is None:
        labels = found.labels
        fresh = replace(
            found,
            reported=reported,
            reported_reason=why,
            measured_labels=labels,
            measured_topology=found.topology,
        )
        return _moved(None, fresh, NodeEventKind.ENTERED, now_us, why)
    after = replace(
        found,
        labels={**found.labels, **known.placed_labels, **known.own_labels},
        topology=known.placed_topology or found.topology,
        measured_labels=found.labels,
        measured_topology=found.topology,
        placed_labels=known.placed_labels,
        placed_topology=known.placed_topology,
        reported=reported,
        reported_reason=why,
        own_labels=known.own_labels,
        drain=known.drain,
        health=known.health,
        fence=known.fence,
    )
    if known.boot_id and found.boot_id != known.boot_id:
        return _moved(known, _restarted(after, now_us), NodeEventKind.RESTARTED, now_us)
    after = _settled(known, after, now_us)
    if after == known:
        return None
    moved = _moved(known, after, NodeEventKind.REPORTED, now_us, why)
    # how much of the disk is free changes all the time
    return moved if _outlook(after) != _outlook(known) else moved._replace(event=None)


def _outlook(node: Node) -> object:
    sizes = (node.capacity.cpu_milli, node.capacity.memory_bytes, node.capacity.devices)
    return (node.state, node.reason, sizes, node.blocked, node.labels, node.address)


def _restarted(node: Node, now_us: int) -> Node:
    """Nothing of before lives any more: what was fenced or down is checked at once."""
    health = replace(node.health, silent=())
    if node.fence is not None or health.state is not NodeState.READY:
        reason = "the machine was started anew, to be checked"
        health = replace(health, state=NodeState.SUSPECT, reason=reason, next_check_us=0)
    return replace(node, fence=None, health=health)


# -- the operator --------------------------------------------------------------------------------


def drain(node: Node, *, by: str, reason: str, empty: bool, now_us: int) -> Moved | None:
    """Nothing new runs there; what runs goes on. empty: nothing does."""
    wish = Drain(by=by, reason=reason, since_us=now_us, empty=empty)
    known = node.drain
    if known is not None:
        wish = replace(wish, since_us=known.since_us)
        if (known.reason, known.by, known.empty) == (reason, by, empty):
            return None
    return _moved(node, replace(node, drain=wish), NodeEventKind.DRAIN, now_us, reason, by)


def emptied(node: Node, now_us: int) -> Moved | None:
    """The last job has left a node that drains."""
    if node.drain is None or node.drain.empty:
        return None
    after = replace(node, drain=replace(node.drain, empty=True))
    return _moved(node, after, NodeEventKind.EMPTIED, now_us)


def resume(node: Node, *, by: str, reason: str, now_us: int) -> Moved | None:
    """Take work again. What made it suspect or down before is forgotten, but it is checked first.

    A fence stays: that its processes are gone is nothing that anybody can wish for.
    """
    health = node.health
    if node.drain is None and health.state is NodeState.READY and not health.failures_milli:
        return None
    fresh = NodeHealth(silent=health.silent)
    if health.state is not NodeState.READY:
        fresh = replace(fresh, state=NodeState.SUSPECT, reason=f"resumed by {by}, to be checked")
    after = replace(node, drain=None, health=fresh)
    return _moved(node, after, NodeEventKind.RESUME, now_us, reason, by)


def label(
    node: Node,
    labels: dict[str, str],
    without: tuple[str, ...],
    *,
    by: str,
    reason: str,
    now_us: int,
) -> Moved | None:
    """Set labels, and take own ones away: what the engine says under the same name comes back."""
    own = {k: v for k, v in {**node.own_labels, **labels}.items() if k not in without}
    gone = [key for key in without if key in node.own_labels]
    merged = node.measured_labels | node.placed_labels | own
    if own == node.own_labels and merged == node.labels:
        return None
    said = [f"{key}={value}" for key, value in sorted(labels.items())] + [f"-{k}" for k in gone]
    why = f"{', '.join(said)}: {reason}" if reason else ", ".join(said)
    after = replace(node, own_labels=own, labels=merged)
    return _moved(node, after, NodeEventKind.LABELED, now_us, why, by)


def place(
    node: Node | None,
    topology: tuple[str, ...],
    labels: dict[str, str],
    *,
    by: str,
    now_us: int,
) -> Moved | None:
    """Where the cluster's file says that it stands, and its labels; what was said before is gone.

    No topology, no labels: the engine's come back. The operator's own labels stay on top.
    """
    if node is None or (node.placed_topology, node.placed_labels) == (topology, labels):
        return None
    after = replace(
        node,
        placed_topology=topology,
        placed_labels=labels,
        topology=topology or node.measured_topology,
        labels={**node.measured_labels, **labels, **node.own_labels},
    )
    said = [" / ".join(topology)] if topology else []
    said += [f"{key}={value}" for key, value in sorted(labels.items())]
    return _moved(node, after, NodeEventKind.PLACED, now_us, ", ".join(said), by)


# -- failures and checks -------------------------------------------------------------------------


def failed(node: Node, weight: float, reason: str, now_us: int) -> Moved:
    """Count a failure that a job blames on the node."""
    health = node.health
    score = failures(health, now_us) + weight
    health = replace(health, failures_milli=round(score * 1000), counted_us=now_us)
    if score >= THRESHOLD and health.state is NodeState.READY:
        health = replace(health, state=NodeState.SUSPECT, reason=reason, next_check_us=0)
    return _moved(node, replace(node, health=health), NodeEventKind.FAILURE, now_us, reason)


def silent(node: Node, attempt: str, reason: str, now_us: int) -> Moved | None:
    """The supervisor of `attempt` gives no sign of life there."""
    health = node.health
    if attempt in health.silent:
        return None
    health = replace(health, silent=(*health.silent, attempt))
    if health.state in (NodeState.READY, NodeState.PROBING):
        health = replace(health, state=NodeState.SUSPECT, reason=reason)
    return _moved(node, replace(node, health=health), NodeEventKind.SILENT, now_us, reason)


def heard(node: Node | None, attempt: str, now_us: int) -> Moved | None:
    """It gives signs of life again, or is gone. An empty `attempt`: so do all."""
    if node is None or not node.health.silent or attempt not in ("", *node.health.silent):
        return None
    left = tuple(a for a in node.health.silent if attempt and a != attempt)
    health = replace(node.health, silent=left)
    return _moved(node, replace(node, health=health), NodeEventKind.HEARD, now_us, attempt)


def check_due(node: Node, now_us: int) -> bool:
    """Whether a check could bring the node back now."""
    health = node.health
    if node.fence is not None or health.silent:
        return False
    if health.state is NodeState.DOWN:
        return not is_ahead(health.next_check_us, now_us)
    return health.state in (NodeState.SUSPECT, NodeState.PROBING)


def checking(node: Node, now_us: int) -> Moved | None:
    """A check begins."""
    health = node.health
    if health.state is NodeState.PROBING or not check_due(node, now_us):
        return None
    health = replace(health, state=NodeState.PROBING)
    return _moved(node, replace(node, health=health), NodeEventKind.CHECK, now_us, health.reason)


def checked(node: Node, problems: tuple[str, ...], now_us: int) -> Moved | None:
    """A check has ended. No problems: the node is ready, and half of its failures are forgiven."""
    health = node.health
    if health.state is not NodeState.PROBING:
        return None
    if not problems:
        score = round(failures(health, now_us) * 500)
        health = NodeHealth(failures_milli=score, counted_us=now_us)
        after = replace(node, health=health)
        return _moved(node, after, NodeEventKind.CHECKED, now_us, "nothing found")
    reason = "; ".join(problems)
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(health.failed_checks, 30))
    health = replace(
        health,
        state=NodeState.DOWN,
        reason=reason,
        failed_checks=health.failed_checks + 1,
        next_check_us=now_us + int(pause_s * 1e6),
    )
    return _moved(node, replace(node, health=health), NodeEventKind.CHECKED, now_us, reason)


# -- fencing -------------------------------------------------------------------------------------


def fenced(node: Node, attempt: str, reason: str, now_us: int) -> Moved | None:
    """Nobody can show that `attempt` is gone from the node: it is kept out until somebody can."""
    known = node.fence
    if known is not None and attempt in known.attempts:
        return None
    if known is None:
        fence = Fence(attempts=(attempt,), reason=reason, since_us=now_us, boot_id=node.boot_id)
    else:
        fence = replace(known, attempts=(*known.attempts, attempt))
    health = replace(node.health, silent=tuple(a for a in node.health.silent if a != attempt))
    after = replace(node, fence=fence, health=health)
    return _moved(node, after, NodeEventKind.FENCED, now_us, reason)


def cleared(node: Node, attempt: str, now_us: int) -> Moved | None:
    """Its agent has confirmed that nothing of `attempt` is left. After the last it is checked."""
    fence = node.fence
    if fence is None or attempt not in fence.attempts:
        return None
    left = tuple(other for other in fence.attempts if other != attempt)
    health = node.health
    if not left and health.state in (NodeState.READY, NodeState.SUSPECT):
        reason = "it was fenced, to be checked"
        health = replace(health, state=NodeState.SUSPECT, reason=reason, next_check_us=0)
    after = replace(node, fence=replace(fence, attempts=left) if left else None, health=health)
    return _moved(node, after, NodeEventKind.CLEARED, now_us, f"nothing of {attempt} is left")


# -- inside --------------------------------------------------------------------------------------


def _settled(before: Node | None, after: Node, now_us: int) -> Node:
    """`after` with the state that follows from its inputs."""
    state, reason = state_of(after)
    is_same = before is not None and (before.state, before.reason) == (state, reason)
    since_us = before.since_us if before is not None and is_same else now_us
    return replace(after, state=state, reason=reason, since_us=since_us)


def _moved(
    before: Node | None,
    after: Node,
    kind: NodeEventKind,
    now_us: int,
    reason: str = "",
    by: str = "",
) -> Moved:
    after = _settled(before, after, now_us)
    event = NodeEvent(
        node=after.name,
        at_us=now_us,
        kind=kind,
        before=before.state if before is not None else after.state,
        after=after.state,
        reason=reason,
        by=by,
    )
    return Moved(after, event)
