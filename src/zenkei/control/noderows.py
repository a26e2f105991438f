"""Nodes of a unit of work: rows as the unit leaves them, and lines of their log.

Called by whatever changes nodes (`observer`, `health`, `nodecommands`, `entering`), inside the
unit, so that a row is never written without its line. Cost: O(nodes changed).
"""

from __future__ import annotations

from zenkei.lifecycle.nodes import Moved
from zenkei.model.cluster import Node, NodeEvent, NodeEventKind
from zenkei.ports.store import Changes, View


class NodeRows:
    """Reads through a view; what it changed goes into `Changes` once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._rows: dict[str, Node] = {}
        self._events: list[NodeEvent] = []

    def get(self, name: str) -> Node | None:
        """The row as this unit leaves it; None if there is no such node."""
        return self._rows[name] if name in self._rows else self._view.node(name)

    def take(self, moved: Moved | None) -> None:
        """Something happened to a node, or nothing did."""
        if moved is not None:
            self._rows[moved.node.name] = moved.node
            self._events += [moved.event] if moved.event is not None else []

    def write(self, changes: Changes) -> None:
        """Into the unit's changes."""
        changes.nodes.extend(self._rows.values())
        changes.node_events.extend(self._events)


def removed(node: Node, now_us: int) -> NodeEvent:
    """The line for a node that is no longer part of its cluster."""
    kind = NodeEventKind.REMOVED
    return NodeEvent(node=node.name, at_us=now_us, kind=kind, before=node.state, after=node.state)
