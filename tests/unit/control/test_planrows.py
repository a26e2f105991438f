"""What the planner is told of waiting and running jobs and of claims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import do, put
from tests.planner_worlds import node
from tests.unit.control.test_planner import ANN, WHOLE_NODE, Cluster
from zenkei.control.commands import Commands
from zenkei.control.planrows import PlanRows, Tables, Told, note, plan_rows
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal
from zenkei.model.cluster import NodePart
from zenkei.model.ids import JobId
from zenkei.model.job import (
    PREEMPTION_WINDOW_US,
    JobSpec,
    ResourceRequest,
    RetryPolicy,
    StopReason,
    Topology,
)
from zenkei.model.resources import DeviceShare, Request
from zenkei.ports.store import Changes
from zenkei.scheduler import Claim, Delta, HeldPart, Planner

PART = NodePart(node="n1", request=WHOLE_NODE)
BOB = Principal(name="bob", uid=1001)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(node("n1"), node("n2"))


def rows(cluster: Cluster, tables: Tables | None = None) -> PlanRows:
    made = Tables() if tables is None else tables
    return plan_rows(cluster.store.planning(0), made, cluster.cache)


def run(cluster: Cluster, job: JobId, *parts: NodePart) -> None:
    cluster.now_us += 1_000_000
    do(cluster.store, job, c.Allocate(cluster="x", parts=parts or (PART,)))
    cluster.now_us += 2_000_000
    attempt = cluster.store.job(job).attempt  # type: ignore[union-attr]
    do(cluster.store, job, c.ReportStarted(attempt=attempt))


def displace(cluster: Cluster, job: JobId) -> None:
    row = cluster.store.job(job)
    assert row is not None
    stop = c.Stop(attempt=row.attempt, reason=StopReason.PREEMPTED, favoured="9", why="priority")
    do(cluster.store, job, stop)


def back(cluster: Cluster, job: JobId) -> None:
    row = cluster.store.job(job)
    assert row is not None
    do(cluster.store, job, c.ReportReleased(attempt=row.attempt, policy=RetryPolicy()))


def test_people_queues_and_limits_of_waiting_jobs_are_told(cluster: Cluster) -> None:
    cluster.submit(time_limit_s=60.0, grace_s=5.0)
    spec = JobSpec(name="job", command="true", queue="fast", priority=4)
    (other,) = Commands(cluster.store, cluster.cache).submit(BOB, spec)
    do(cluster.store, other, c.Prepare())
    tables = Tables()
    first, second = sorted(rows(cluster, tables).waiting)
    names = list(tables.users)
    assert (names[first.user], first.limit_us, first.priority) == ("ann", 65_000_000, 0)
    assert (names[second.user], second.limit_us, second.priority) == ("bob", 0, 4)
    assert list(tables.queues)[second.queue] == "fast"


def test_how_few_nodes_will_do_and_how_close_they_must_be_makes_the_class(
    cluster: Cluster,
) -> None:
    resources = ResourceRequest(nodes=4, least=2, node=WHOLE_NODE)
    for topology in (Topology(level="rack"), Topology(level="leaf", required=True)):
        spec = JobSpec(name="job", command="true", resources=resources, topology=topology)
        (job,) = Commands(cluster.store, cluster.cache).submit(ANN, spec)
        do(cluster.store, job, c.Prepare())
    tables = Tables()
    rows(cluster, tables)
    found = {(k.nodes, k.least, k.level, k.required) for k in tables.classes}
    assert found == {(4, 2, "rack", False), (4, 2, "leaf", True)}


def test_a_running_job_is_told_with_since_when_and_what_it_would_lose(cluster: Cluster) -> None:
    job = cluster.submit(time_limit_s=60.0, grace_s=0.0)
    run(cluster, job, PART, replace(PART, node="n2"))
    (row,) = rows(cluster).running
    since_us = cluster.now_us - 2_000_000
    assert (row.since_us, row.saved_us, row.nodes) == (since_us, since_us, 2)
    assert row.limit_us == 62_000_000, "the limit counts from the start of its ranks"
    do(cluster.store, job, c.ReportCheckpoint(attempt=1, step=1, parts=()))
    (row,) = rows(cluster).running
    assert (row.since_us, row.saved_us, row.stopping) == (since_us, cluster.now_us, 0)
    displace(cluster, job)
    (row,) = rows(cluster).running
    assert (row.preemptions, row.stopping) == (1, 1)


def test_a_gang_that_runs_is_of_the_same_class_as_when_it_waited(cluster: Cluster) -> None:
    job, tables = cluster.submit(nodes=2), Tables()
    (waiting,) = rows(cluster, tables).waiting
    run(cluster, job, PART, replace(PART, node="n2"))
    (running,) = rows(cluster, tables).running
    assert running.job_class == waiting.job_class


def test_a_claim_names_the_parts_that_are_kept_free(cluster: Cluster) -> None:
    job = cluster.submit()
    asked = Request(cpu_milli=500, memory_bytes=7, tmp_bytes=8, gpu_count=1, gpu_milli=1000)
    part = NodePart(node="n2", request=asked, devices=(DeviceShare(3, 1000),))
    do(cluster.store, job, c.Claim(cluster="x", parts=(part,), until_us=99))
    held = HeldPart(job.key, "n2", 500, 7, 8, (DeviceShare(3, 1000),))
    assert rows(cluster).claims == (Claim(job.key, (held,), 99),)
    run(cluster, job)
    assert rows(cluster).claims == ()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Delta]:
    """The deltas that any planner takes in."""
    deltas: list[Delta] = []
    apply = Planner.apply

    def spy(self: Planner, delta: Delta) -> Any:
        deltas.append(delta)
        return apply(self, delta)

    monkeypatch.setattr(Planner, "apply", spy)
    return deltas


def test_a_displacement_stops_counting_after_an_hour_although_nothing_happens(
    cluster: Cluster, told: list[Delta]
) -> None:
    cluster.keeper.refresh()
    job = cluster.submit()
    run(cluster, job)
    displace(cluster, job)
    at_us = cluster.now_us
    back(cluster, job)
    run(cluster, job)
    cluster.keeper.refresh()
    assert [row.preemptions for row in told[-1].running] == [1]
    told.clear()
    cluster.now_us = at_us + PREEMPTION_WINDOW_US - 1
    cluster.keeper.refresh()
    assert told == []
    cluster.now_us += 1
    cluster.keeper.refresh()
    (row,) = told[-1].running
    assert (row.preemptions, told[-1].changed) == (0, (job.key,))
    assert [part.node for part in told[-1].held] == ["n1"]
    cluster.keeper.refresh()
    assert len(told) == 1


def test_what_is_configured_and_used_reaches_the_planner(
    cluster: Cluster, told: list[Delta]
) -> None:
    cluster.keeper.refresh()
    job = cluster.submit()
    run(cluster, job)
    cluster.now_us += 10_000_000
    displace(cluster, job)
    back(cluster, job)
    cluster.keeper.refresh()
    (used,) = told[-1].usage
    assert (used.user, used.queue) == ("ann", "default")
    put(cluster.store, Changes(nodes=[node("n3")]))
    cluster.keeper.refresh()
    assert told[-1].usage == ()


def news(
    cluster: Cluster, told: dict[int, Told], since: int, tables: Tables
) -> tuple[set[int], int]:
    """Jobs of which the planner must hear, of what was committed after `since`."""
    delta = cluster.store.planning(since)
    found = note(told, delta.jobs, plan_rows(delta, tables, cluster.cache))
    return set(found), delta.seq


def test_that_ranks_begin_and_that_a_result_is_kept_is_no_news_for_a_plan(cluster: Cluster) -> None:
    told: dict[int, Told] = {}
    tables = Tables()
    job = cluster.submit()
    heard, seq = news(cluster, told, 0, tables)
    assert heard == {job.key}
    do(cluster.store, job, c.Allocate(cluster="x", parts=(PART,)))
    heard, seq = news(cluster, told, seq, tables)
    assert heard == {job.key}
    do(cluster.store, job, c.ReportStarted(attempt=1))
    heard, seq = news(cluster, told, seq, tables)
    assert heard == set()
    cluster.end(job)
    heard, seq = news(cluster, told, seq, tables)
    assert heard == {job.key}
    assert told == {}


def test_when_the_ranks_of_a_job_with_a_limit_begin_its_end_is_another(cluster: Cluster) -> None:
    told: dict[int, Told] = {}
    tables = Tables()
    job = cluster.submit(time_limit_s=60.0)
    do(cluster.store, job, c.Allocate(cluster="x", parts=(PART,)))
    _, seq = news(cluster, told, 0, tables)
    cluster.now_us += 5_000_000
    do(cluster.store, job, c.ReportStarted(attempt=1))
    assert news(cluster, told, seq, tables)[0] == {job.key}
