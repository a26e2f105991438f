"""Where the cluster's file says that nodes stand, node by node. Pure.

Made of the configuration in force by whatever enters nodes (`observer`, `server.nodes`) and by
`cluster`, inside their units. Cost: O(entries of the file) per node.
"""

from __future__ import annotations

from zenkei.control.noderows import NodeRows
from zenkei.lifecycle import nodes
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.nodenames import matcher
from zenkei.model.queue import ClusterConfig


class Places:
    """The first entry that matches decides the topology; labels of all that match are joined."""

    def __init__(self, config: ClusterConfig) -> None:
        self._entries = [(matcher(place.nodes), place) for place in config.places]

    def of(self, name: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """Topology and labels; both empty for a node that no entry matches."""
        topology: tuple[str, ...] = ()
        labels: dict[str, str] = {}
        for matches, place in self._entries:
            if matches(name):
                topology = topology or place.topology
                labels = {**place.labels, **labels}
        return topology, labels


def put_in_place(rows: NodeRows, names: tuple[str, ...], record: ClusterRecord, now_us: int) -> int:
    """Tell nodes where they stand; how many that changed."""
    places, moved = Places(record.config), 0
    for name in names:
        topology, labels = places.of(name)
        change = nodes.place(rows.get(name), topology, labels, by=record.by, now_us=now_us)
        rows.take(change)
        moved += change is not None
    return moved
