"""Learning: placement by the jobs that came, without a plan that waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.builders import do, put
from tests.planner_worlds import node
from zenkei.control.apply import apply_plan
from zenkei.control.cluster import ClusterCommands
from zenkei.control.commands import Commands
from zenkei.control.learning import EVERY_US, SETTLE_US, Learning
from zenkei.control.planner import PlanKeeper
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.errors import Unavailable
from zenkei.model.ids import JobId
from zenkei.model.job import JobSpec, ResourceRequest
from zenkei.model.resources import Request
from zenkei.ports.store import Changes, Submitted
from zenkei.scheduler import Start
from zenkei.store.memory import MemoryStore, Tables

ANN = Principal(name="ann", uid=1000)
OPERATOR = Principal(name="operator", uid=0, operator=True)
FIRST_JOBS = 25


class LaterWorkers:
    """Work waits until the test lets it be done."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def run(self) -> int:
        count = len(self.waiting)
        while self.waiting:
            self.waiting.pop(0)()
        return count


class Cluster:
    """Two nodes with one GPU each: one has half of it free, the other six tenths."""

    def __init__(self, *nodes: Node) -> None:
        self.now_us = 1_000_000
        self.store = MemoryStore(lambda: self.now_us, tables=Tables())
        self.cache = SpecCache(self.store)
        self.workers = LaterWorkers()
        self.keeper = self.another()
        put(self.store, Changes(nodes=list(nodes)))

    def another(self) -> PlanKeeper:
        """A controller that starts now."""
        keeper = PlanKeeper(self.store, self.cache, Learning(self.store, self.cache, self.workers))
        keeper.refresh()
        self.now_us += SETTLE_US
        return keeper

    def submit(
        self, gpu_milli: int, *, prepared: bool = True, **constraints: tuple[str, ...]
    ) -> JobId:
        spec = JobSpec(
            name="job",
            command="true",
            resources=ResourceRequest(
                node=Request(cpu_milli=100, gpu_count=1, gpu_milli=gpu_milli)
            ),
            constraints=constraints,
        )
        (job,) = Commands(self.store, self.cache).submit(ANN, spec)
        if prepared:
            do(self.store, job, c.Prepare())
        return job

    def starts(self) -> dict[JobId, str]:
        """Where jobs would start now."""
        self.keeper.refresh()
        plan = self.keeper.plan(now_us=self.now_us)
        return {d.job: d.parts[0].node for d in plan.decisions if isinstance(d, Start)}

    def begin(self) -> None:
        self.keeper.refresh()
        plan = self.keeper.plan(now_us=self.now_us)
        starts = tuple(d for d in plan.decisions if isinstance(d, Start))
        assert apply_plan(self.store, self.cache, starts).refused == 0

    def come(self, count: int, gpu_milli: int) -> None:
        """Jobs that nobody has prepared yet: they count, and do not start."""
        for _ in range(count):
            self.submit(gpu_milli, prepared=False)


@pytest.fixture
def cluster() -> Cluster:
    built = Cluster(
        node("n1", gpus=1, labels={"half": "yes"}), node("n2", gpus=1, labels={"half": "no"})
    )
    built.submit(500, half=("yes",))
    built.submit(400, half=("no",))
    built.begin()
    return built


def test_room_that_later_jobs_can_use_is_worth_more_than_a_tight_fit(cluster: Cluster) -> None:
    job = cluster.submit(300)
    assert cluster.starts() == {job: "n1"}, "the tightest, as long as nothing is known"
    cluster.come(FIRST_JOBS, 300)
    assert cluster.starts() == {job: "n1"}, "no plan waits for what is being learned"
    assert cluster.workers.run() == 1
    assert cluster.starts() == {job: "n2"}, "what is left there suits one more like it"


def test_a_controller_that_starts_later_learns_from_the_jobs_of_the_past(cluster: Cluster) -> None:
    cluster.come(FIRST_JOBS, 300)
    cluster.keeper = cluster.another()
    job = cluster.submit(300)
    assert cluster.starts() == {job: "n1"}
    cluster.workers.run()
    assert cluster.starts() == {job: "n2"}


def test_it_is_learned_again_when_as_many_have_come_but_not_within_a_minute(
    cluster: Cluster,
) -> None:
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    cluster.workers.run()
    cluster.come(FIRST_JOBS + 10, 300)
    cluster.starts()
    assert cluster.workers.run() == 0
    cluster.now_us += EVERY_US
    cluster.starts()
    assert cluster.workers.run() == 1
    cluster.now_us += EVERY_US
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    assert cluster.workers.run() == 0, "not as many as were known"


def test_nothing_is_learned_for_a_placement_that_asks_for_nothing_that_came(
    cluster: Cluster,
) -> None:
    cluster.workers.run()
    cluster.now_us += EVERY_US
    tight = b"policy: {placement: best_fit}"
    ClusterCommands(cluster.store).apply(OPERATOR, tight, file="cluster.yaml")
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    assert cluster.workers.run() == 0
    other = b"policy: {placement: hole_value}"
    ClusterCommands(cluster.store).apply(OPERATOR, other, file="cluster.yaml")
    cluster.starts()
    assert cluster.workers.run() == 1


def test_a_new_make_of_nodes_changes_what_room_is_worth(cluster: Cluster) -> None:
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    cluster.workers.run()
    cluster.now_us += EVERY_US
    put(cluster.store, Changes(nodes=[node("n3", gpus=1)]))
    cluster.starts()
    assert cluster.workers.run() == 0, "as the others are"
    put(cluster.store, Changes(nodes=[node("n4", gpus=4)]))
    cluster.starts()
    assert cluster.workers.run() == 1


def test_a_store_that_does_not_answer_costs_nothing_but_what_would_be_learned(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(most: int) -> tuple[Submitted, ...]:
        raise Unavailable("store-gone", "no answer")

    job = cluster.submit(300)
    cluster.come(FIRST_JOBS, 300)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(cluster.store, "submitted", gone)
        cluster.starts()
        cluster.workers.run()
    assert "nothing was learned" in caplog.text
    assert cluster.starts() == {job: "n1"}
    cluster.now_us += EVERY_US
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    cluster.workers.run()
    assert cluster.starts() == {job: "n2"}


def test_where_there_is_nothing_to_choose_no_jobs_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(node("n1", gpus=4), node("n2"))
    asked: list[int] = []

    def submitted(most: int) -> tuple[Submitted, ...]:
        asked.append(most)
        return ()

    monkeypatch.setattr(cluster.store, "submitted", submitted)
    cluster.come(FIRST_JOBS, 300)
    cluster.starts()
    cluster.workers.run()
    assert asked == []
