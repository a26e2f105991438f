"""Looks from time to time who uses the GPUs, on machines that have some.

A thread of its own, because a driver may take seconds to answer; started by `engine`. A change
(a foreign process came or went, a device fell off) becomes a NodeSeen report.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from zenkei.model.cluster import Node

EVERY_S = 30.0
_log = logging.getLogger(__name__)


class DeviceWatch:
    """look: the inventory now. changed: told of a node that differs from what was last seen."""

    def __init__(
        self, look: Callable[[], tuple[Node, ...]], changed: Callable[[Node], None]
    ) -> None:
        self._look = look
        self._changed = changed
        self._end = threading.Event()
        self._last: dict[str, Node] = {}
        self._thread: threading.Thread | None = None

    def start(self, nodes: tuple[Node, ...]) -> None:
        """nodes: as told to the controller already. Does nothing where there is no device."""
        if self._thread is not None:
            return
        self._last = {node.name: node for node in nodes}
        if any(node.capacity.devices for node in nodes):
            self._thread = threading.Thread(target=self._run, name="engine-devices", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            self.compare()

    def compare(self) -> None:
        """One look."""
        for node in self._look():
            if _devices(node) != _devices(self._last.get(node.name)):
                _log.info("devices changed node=%s blocked=%s", node.name, node.blocked)
                self._last[node.name] = node
                self._changed(node)

    def close(self) -> None:
        self._end.set()


def _devices(node: Node | None) -> object:
    return None if node is None else (node.capacity.devices, node.blocked)
