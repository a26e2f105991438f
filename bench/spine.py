"""Durable jobs per second through the whole control plane: use-cases, planner, store, engine.

Array: one submit of 5,000 no-op jobs, six transitions each, until the last has succeeded. Singles:
100 threads that submit one job after another and wait for each submit to be durable. The engine is
the in-process one, so that nothing but the control plane is measured; power-cut durability is on.
Floor: how often this disk can sync one write.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

from bench.report import Row
from tests.testbeds.postgres import postgres
from zenkei.control.plane import Ports, assemble
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
from zenkei.engines.inline import InlineEngine
from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.job import JobSpec, JobState
from zenkei.model.resources import Capacity
from zenkei.server.system import SystemClock, ThreadWorkers, collect_rarely
from zenkei.sim.doubles import BuilderDouble
from zenkei.sim.faults import PEACE, Faults
from zenkei.store.sql import SqlStore

ARRAY = 5000
SINGLES = 2000
CALLERS = 100
SLOTS = 128
ME = Principal(name="bench", uid=0, operator=True)
NOOP = JobSpec(name="noop", command="true")


class Spine:
    """A control plane with threads, as the daemon has it, on an in-process engine."""

    def __init__(self, url: str, home: Path) -> None:
        capacity = Capacity(cpu_milli=SLOTS * 1000, memory_bytes=1 << 40, tmp_bytes=1 << 40)
        node = Node(name="node-1", cluster="inline", capacity=capacity, boot_id="bench")
        self.store = SqlStore(url, owner="bench", backups_dir=home / "backups")
        blobs = DirectoryBlobs(home / "blobs")
        plane = assemble(
            Ports(
                store=self.store,
                engines={"inline": InlineEngine((node,))},
                builder=BuilderDouble(Faults(Random(0), PEACE)),
                trees=DirectoryTrees(blobs, state=home / "code"),
                blobs=blobs,
                clock=SystemClock(),
                workers=ThreadWorkers(),
            ),
            owner="bench",
            version="bench",
        )
        self._dispatcher = plane.dispatcher
        self.controller = plane.controller
        self.commands = plane.commands
        self.over = 0
        self.wanted = 0
        self.all_over = threading.Event()
        self.store.listen(self._heard)
        self._stop = threading.Event()
        self.controller.register_nodes()
        collect_rarely()
        self._thread = threading.Thread(target=self.controller.run, args=(self._stop,))
        self._thread.start()

    def _heard(self, committed: object) -> None:
        for event in committed.events:  # type: ignore[attr-defined]
            if event.kind == "released":
                self.over += 1
        if self.wanted and self.over >= self.wanted:
            self.all_over.set()

    def expect(self, jobs: int) -> None:
        self.over, self.wanted = 0, jobs
        self.all_over.clear()

    def drain(self) -> None:
        """Until every effect (sealing, waking) is done too."""
        while self._dispatcher.in_flight():
            time.sleep(0.01)

    def close(self) -> None:
        self.drain()
        self._stop.set()
        self.controller.wake()
        self._thread.join()
        self.store.close()


@contextmanager
def spine(url: str = "") -> Iterator[Spine]:
    with tempfile.TemporaryDirectory(prefix="zenkei-bench-") as folder:
        home = Path(folder)
        made = Spine(url or f"sqlite:///{home / 'db.sqlite3'}", home)
        try:
            yield made
        finally:
            made.close()


def array_rate(made: Spine) -> float:
    """Jobs per second from the submit of an array to the success of its last member."""
    made.expect(ARRAY)
    start = time.perf_counter()
    ids = made.commands.submit(ME, JobSpec(name="noop", command="true", array=ARRAY))
    if not made.all_over.wait(120):
        raise RuntimeError(f"only {made.over} of {ARRAY} jobs ended")
    seconds = time.perf_counter() - start
    states = {row.state for row in made.store.members(ids[0].number)}
    if states != {JobState.SUCCEEDED}:
        raise RuntimeError(f"jobs ended as {states}")
    return ARRAY / seconds


def singles_rate(made: Spine) -> float:
    """Durable submits per second by 100 callers at once."""
    made.expect(SINGLES)
    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: made.commands.submit(ME, NOOP), range(SINGLES)))
    seconds = time.perf_counter() - start
    if not made.all_over.wait(120):
        raise RuntimeError(f"only {made.over} of {SINGLES} jobs ended")
    return SINGLES / seconds


def sync_rate() -> float:
    """fdatasync of a 4 KB write, per second, on the disk of temporary files."""
    with tempfile.TemporaryFile() as file:
        times = []
        for _ in range(100):
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)


def measure(name: str, url: Callable[[], str], bars: tuple[str, str]) -> list[Row]:
    """url: of an empty database, asked for before each run."""
    arrays, singles = [], []
    for _ in range(3):
        with spine(url()) as made:
            arrays.append(array_rate(made))
            made.drain()
            singles.append(singles_rate(made))
    return [
        Row(
            bench="spine",
            what=f"array of {ARRAY} no-op jobs, {name}",
            value=statistics.median(arrays),
            unit="jobs/s",
            bar=bars[0],
        ),
        Row(
            bench="spine",
            what=f"{CALLERS} concurrent single submits, {name}",
            value=statistics.median(singles),
            unit="jobs/s",
            bar=bars[1],
        ),
    ]


def rows() -> list[Row]:
    floor = Row(bench="spine", what="fdatasync of 4 KB", value=sync_rate(), unit="1/s")
    found = [floor, *measure("SQLite FULL", lambda: "", ("≥ 2000", "≥ 400"))]
    with postgres(durable=True) as server:
        empty = lambda: server.url(server.new_schema())  # noqa: E731 - it is only a value here
        found += measure("PostgreSQL", empty, ("≥ half of SQLite", ""))
    return found
