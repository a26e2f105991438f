"""Two control planes on one PostgreSQL and one engine, each dying at random port calls.

Whatever dies, the other goes on and takes over; a new one joins. Driven by hand and by seed: who
steps next, and who dies, is drawn; only PostgreSQL and the stores' writers have threads of their
own. Leases and searches are shortened, so that taking over is what happens all the time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.plant import ALICE, node
from tests.process_guard import RUN_DIR
from tests.system.test_faults_daemon import SEED
from tests.testbeds.postgres import postgres
from zenkei.control import controller as controllers
from zenkei.control import dispatcher as dispatchers
from zenkei.control.plane import Ports, assemble
from zenkei.engines.inline import InlineEngine
from zenkei.model.errors import Conflict
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Exit, JobSpec, JobState
from zenkei.ports.engine import LaunchOrder
from zenkei.ports.store import JobFilter
from zenkei.server.system import SystemClock
from zenkei.sim.doubles import BlobsDouble, BuilderDouble, TreesDouble
from zenkei.sim.faults import PEACE, Crash, Crashing, FaultRates, Faults
from zenkei.store.sql import SqlStore

DEATHS = int(os.environ.get("ZENKEI_TEST_PLANE_DEATHS", "40"))
LEASE_S = 0.2
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]


class OwnFaults(Faults):
    """Only who drives a plane dies: a store's writer is a thread, and would die alone."""

    def maybe_crash(self, where: str) -> None:
        if threading.current_thread() is threading.main_thread():
            super().maybe_crash(where)


class Plane:
    """One controller's process: its memory is lost with it."""

    def __init__(self, world: World, number: int) -> None:
        self.work: list[Callable[[], None]] = []
        self.dead = False
        self._own = SqlStore(world.url, owner=f"plane-{number}", lease_s=LEASE_S)
        self.store = Crashing(self._own, world.faults, f"store {number}")
        world.engine.rescan()
        engine = Crashing(world.engine, world.faults, f"engine {number}")
        plane = assemble(
            Ports(
                store=self.store,
                engines={world.engine.cluster: engine},
                builder=BuilderDouble(Faults(Random(0), PEACE)),
                trees=TreesDouble(),
                blobs=Crashing(world.blobs, world.faults, f"blobs {number}"),
                clock=SystemClock(),
                workers=self,
            ),
            owner=f"plane-{number}",
            version="test",
        )
        self.commands = plane.commands
        self.controller = plane.controller
        try:
            plane.controller.register_nodes()
        except Crash:
            self.bury()
            raise

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        """`ports.system.Workers`; called from the writer's thread, too."""
        if not self.dead:
            self.work.append(work)

    def step(self) -> None:
        self.controller.step()
        while self.work:
            self.work.pop(0)()

    def bury(self) -> None:
        self.dead = True
        self._own.close()


class World:
    """Two planes, one of which is asked to do something at a time."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.rng = Random(seed)
        self.faults = OwnFaults(Random(seed + 1), FaultRates(crash=0.01))
        self.runs: Counter[str] = Counter()
        self.engine = InlineEngine((node("n1", cpus=6), node("n2", cpus=6)), self._program)
        self.blobs = BlobsDouble()
        self.acknowledged: dict[str, tuple[JobId, ...]] = {}
        self._born = 0
        self.planes = [self._birth(), self._birth()]

    def _program(self, order: LaunchOrder) -> Exit | None:
        self.runs[str(order.attempt)] += 1
        return Exit(code=0) if self.rng.random() < 0.7 else None

    def _birth(self) -> Plane:
        while True:
            self._born += 1
            try:
                return Plane(self, self._born)
            except Crash:
                continue

    def alive(self, call: Callable[[Plane], object]) -> None:
        """Ask a random plane; one that dies of it is replaced."""
        index = self.rng.randrange(2)
        try:
            call(self.planes[index])
        except Crash:
            self.planes[index].bury()
            self.planes[index] = self._birth()

    def person(self, number: int) -> None:
        """Submit; without an answer, again with the same key, whoever answers then."""
        key = f"request-{number}"
        spec = JobSpec(name="t", command="x", array=self.rng.choice((0, 0, 3)))
        nodes = self.rng.choice((1, 1, 2))
        spec = replace(spec, resources=replace(spec.resources, nodes=nodes))

        def submit(plane: Plane) -> None:
            self.acknowledged[key] = plane.commands.submit(ALICE, spec, request_key=key)

        while key not in self.acknowledged:
            self.alive(submit)

    def meddle(self) -> None:
        """End something that runs, by itself or by an order."""
        running = self.engine.running()
        if running and self.rng.random() < 0.7:
            self.engine.finish(self.rng.choice(running), Exit(code=0))
        elif self.acknowledged:
            job = self.rng.choice(self.rng.choice(list(self.acknowledged.values())))
            self.alive(lambda plane: self._cancel(plane, job))

    def _cancel(self, plane: Plane, job: JobId) -> None:
        try:
            plane.commands.cancel(ALICE, job)
        except Conflict:
            return  # over already

    def run(self, deaths: int) -> None:
        number = 0
        while self.faults.crashes < deaths:
            if self.rng.random() < 0.2:
                number += 1
                self.person(number)
            if self.rng.random() < 0.3:
                self.meddle()
            self.alive(Plane.step)
        self.faults.active = False
        self.engine.rescan()
        onlooker = SqlStore(self.url, owner="onlooker")
        try:
            for _ in range(5000):
                for attempt in self.engine.running():
                    self.engine.finish(attempt, Exit(code=0))
                for plane in self.planes:
                    plane.step()
                rows = onlooker.jobs(JobFilter(), limit=10_000).items
                over = all(row.state in TERMINAL for row in rows)
                if over and not left_to_do(onlooker):
                    break
            self.check(onlooker)
        finally:
            onlooker.close()

    def check(self, store: SqlStore) -> None:
        assert store.check() == []
        rows = {row.id: row for row in store.jobs(JobFilter(), limit=10_000).items}
        wanted = {job for jobs in self.acknowledged.values() for job in jobs}
        assert set(rows) == wanted, "acknowledged and known jobs differ"
        assert len({job.number for job in wanted}) == len(self.acknowledged)
        assert [run for run, times in self.runs.items() if times > 1] == []
        for job, row in rows.items():
            assert row.state in (JobState.SUCCEEDED, JobState.CANCELLED), row
            if row.state is JobState.SUCCEEDED:
                assert row.attempt == 1, row
                assert self.runs[f"{job}/1"] == 1
        assert store.allocations() == ()
        assert left_to_do(store) == 0
        seqs = [event.seq for event in store.events(limit=100_000)]
        assert seqs == sorted(set(seqs))


def left_to_do(store: SqlStore) -> int:
    """Rows of the outbox, leased or not."""
    with store._database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one())


def two_die(deaths: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(controllers, "CLAIM_S", 0.02)
    monkeypatch.setattr(dispatchers, "LEASE_S", LEASE_S)
    with postgres(Path(os.environ[RUN_DIR])) as server:
        world = World(server.url(server.new_schema()), seed)
        try:
            world.run(deaths)
        finally:
            for plane in world.planes:
                plane.bury()
    return world


def test_two_controllers_that_die_in_turn_lose_and_double_nothing(monkeypatch):
    world = two_die(DEATHS, SEED, monkeypatch)
    assert len(world.acknowledged) > DEATHS / 4
    assert world.faults.crashes >= DEATHS
