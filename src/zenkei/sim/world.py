"""A world: one store, one engine, a controller that may die at any port call, users, and time.

`World(seed).run()` drives everything to its end and raises CheckFailed, with the seed, as soon as a
checker finds something that must not be. The same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from zenkei.control.cluster import ClusterCommands
from zenkei.control.commands import Commands
from zenkei.control.controller import CLAIM_S
from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.data import Digest
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Job, JobSpec
from zenkei.ports.store import JobFilter
from zenkei.sim.checkers import check_end, check_now
from zenkei.sim.clock import VirtualClock, WallClock
from zenkei.sim.doubles import BlobsDouble, WorkersDouble
from zenkei.sim.engine import EngineDouble
from zenkei.sim.faults import PEACE, Crash, FaultRates, Faults
from zenkei.sim.lives import Lives, Run
from zenkei.spec import from_canonical
from zenkei.store.memory import MemoryStore

USER = Principal(name="user", uid=1000)
OTHER = Principal(name="other", uid=1001)
OPERATOR = Principal(name="operator", uid=0, operator=True)
FAULTY_S = 300.0
"""Virtual seconds after which no new faults happen, so that the world can come to rest."""
MOST_EVENTS = 200_000


class World:
    """One simulated run."""

    def __init__(self, seed: int, nodes: tuple[Node, ...], rates: FaultRates = PEACE) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.clock = VirtualClock()
        self.wall = WallClock(self.clock)
        self.faults = Faults(Random(seed + 1), rates)
        self.engine = EngineDouble(self.clock, Random(seed + 2), self.faults, nodes)
        self.acknowledged: list[JobId] = []
        self.steps = 0
        self._due_us: int | None = None
        self._lives = Lives(
            wall=self.wall,
            faults=self.faults,
            engine=self.engine,
            blobs=BlobsDouble(),
            workers=lambda run: WorkersDouble(self.clock, self.rng, partial(self._work, run)),
        )
        self.tables = self._lives.tables
        self.store = MemoryStore(self.wall.now_us, owner="onlooker", tables=self.tables)
        self.boot()

    @property
    def commands(self) -> Commands:
        """What users call; another one when the controller was born again."""
        return self._lives.plane.commands

    @property
    def cluster(self) -> ClusterCommands:
        return self._lives.plane.cluster

    def boot(self) -> None:
        """A new controller process on what is durable."""
        self._lives.boot()
        self._due_us = self.clock.now_us()

    def user(self, call: Callable[[], None]) -> None:
        """Run something a user does; a crash under it is the controller's, not the user's."""
        try:
            call()
        except Crash:
            self.boot()

    def run(self) -> None:
        """Until every job is over and nothing is left to do. Raises CheckFailed."""
        end_of_faults_us = self.clock.now_us() + int(FAULTY_S * 1e6)
        for _ in range(MOST_EVENTS):
            if self.clock.now_us() >= end_of_faults_us:
                self.faults.active = False
            seq, reports = self.tables.counters.seq, self.engine.changes
            if not self._advance():
                break
            if (seq, reports) != (self.tables.counters.seq, self.engine.changes):
                check_now(self)  # only what changed something can have broken something
        check_end(self)

    def spec_of(self, row: Job) -> JobSpec:
        """What a job asks for now."""
        return self.spec_behind(row.spec)

    def spec_behind(self, digest: Digest) -> JobSpec:
        text = self.store.spec(digest)
        assert text is not None, "a job's spec is written with it"
        return from_canonical(text)

    def over(self) -> bool:
        """Every job is terminal and every effect of it is done."""
        rows = self.store.jobs(JobFilter(), limit=10_000).items
        return all(row.state in TERMINAL for row in rows) and self._idle()

    def _idle(self) -> bool:
        return not self._lives.plane.dispatcher.in_flight() and not self.tables.outbox

    def _advance(self) -> bool:
        """One thing happens: a controller step if it is awake or due, else the next event."""
        due = self._due_us is not None and self._due_us <= self.clock.now_us()
        if self._lives.plane.controller.awake or due:
            self._step()
            return True
        next_us = self.clock.next_us()
        if self._due_us is not None and (next_us is None or self._due_us < next_us):
            if next_us is None and self.over():
                return False
            self.clock.advance_to(self._due_us)
            return True
        return self.clock.run_next()

    def _step(self) -> None:
        self.steps += 1
        try:
            due_us = self._lives.plane.controller.due_us(self._lives.plane.controller.step())
            # as `Controller.run` sleeps: by a clock that nobody sets, and never long
            sleep_us = min(int(CLAIM_S * 1e6), max(0, due_us - self.wall.now_us()))
            self._due_us = self.clock.now_us() + sleep_us
        except Crash:
            self.boot()

    def _work(self, run: Run, work: Callable[[], None]) -> None:
        try:
            run(work)
        except Crash:
            self.boot()
