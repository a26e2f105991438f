"""Learns from the jobs that came what free room is worth, for the planner's placement.

Called by `planner.PlanKeeper`, which hands what was found to the planner with its next delta.
Counting is done by the store, computing by a worker, so that no plan waits for either. Learned
again when as many jobs have come as were known, or a make of nodes is new; never twice within
EVERY_US. With fewer than two nodes that have GPUs there is nothing to choose, and nothing is done;
nor is it for a placement policy that asks for nothing of the kind.
Cost of one: a query over MOST jobs, a parse of each spec among them that is not in the cache, and
0.1 to 0.4 s of `mix`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from threading import Lock
from typing import Final

from zenkei.control.specs import SpecCache
from zenkei.model.cluster import Node
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.job import Job
from zenkei.model.queue import Placement, Policy
from zenkei.ports.store import PlanningDelta, Store, Submitted
from zenkei.ports.system import Workers
from zenkei.scheduler import Ask, Learned, learn
from zenkei.scheduler.placement.mix import due

log = logging.getLogger(__name__)

MOST: Final = 4096
"""The newest jobs are the mix; a cluster whose work changes unlearns what was."""
EVERY_US: Final = 60_000_000
SETTLE_US: Final = 10_000_000
"""A controller that starts has more urgent things to do."""
LANE: Final = "learn"
LEARNED: Final = frozenset({Placement.HOLE_VALUE, Placement.FGD})
"""Policies that know what came before."""


class Learning:
    """See the module's docstring. Thread-safe."""

    def __init__(self, store: Store, specs: SpecCache, workers: Workers) -> None:
        self._store = store
        self._specs = specs
        self._workers = workers
        self._lock = Lock()
        self._found: Learned | None = None
        self._taken = 0
        self._known = self._came = self._newest = 0
        self._makes: set[tuple[object, ...]] = set()
        self._is_new = self._is_busy = False
        self._is_wanted = Policy().placement in LEARNED
        self._not_before_us = 0

    def saw(self, news: PlanningDelta) -> None:
        """Count what came, and begin to learn if it is time."""
        with self._lock:
            if not self._not_before_us:
                self._not_before_us = news.now_us + SETTLE_US
            self._count(news.jobs)
            self._meet(news.nodes)
            if news.config is not None:
                self._is_wanted = news.config.policy.placement in LEARNED
            before = min(self._known, MOST)
            wanted = due(before, before + self._came) or self._is_new
            wanted = wanted and self._is_wanted
            if self._is_busy or not wanted or news.now_us < self._not_before_us:
                return
            self._is_busy, self._is_new, self._came = True, False, 0
            self._not_before_us = news.now_us + EVERY_US
        self._workers.submit(LANE, self._learn)

    def take(self) -> Learned | None:
        """What was learned since the last call, if anything was."""
        with self._lock:
            if self._found is None or self._found.version == self._taken:
                return None
            self._taken = self._found.version
            return self._found

    def last(self) -> Learned | None:
        """What was learned last; for a planner that starts cold."""
        with self._lock:
            self._taken = self._found.version if self._found is not None else 0
            return self._found

    def _count(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.id.key > self._newest:
                self._newest = job.id.key
                self._came += 1

    def _meet(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            capacity = node.capacity
            make = (*(device.kind for device in capacity.devices), capacity.cpu_milli)
            if capacity.devices and make not in self._makes:
                self._makes.add(make)
                self._is_new = True

    def _learn(self) -> None:
        learned, known = None, 0
        try:
            nodes = [node for node in self._store.nodes() if node.capacity.devices]
            rows = self._store.submitted(MOST) if len(nodes) > 1 else ()
            known = sum(row.jobs for row in rows)
            if due(0, known):
                learned = self._of(rows, nodes)
        except Exception:
            # the planner goes on with what it knows
            log.exception("nothing was learned from the jobs that came")
        with self._lock:
            self._is_busy, self._known = False, known
            self._found = learned or self._found

    def _of(self, rows: Iterable[Submitted], nodes: Iterable[Node]) -> Learned:
        arrived: dict[Ask, float] = {}
        ended = 0.0
        for row in rows:
            try:
                spec = self._specs.get(row.spec)
            except (InternalError, InvalidInput):
                continue  # it does not run either: `planrows` has told
            ask, parts = Ask.of(spec.resources.node), spec.resources.nodes
            arrived[ask] = arrived.get(ask, 0.0) + row.jobs * parts
            ended += row.ended * parts
        version = self._found.version + 1 if self._found is not None else 1
        return learn(arrived, nodes, ended=ended, version=version)
