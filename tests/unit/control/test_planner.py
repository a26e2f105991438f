"""PlanKeeper: one planner that follows the store, whoever writes to it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import do, exited, put, released
from tests.planner_worlds import GIB, node
from zenkei.control.apply import apply_plan
from zenkei.control.commands import Commands
from zenkei.control.draft import Draft
from zenkei.control.planner import PlanKeeper
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model import event as e
from zenkei.model.access import Principal
from zenkei.model.cluster import Node, NodeState
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, Unavailable
from zenkei.model.ids import JobId
from zenkei.model.job import FailureClass, JobSpec, JobState, ResourceRequest, StopReason
from zenkei.model.resources import Request
from zenkei.ports.store import Changes, PlanningDelta, Reads, Unit, View
from zenkei.scheduler import Planner, ReasonCode, Start
from zenkei.store.memory import MemoryStore, Tables

ANN = Principal(name="ann", uid=1000)
WHOLE_NODE = Request(cpu_milli=8000)


class Cluster:
    """A store, and one or more controllers' keepers on it."""

    def __init__(self, *nodes: Node) -> None:
        self.tables = Tables()
        self.now_us = 1_000_000
        self.store = MemoryStore(lambda: self.now_us, tables=self.tables)
        self.cache = SpecCache(self.store)
        self.keeper = PlanKeeper(self.store, self.cache)
        put(self.store, Changes(nodes=list(nodes)))

    def submit(self, asks: Request = WHOLE_NODE, nodes: int = 1, **more: Any) -> JobId:
        spec = JobSpec(
            name="job",
            command="true",
            resources=ResourceRequest(nodes=nodes, node=asks),
            **more,
        )
        (job,) = Commands(self.store, self.cache).submit(ANN, spec)
        do(self.store, job, c.Prepare())
        return job

    def starts(self, keeper: PlanKeeper | None = None) -> tuple[Start, ...]:
        keeper = keeper or self.keeper
        keeper.refresh()
        plan = keeper.plan(now_us=self.now_us)
        return tuple(d for d in plan.decisions if isinstance(d, Start))

    def cycle(self) -> list[JobId]:
        """Plan and apply; the jobs that start."""
        starts = self.starts()
        assert apply_plan(self.store, self.cache, starts).refused == 0
        return [start.job for start in starts]

    def end(self, job: JobId, *, retries: int = 0) -> None:
        do(self.store, job, exited(), released(retries=retries))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(node("n1"))


def test_a_job_starts_when_it_becomes_pending(cluster: Cluster) -> None:
    assert cluster.cycle() == []
    job = cluster.submit()
    assert cluster.cycle() == [job]
    assert cluster.cycle() == [], "it runs now"


def test_what_a_running_job_holds_is_free_again_when_it_is_released(cluster: Cluster) -> None:
    first, second = cluster.submit(), cluster.submit()
    assert cluster.cycle() == [first]
    assert cluster.cycle() == []
    cluster.end(first)
    assert cluster.cycle() == [second]


def test_a_job_that_exited_holds_its_node_until_it_is_released(cluster: Cluster) -> None:
    first, _ = cluster.submit(), cluster.submit()
    cluster.cycle()
    do(cluster.store, first, exited())
    assert cluster.cycle() == []


def test_a_cancelled_job_leaves_the_line(cluster: Cluster) -> None:
    first, second = cluster.submit(), cluster.submit()
    cluster.keeper.refresh()
    Commands(cluster.store, cluster.cache).cancel(ANN, first)
    assert cluster.cycle() == [second]


def test_a_node_that_drains_takes_nothing_and_one_that_is_removed_is_forgotten(
    cluster: Cluster,
) -> None:
    cluster.keeper.refresh()
    job = cluster.submit()
    put(cluster.store, Changes(nodes=[replace(node("n1"), state=NodeState.DRAINING)]))
    assert cluster.cycle() == []
    reason = cluster.keeper.reason(job)
    assert reason is not None
    assert reason.code is ReasonCode.NODES_NOT_READY
    put(cluster.store, Changes(removed_nodes=["n1"], nodes=[node("n2")]))
    assert [start.parts[0].node for start in cluster.starts()] == ["n2"]


def test_two_keepers_see_each_others_commits(cluster: Cluster) -> None:
    other = PlanKeeper(cluster.store, SpecCache(cluster.store))
    first, second = cluster.submit(), cluster.submit()
    other.refresh()
    assert cluster.cycle() == [first]
    assert cluster.starts(other) == ()
    cluster.end(first)
    assert [start.job for start in cluster.starts(other)] == [second]


def test_two_keepers_that_plan_the_same_start_it_once(cluster: Cluster) -> None:
    other = PlanKeeper(cluster.store, SpecCache(cluster.store))
    cluster.submit()
    mine, theirs = cluster.starts(), cluster.starts(other)
    assert mine == theirs != ()
    assert apply_plan(cluster.store, cluster.cache, mine).refused == 0
    assert apply_plan(cluster.store, cluster.cache, theirs).refused == 1


def test_a_keeper_that_followed_equals_one_that_starts_cold(cluster: Cluster) -> None:
    put(cluster.store, Changes(nodes=[node("n2", gpus=4), node("n3", gpus=8)]))
    for gpus in (1, 8, 2, 16, 0, 4, 8):
        cluster.submit(Request(gpu_count=gpus, gpu_milli=1000 * bool(gpus)), nodes=1 + gpus // 8)
        cluster.cycle()
    cluster.submit(WHOLE_NODE, constraints={"rack": ("r1",)})
    cluster.keeper.refresh()
    cold = PlanKeeper(cluster.store, SpecCache(cluster.store))
    cold.refresh()
    assert cluster.keeper.plan(now_us=cluster.now_us) == cold.plan(now_us=cluster.now_us)


def test_while_paused_nothing_starts_and_the_reason_is_given(cluster: Cluster) -> None:
    job = cluster.submit()
    cluster.keeper.refresh(paused="the disk is full")
    assert cluster.keeper.plan(now_us=cluster.now_us).decisions == ()
    reason = cluster.keeper.reason(job)
    assert reason is not None
    assert reason.text == "nothing starts now: the disk is full"
    assert cluster.cycle() == [job], "the pause ends although nothing was committed"


def test_a_job_that_came_after_the_last_plan_has_no_reason_yet(cluster: Cluster) -> None:
    assert cluster.keeper.reason(JobId(1)) is None
    cluster.cycle()
    assert cluster.keeper.reason(cluster.submit()) is None


def test_a_waiting_job_is_explained_with_who_holds_what_it_needs(cluster: Cluster) -> None:
    first, second = cluster.submit(), cluster.submit()
    cluster.cycle()
    third = cluster.submit()
    cluster.cycle()
    explained = cluster.keeper.explain(third)
    assert explained is not None
    assert [holder.job for holder in explained.holders] == [first]
    assert explained.ahead == 1
    assert explained.reason == cluster.keeper.reason(second)
    assert cluster.keeper.explain(first) is None, "it runs"


def test_one_unreadable_spec_does_not_keep_the_others_from_starting(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    broken = cluster.submit(WHOLE_NODE)
    row = cluster.store.job(broken)
    assert row is not None
    cluster.tables.specs[row.spec] = "{"
    other = cluster.submit(Request(cpu_milli=4000))
    keeper = PlanKeeper(cluster.store, SpecCache(cluster.store))
    with caplog.at_level(logging.ERROR):
        assert [start.job for start in cluster.starts(keeper)] == [other]
    assert f"job={broken}" in caplog.text


def test_after_an_error_while_following_the_keeper_starts_cold(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.keeper.refresh()
    job = cluster.submit()
    with monkeypatch.context() as broken:
        broken.setattr(Planner, "apply", _defect)
        with pytest.raises(ZeroDivisionError):
            cluster.keeper.refresh()
    assert cluster.cycle() == [job]


def test_a_store_that_cannot_answer_leaves_the_keeper_as_it_was(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cluster.submit()
    cluster.keeper.refresh()
    with monkeypatch.context() as broken:
        broken.setattr(cluster.store, "planning", _unavailable)
        with pytest.raises(Unavailable):
            cluster.keeper.refresh()
    plan = cluster.keeper.plan(now_us=cluster.now_us)
    assert [d.job for d in plan.decisions if isinstance(d, Start)] == [job]


def test_a_store_that_lost_the_history_answers_with_everything(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cluster.submit()
    assert cluster.cycle() == [first]
    cluster.end(first)
    second = cluster.submit()
    planning = cluster.store.planning
    monkeypatch.setattr(cluster.store, "planning", lambda since: planning(0))
    assert cluster.cycle() == [second]


def test_specs_no_longer_in_use_are_forgotten(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenkei.control.planner.SPARE_SPECS", 3)
    keeper = PlanKeeper(cluster.store, cluster.cache)
    for cpu_milli in range(1, 20):
        job = cluster.submit(Request(cpu_milli=cpu_milli))
        keeper.refresh()
        Commands(cluster.store, cluster.cache).cancel(ANN, job)
        keeper.refresh()
        assert len(keeper._tables.by_digest) <= 2 * 1 + 3 + 1


def fails_on(cluster: Cluster, job: JobId, name: str, memory_milli: int = 1000) -> None:
    """The attempt of a job ends because of a node, and the job comes back."""
    lost = e.Released(
        attempt=1,
        next=JobState.PENDING,
        failure=FailureClass.INFRASTRUCTURE,
        avoid=(name,) if name else (),
        memory_milli=memory_milli,
    )

    def decide(view: View) -> tuple[Changes, None]:
        draft = Draft(view)
        row = draft.advance(job, exited(reason=StopReason.NODE_LOST))
        draft.record(row, job, lost)
        return draft.finish(), None

    cluster.store.submit(Unit(reads=Reads(jobs=(job,)), decide=decide)).result()


def nodes_of(cluster: Cluster, job: JobId) -> list[str]:
    (held,) = [a for a in cluster.store.allocations() if a.attempt.job == job]
    return [part.node for part in held.parts]


def test_a_job_is_not_sent_back_to_the_node_that_failed_it() -> None:
    cluster = Cluster(node("n1"), node("n2"))
    job = cluster.submit()
    cluster.cycle()
    fails_on(cluster, job, "n1")
    assert cluster.cycle() == [job]
    assert nodes_of(cluster, job) == ["n2"]


def test_the_applier_refuses_a_start_on_a_node_that_failed_the_job_meanwhile() -> None:
    cluster = Cluster(node("n1"), node("n2"))
    job = cluster.submit()
    (stale,) = cluster.starts()
    cluster.cycle()
    fails_on(cluster, job, "n1")
    assert apply_plan(cluster.store, cluster.cache, (stale,)).refused == 1


def test_a_job_goes_back_to_the_only_node_there_is_and_explain_says_so() -> None:
    cluster = Cluster(node("n1"))
    job = cluster.submit()
    cluster.cycle()
    fails_on(cluster, job, "n1")
    cluster.keeper.refresh()
    account = cluster.keeper.explain(job)
    assert account is not None
    assert (account.failed_on, account.forgives) == (("n1",), True)
    assert cluster.cycle() == [job]


def test_a_gang_that_lost_a_node_keeps_the_others_and_their_ranks() -> None:
    cluster = Cluster(*(node(f"n{i}") for i in range(1, 6)))
    others = [cluster.submit() for _ in range(2)]
    cluster.cycle()
    job = cluster.submit(nodes=3)
    cluster.cycle()
    assert nodes_of(cluster, job) == ["n3", "n4", "n5"]
    for other in others:
        cluster.end(other)
    fails_on(cluster, job, "n4")
    cluster.cycle()
    assert nodes_of(cluster, job) == ["n3", "n1", "n5"]


@pytest.mark.parametrize("cold", [False, True])
def test_a_job_that_ran_out_of_memory_is_planned_and_held_with_more(cold: bool) -> None:
    cluster = Cluster(node("n1", memory_gib=8), node("n2", memory_gib=64))
    job = cluster.submit(Request(memory_bytes=6 * GIB))
    cluster.cycle()
    assert nodes_of(cluster, job) == ["n1"]
    fails_on(cluster, job, "", memory_milli=1500)
    if cold:
        cluster.keeper = PlanKeeper(cluster.store, cluster.cache)
    cluster.cycle()
    (held,) = cluster.store.allocations()
    assert [(p.node, p.request.memory_bytes) for p in held.parts] == [("n2", 9 * GIB)]


def test_a_plan_holds_for_a_moment_in_which_nothing_happened(cluster: Cluster) -> None:
    def planned(after_us: int) -> object:
        cluster.now_us += after_us
        cluster.keeper.refresh()
        return cluster.keeper.plan(now_us=cluster.now_us)

    first = planned(0)
    assert planned(1000) is first
    assert planned(1_000_000) is not first


def test_a_plan_that_starts_something_is_made_again_although_nothing_came_of_it(
    cluster: Cluster,
) -> None:
    job = cluster.submit()
    assert [start.job for start in cluster.starts()] == [job]
    assert [start.job for start in cluster.starts()] == [job]


def test_a_plan_before_any_refresh_is_refused(cluster: Cluster) -> None:
    with pytest.raises(InternalError, match="before any refresh"):
        cluster.keeper.plan(now_us=0)


def test_the_spec_of_a_digest_comes_from_the_shared_cache(cluster: Cluster) -> None:
    row = cluster.store.job(cluster.submit())
    assert row is not None
    assert cluster.keeper.spec_of(row.spec).name == "job"
    with pytest.raises(InternalError):
        cluster.keeper.spec_of(Digest("b3:" + "0" * 64))


def _defect(_planner: Planner, _delta: object) -> None:
    raise ZeroDivisionError


def _unavailable(_since: int) -> PlanningDelta:
    raise Unavailable("store-locked", "the database is locked")
