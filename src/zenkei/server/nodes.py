"""Changes which nodes a cluster has, never under a job that holds one. Called by `app`."""

from __future__ import annotations

from zenkei.control.noderows import NodeRows, removed
from zenkei.control.places import put_in_place
from zenkei.lifecycle import nodes
from zenkei.model.cluster import Node
from zenkei.model.errors import Conflict
from zenkei.model.resources import Free
from zenkei.ports.store import Changes, Reads, Store, Unit, View


def enter_nodes(store: Store, cluster: str, now: tuple[Node, ...], *, is_start: bool) -> None:
    """Make the store's nodes of a cluster those of `now`; refuse while jobs hold what would go.

    At a start nothing is refused: a node that went while a job held it stays until it is released.
    """
    wanted = {node.name: node for node in now}
    known = [node.name for node in store.nodes() if node.cluster == cluster]
    names = tuple(dict.fromkeys([*known, *wanted]))

    def decide(view: View) -> tuple[Changes, None]:
        changes, rows = Changes(), NodeRows(view)
        for name in names:
            blocked = _cannot_hold(view, name, wanted.get(name))
            if blocked and not is_start:
                raise Conflict(
                    "node-in-use",
                    f"job {blocked} holds what would vanish from {name}",
                    hint="wait for it, or `zenkei down --jobs`, then declare the nodes",
                )
            if name not in wanted:
                gone = view.node(name)
                if not blocked and gone is not None:
                    changes.removed_nodes.append(name)
                    changes.node_events.append(removed(gone, view.clock_us))
            elif not is_start:
                rows.take(nodes.seen(rows.get(name), wanted[name], view.clock_us))
        record = view.cluster()
        if record is not None and not is_start:
            put_in_place(rows, tuple(wanted), record, view.clock_us)
        rows.write(changes)
        return changes, None

    store.submit(Unit(reads=Reads(nodes=names, cluster=True), decide=decide)).result()


def _cannot_hold(view: View, name: str, node: Node | None) -> str:
    """A job that holds more of the node than there will be; empty if all fit."""
    held = view.held_on(name)
    if node is None:
        return str(held[0].attempt.job) if held else ""
    free = Free.of(node.capacity)
    for allocation in held:
        for part in allocation.parts:
            if part.node != name:
                continue
            if any(share.index >= len(free.gpu_milli) for share in part.devices):
                return str(allocation.attempt.job)
            free.take(part.request, part.devices)
            if min(free.cpu_milli, free.memory_bytes, free.tmp_bytes, *free.gpu_milli) < 0:
                return str(allocation.attempt.job)
    return ""
