"""Durable jobs through the store alone: no planner, no engine, no HTTP.

A job is born and makes six transitions, each decided by `lifecycle` in a unit of its own (`singly`,
200 jobs in flight) or with 100 jobs to a unit, as the controller's cycle does (`in cycles`). The
floor is what the disk gives: one write and fdatasync after the other.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.report import Row, median_s
from tests.builders import (
    allocate,
    command_unit,
    exited,
    follow,
    node,
    put,
    released,
    submit,
    submit_unit,
)
from tests.testbeds.postgres import postgres
from zenkei.lifecycle import commands as c
from zenkei.model.ids import JobId
from zenkei.ports.store import AnyUnit, Changes, Reads, Unit
from zenkei.store.memory import MemoryStore
from zenkei.store.sql import SqlStore

JOBS, IN_FLIGHT, PER_UNIT, SYNCS = 2000, 200, 100, 500
BARS = {"memory, in cycles": ">= 4,000", "SQLite FULL, in cycles": ">= 3,000"}
STEPS: list[tuple[c.Command, tuple[str, ...]]] = [
    (c.Prepare(), ()),
    (allocate(), ("n1",)),
    (c.ReportStarted(attempt=1), ()),
    (exited(), ()),
    (released(), ()),
]


def rows() -> list[Row]:
    floor = 1 / median_s(_syncs) * SYNCS
    made = [Row(bench="store", what="floor: write + fdatasync", value=floor, unit="/s")]
    for name, opened in (("memory", _memory), ("SQLite FULL", _sqlite), ("PostgreSQL", _pg)):
        for way, run in (("singly", singly), ("in cycles", in_cycles)):
            with opened() as store:
                put(store, Changes(nodes=[node()]))
                rate = JOBS / median_s(partial(run, store), runs=3)
            made.append(_row(f"{name}, {way}", rate))
    return made


def _row(what: str, rate: float) -> Row:
    bar = BARS.get(what, "")
    return Row(bench="store", what=what, value=rate, unit="jobs/s", bar=bar, note="6 transitions")


def singly(store: Any) -> None:
    """Every transition is a unit; as many jobs as IN_FLIGHT are under way."""
    room = threading.Semaphore(IN_FLIGHT)

    def go_on(job: JobId, step: int) -> None:
        if step == len(STEPS):
            room.release()
            return
        command, nodes = STEPS[step]
        future = store.submit(command_unit(job, command, nodes=nodes))
        future.add_done_callback(partial(moved, job, step + 1))

    def moved(job: JobId, step: int, future: Future[Any]) -> None:
        future.result()
        go_on(job, step)

    def born(future: Future[tuple[JobId, ...]]) -> None:
        go_on(future.result()[0], 0)

    for _ in range(JOBS):
        room.acquire()
        store.submit(submit_unit()).add_done_callback(born)
    for _ in range(IN_FLIGHT):
        room.acquire()


def in_cycles(store: Any) -> None:
    """An array, and units that move many members on."""
    ids = submit(store, members=JOBS)
    futures = []
    for command, nodes in STEPS:
        for first in range(0, JOBS, PER_UNIT):
            unit = _many(ids[first : first + PER_UNIT], command, nodes)
            futures.append(store.submit(unit))
    for future in futures:
        future.result()


def _many(ids: tuple[JobId, ...], command: c.Command, nodes: tuple[str, ...]) -> AnyUnit:
    def decide(view: Any) -> tuple[Changes, None]:
        changes = Changes()
        for job in ids:
            follow(changes, view.job(job), command, view.now_us)
        return changes, None

    return Unit(reads=Reads(jobs=ids, nodes=nodes), decide=decide)


def _syncs() -> None:
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())


@contextmanager
def _memory() -> Iterator[MemoryStore]:
    yield MemoryStore(lambda: time.time_ns() // 1000)


@contextmanager
def _sqlite() -> Iterator[SqlStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStore(f"sqlite:///{Path(folder) / 'db.sqlite3'}")
        yield store
        store.close()


@contextmanager
def _pg() -> Iterator[SqlStore]:
    with postgres(durable=True) as server:
        store = SqlStore(server.url())
        yield store
        store.close()
