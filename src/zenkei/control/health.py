"""Looks after nodes that take no work: drained, suspect, fenced, down. Called by `controller.step`.

A node that drains is drained once nothing runs there. One that is suspect is checked at once, one
that is down again and again, with pauses that grow (`lifecycle.nodes`); checks run on workers of
their own, because a broken node may take long to answer. A fence is told to the engine until it has
taken it; what was told is forgotten with this process and told again by the next. Every step is
safe to repeat. Cost: O(nodes that are not ready).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock

from zenkei.control.noderows import NodeRows
from zenkei.control.planner import PlanKeeper
from zenkei.lifecycle import nodes
from zenkei.lifecycle.nodes import Moved
from zenkei.model.cluster import Node, NodeState
from zenkei.model.errors import EngineError
from zenkei.model.ids import AttemptId
from zenkei.ports.engine import Engine
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.ports.system import Workers

log = logging.getLogger(__name__)
LANE = "probe"


class HealthKeeper:
    """wake: the controller shall step again."""

    def __init__(
        self,
        *,
        store: Store,
        engines: Mapping[str, Engine],
        keeper: PlanKeeper,
        workers: Workers,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._engines = engines
        self._keeper = keeper
        self._workers = workers
        self._wake = wake
        self._lock = Lock()
        self._checking: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def step(self, now_us: int) -> int | None:
        """See to every node that is not ready; when the next check is due (µs), if any is."""
        due: list[int] = []
        for node, busy in self._keeper.unready():
            self._settle(node, busy)
            self._tell_fences(node)
            if nodes.check_due(node, now_us):
                self._check(node)
            elif node.health.state is NodeState.DOWN and node.health.next_check_us > now_us:
                due.append(node.health.next_check_us)
        return min(due, default=None)

    def _settle(self, node: Node, busy: bool) -> None:
        if node.drain is not None and not node.drain.empty and not busy:
            self._move(node.name, _emptied)

    def _tell_fences(self, node: Node) -> None:
        for attempt in node.fence.attempts if node.fence is not None else ():
            if (node.name, attempt) in self._told or node.cluster not in self._engines:
                continue
            try:
                self._engines[node.cluster].fence(node.name, AttemptId.parse(attempt))
            except EngineError as error:
                log.warning("fence failed node=%s attempt=%s why=%s", node.name, attempt, error)
            else:
                self._told.add((node.name, attempt))

    # -- checks --------------------------------------------------------------------------------

    def _check(self, node: Node) -> None:
        """Begin a check, unless one is under way."""
        if node.cluster not in self._engines:
            return
        with self._lock:
            if node.name in self._checking:
                return
            self._checking.add(node.name)
        self._workers.submit(LANE, partial(self._probe, node.name, node.cluster))

    def _probe(self, name: str, cluster: str) -> None:
        try:
            begun = self._move(name, lambda row, view: nodes.checking(row, view.clock_us))
            if begun is None or begun.health.state is not NodeState.PROBING:
                return
            try:
                problems = self._engines[cluster].probe(name)
            except EngineError as error:
                problems = (f"it cannot be checked: {error}",)
            log.info("node checked node=%s problems=%s", name, list(problems))
            self._move(name, lambda row, view: nodes.checked(row, problems, view.clock_us))
        finally:
            with self._lock:
                self._checking.discard(name)
            self._wake()

    def _move(self, name: str, change: Callable[[Node, View], Moved | None]) -> Node | None:
        """Let something happen to a node, in a transaction; the row afterwards."""

        def decide(view: View) -> tuple[Changes, Node | None]:
            rows, changes = NodeRows(view), Changes()
            row = rows.get(name)
            if row is None:
                return changes, None
            rows.take(change(row, view))
            rows.write(changes)
            return changes, rows.get(name)

        return self._store.submit(Unit(reads=Reads(nodes=(name,)), decide=decide)).result()


def _emptied(row: Node, view: View) -> Moved | None:
    return None if view.held_on(row.name) else nodes.emptied(row, view.clock_us)
