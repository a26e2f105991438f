"""Random lives of jobs through units: memory and SQLite agree, rows are what the events make.

A follower that applies planning deltas ends with the same picture as one that reads everything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.builders import allocate, command_unit, exited, node, part, put, released, submit_unit
from tests.effort import tries
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale
from zenkei.lifecycle.evolve import replay
from zenkei.model.cluster import Allocation, Node
from zenkei.model.data import Digest
from zenkei.model.errors import ZenkeiError
from zenkei.model.event import Effect
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import ALLOCATED, HoldReason, Job, JobState, StopReason
from zenkei.ports.store import AnyUnit, Changes, JobFilter, PlanningDelta
from zenkei.store.filters import is_planned
from zenkei.store.memory import MemoryStore
from zenkei.store.sql import SqlStore

PLAIN: list[c.Command] = [
    c.Prepare(env=Digest("b3:" + "e" * 64)),
    c.FailPreparation(message="no such package\0\n"),
    c.Reject(message="日本"),
    c.Hold(by="ann"),
    c.Unhold(reason=HoldReason.USER),
    c.Unhold(reason=HoldReason.DEPENDENCY),
    c.Cancel(by="ann"),
]


@cache
def empty_database() -> bytes:
    """A file with the schema: made once, the migration would take most of the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db.sqlite3"
        SqlStore(f"sqlite:///{path}").close()
        return path.read_bytes()


class Picture:
    """What a planner keeps: jobs that wait or hold, allocations, nodes."""

    def __init__(self) -> None:
        self.seq = 0
        self.jobs: dict[JobId, Job] = {}
        self.held: dict[JobId, Allocation] = {}
        self.nodes: dict[str, Node] = {}

    def apply(self, delta: PlanningDelta) -> None:
        assert delta.since == self.seq
        for job in delta.jobs:
            self.jobs.pop(job.id, None)
            self.held.pop(job.id, None)
            if is_planned(job):
                self.jobs[job.id] = job
        for allocation in delta.allocations:
            self.held[allocation.attempt.job] = allocation
        for name in delta.removed_nodes:
            self.nodes.pop(name, None)
        self.nodes.update((n.name, n) for n in delta.nodes)
        self.seq = delta.seq


class Stores(RuleBasedStateMachine):
    """The same units go to both stores."""

    @initialize()
    def begin(self) -> None:
        self.now_us = 1_000_000
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "db.sqlite3"
        path.write_bytes(empty_database())
        self.memory = MemoryStore(self.clock, owner="a")
        self.sqlite = SqlStore(f"sqlite:///{path}", owner="a", clock=self.clock)
        self.stores: list[Any] = [self.memory, self.sqlite]
        self.pictures = [Picture(), Picture()]
        self.effects: list[list[Effect]] = [[], []]
        for store, heard in zip(self.stores, self.effects, strict=True):
            store.listen(lambda committed, heard=heard: heard.extend(committed.effects))
            put(store, Changes(nodes=[node("n1"), node("n2")]))
        self.jobs: list[JobId] = []

    def clock(self) -> int:
        return self.now_us

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.sqlite.close()
            self.folder.cleanup()

    def both(self, make: Callable[[], AnyUnit]) -> Any:
        """The outcome of the unit, the same in both stores."""
        outcomes: list[Any] = []
        for store in self.stores:
            future = store.submit(make())
            error = future.exception(30)
            if error is not None and not isinstance(error, ZenkeiError | Stale):
                raise error
            outcomes.append(future.result() if error is None else (type(error), str(error)))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    @rule(members=st.sampled_from([0, 0, 2]), held=st.booleans())
    def submit(self, members: int, held: bool) -> None:
        holds = (HoldReason.DEPENDENCY,) if held else ()
        self.jobs.extend(self.both(lambda: submit_unit(members=members, holds=holds)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), commands=st.lists(st.sampled_from(PLAIN), min_size=1, max_size=3))
    def command(self, data: st.DataObject, commands: list[c.Command]) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        self.both(lambda: command_unit(job, *commands))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), name=st.sampled_from(["n1", "n2"]), device=st.integers(0, 7))
    def start(self, data: st.DataObject, name: str, device: int) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        self.both(lambda: command_unit(job, allocate(part(name, device)), nodes=(name,)))

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        what=st.sampled_from(["started", "exited", "stop", "released"]),
        reason=st.sampled_from(sorted(StopReason)),
        late=st.sampled_from([0, 0, 0, 1]),
    )
    def report(self, data: st.DataObject, what: str, reason: StopReason, late: int) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        row = self.memory.job(job)
        assert row is not None
        attempt = max(1, row.attempt - late)
        reports: dict[str, c.Command] = {
            "started": c.ReportStarted(attempt=attempt),
            "exited": exited(attempt, reason),
            "stop": c.Stop(attempt=attempt, reason=reason, by="\udc80"),
            "released": released(attempt, retries=1),
        }
        self.both(lambda: command_unit(job, reports[what]))

    @precondition(lambda self: self.effects[0])
    @rule(data=st.data(), delay_s=st.sampled_from([None, 0.0, 5.0]))
    def end_effect(self, data: st.DataObject, delay_s: float | None) -> None:
        effect = data.draw(st.sampled_from(self.effects[0]))
        later = [] if delay_s is None else [(effect.id, delay_s)]
        done = [effect.id] if delay_s is None else []
        for store in self.stores:
            put(store, Changes(done=done, later=later))

    @rule(seconds=st.sampled_from([-5, 1, 40]))
    def wait(self, seconds: int) -> None:
        self.now_us = max(1, self.now_us + seconds * 1_000_000)

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        claimed = [s.claim(owner="b", limit=limit, lease_s=10) for s in self.stores]
        assert claimed[0] == claimed[1]

    @rule(gpus=st.integers(0, 8), gone=st.booleans())
    def change_node(self, gpus: int, gone: bool) -> None:
        changes = Changes(removed_nodes=["n3"]) if gone else Changes(nodes=[node("n3", gpus=gpus)])
        for store in self.stores:
            put(store, changes)

    @rule()
    def follow(self) -> None:
        for picture, store in zip(self.pictures, self.stores, strict=True):
            picture.apply(store.planning(picture.seq))
            cold = Picture()
            cold.apply(store.planning(0))
            assert vars(picture) == vars(cold)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        self.follow()
        gone = {store.forget([job]) for store in self.stores}
        assert len(gone) == 1
        if gone == {1}:
            self.jobs.remove(job)

    @invariant()
    def stores_agree(self) -> None:
        if not hasattr(self, "stores"):
            return
        memory, sqlite = self.stores
        page = memory.jobs(JobFilter(), limit=1000)
        assert page == sqlite.jobs(JobFilter(), limit=1000)
        assert memory.seq() == sqlite.seq()
        assert memory.events(limit=10_000) == sqlite.events(limit=10_000)
        assert memory.allocations() == sqlite.allocations()
        assert memory.nodes() == sqlite.nodes()
        assert dict(memory.counts()) == dict(sqlite.counts())
        assert self.effects[0] == self.effects[1]
        for job in page.items:
            assert memory.usage(job.id) == sqlite.usage(job.id)
            assert replay(sqlite.events(job=job.id)) == job
            holds = [a for a in memory.allocations() if a.attempt == AttemptId(job.id, job.attempt)]
            assert bool(holds) == (job.state in ALLOCATED)
            assert job.state.terminal == (job.ended_us > 0 and job.state is not JobState.HELD)


Stores.TestCase.settings = settings(max_examples=tries(30), stateful_step_count=30, deadline=None)
TestStores = Stores.TestCase
