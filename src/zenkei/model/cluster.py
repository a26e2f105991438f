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
class Node:
    """One machine, or a declared part of one (`virtual`): sizes are then declared, not measured.

    topology: path from the site to the node, widest first, such as ("tokyo", "row-1", "leaf-3").
    blocked: indices of devices that foreign processes use; they are seen and not handed out.
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
class Queue:
    """A place in line. Quotas and weights come with the fair-share planner."""

    name: str
    parent: str = ""
