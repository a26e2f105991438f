"""Nodes, what is held on them, and queues."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from zenkei.model.ids import AttemptId
from zenkei.model.resources import Capacity, DeviceShare, Request


class NodeState(StrEnum):
    """READY takes new work; all others do not. DRAINING still runs what it has."""

    READY = "ready"
    SUSPECT = "suspect"
    DRAINING = "draining"
    DRAINED = "drained"
    PROBING = "probing"
    DOWN = "down"

    @property
    def expected(self) -> bool:
        """True if the node takes work, or may do so in a moment without anybody's doing."""
        return self in _EXPECTED


_EXPECTED: Final = frozenset({NodeState.READY, NodeState.SUSPECT, NodeState.PROBING})


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """An operator's wish that nothing new runs there. empty: nothing runs there any more."""

    by: str
    reason: str
    since_us: int
    empty: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """Attempts of which nobody can show that they are gone from the node, since the boot `boot_id`.

    Their reports and paths are refused. Each goes when its agent has confirmed an empty tree, all
    when the machine was started anew.
    """

    attempts: tuple[str, ...]
    reason: str
    since_us: int
    boot_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeHealth:
    """What failures and checks say of a node: ready, suspect, probing or down, and why.

    failures_milli: failures in thousandths, as of counted_us; they decay (`lifecycle.nodes`).
    failed_checks: in a row. next_check_us: when it is checked again; 0: when it is suspect, or
    never. silent: attempts whose supervisor there gives no sign of life.
    """

    state: NodeState = NodeState.READY
    reason: str = ""
    failures_milli: int = 0
    counted_us: int = 0
    failed_checks: int = 0
    next_check_us: int = 0
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine, or a declared part of one (`virtual`): sizes are then declared, not measured.

    topology: path from the site to the node, widest first, such as ("tokyo", "row-1", "leaf-3").
    blocked: indices of devices that foreign processes use; they are seen and not handed out.
    state, reason, since_us: follow from what its engine says (reported), from what an operator
    wants (drain), and from health and fence; made by `lifecycle.nodes` only. labels: the engine's
    (measured_labels), with those of the cluster's file (placed_labels) over them and the
    operator's (own_labels) on top. placed_topology: said by that file, instead of the engine's.
    """

    name: str
    cluster: str
    capacity: Capacity
    address: str = "127.0.0.1"
    labels: dict[str, str] = field(default_factory=dict)
    topology: tuple[str, ...] = ()
    state: NodeState = NodeState.READY
    reason: str = ""
    since_us: int = 0
    boot_id: str = ""
    virtual: bool = False
    blocked: tuple[int, ...] = ()
    reported: NodeState = NodeState.READY
    reported_reason: str = ""
    measured_labels: dict[str, str] = field(default_factory=dict)
    own_labels: dict[str, str] = field(default_factory=dict)
    placed_labels: dict[str, str] = field(default_factory=dict)
    measured_topology: tuple[str, ...] = ()
    placed_topology: tuple[str, ...] = ()
    drain: Drain | None = None
    health: NodeHealth = NodeHealth()
    fence: Fence | None = None


class NodeEventKind(StrEnum):
    """What happened to a node."""

    ENTERED = "entered"
    REMOVED = "removed"
    REPORTED = "reported"
    RESTARTED = "restarted"
    DRAIN = "drain"
    EMPTIED = "emptied"
    RESUME = "resume"
    LABELED = "labeled"
    PLACED = "placed"
    FAILURE = "failure"
    SILENT = "silent"
    HEARD = "heard"
    CHECK = "check"
    CHECKED = "checked"
    FENCED = "fenced"
    CLEARED = "cleared"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeEvent:
    """One fact about a node, for people: nothing is rebuilt from it. by: who wanted it, if anybody.

    before, after: its state. seq is given by the store, in commit order; 0 before.
    """

    node: str
    at_us: int
    kind: NodeEventKind
    before: NodeState
    after: NodeState
    reason: str = ""
    by: str = ""
    seq: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePart:
    """What one attempt holds on one node."""

    node: str
    request: Request
    devices: tuple[DeviceShare, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """All that one attempt holds, in rank order. Entered by `allocated`, left by `released`."""

    attempt: AttemptId
    cluster: str
    parts: tuple[NodePart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Parts that nobody but one waiting job may have, in rank order, up to `until_us`.

    Made for a job whose victims are still stopping; what it covers need not be free yet.
    """

    cluster: str
    parts: tuple[NodePart, ...]
    until_us: int
