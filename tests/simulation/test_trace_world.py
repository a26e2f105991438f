"""A trace through the production control plane, against a simulation that knows nothing of it."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush

import pytest

from tests.effort import tries
from zenkei.model.job import JobState
from zenkei.sim.faults import PROFILES
from zenkei.sim.figures import figures
from zenkei.sim.generating import Mix, Size, generate
from zenkei.sim.policies import cluster_file
from zenkei.sim.replaying import Costs
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import TraceJob, counted, one_node, read_nodes
from zenkei.sim.traceworld import Setting, TraceWorld

SIZES = (
    Size(1, 1, 0.6, 1.0),
    Size(1, 2, 0.1, 1.0),
    Size(1, 4, 0.15, 2.0),
    Size(1, 8, 0.1, 2.0),
    Size(3, 8, 0.05, 2.0),
)
CROWDED = Mix(load=0.95, sizes=SIZES, swing=0.3, longest_s=100_000.0)
NODES = read_nodes("6x8")


def played(jobs: tuple[TraceJob, ...], policy: str, **more: object) -> TraceWorld:
    text, _ = cluster_file(policy)
    setting = replace(Setting(policy=text), **more)  # type: ignore[arg-type]
    world = TraceWorld(jobs, NODES, setting)
    world.run()
    return world


def by_lists(jobs: tuple[TraceJob, ...], *, strict: bool) -> list[float]:
    """Waits when jobs are tried in order at each arrival and each end: six nodes, best fit."""
    free = [8] * 6
    waiting: list[TraceJob] = []
    ends: list[tuple[int, int, tuple[int, ...], int]] = []
    waits: dict[str, float] = {}
    arrivals = list(jobs)
    while arrivals or ends:
        now = min([*(job.submit_us for job in arrivals[:1]), *(end[0] for end in ends[:1])])
        while ends and ends[0][0] == now:
            for node in (done := heappop(ends))[2]:
                free[node] += done[3]
        while arrivals and arrivals[0].submit_us == now:
            waiting.append(arrivals.pop(0))
        for job in list(waiting):
            fit = sorted((free[n], n) for n in range(6) if free[n] >= job.gpu_count)[: job.nodes]
            if len(fit) == job.nodes:
                for _, node in fit:
                    free[node] -= job.gpu_count
                nodes = tuple(node for _, node in fit)
                heappush(ends, (now + job.duration_us, len(waits), nodes, job.gpu_count))
                waits[job.name] = (now - job.submit_us) / 1e6
                waiting.remove(job)
            elif strict:
                break
    return [waits[job.name] for job in jobs]


@pytest.mark.parametrize(("policy", "strict"), [("fifo", False), ("fifo-strict", True)])
def test_first_come_first_served_waits_as_a_simulation_with_lists_says(
    policy: str, strict: bool
) -> None:
    jobs = generate(tries(2000, least=400), 48, CROWDED, seed=4)
    world = played(jobs, policy)
    waits = [(s.first_us - world.began_us - s.job.submit_us) / 1e6 for s in world.stories]
    expected = by_lists(jobs, strict=strict)
    assert sum(expected) > 100 * len(jobs), "somebody must really wait"
    assert sum(waits) == pytest.approx(sum(expected), rel=0.01)
    same = sum(a == b for a, b in zip(waits, expected, strict=True))
    assert same > 0.97 * len(jobs)


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    jobs = generate(80, 48, CROWDED, seed=1)
    runs = [
        played(jobs, "fifo", rates=PROFILES["harsh"], seed=seed, check=Check.OFF)
        for seed in (1, 1, 2)
    ]
    logs = [run.tables.events for run in runs]
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


@pytest.mark.parametrize(
    ("policy", "seeds"), [("fifo", 6), ("fifo-strict", 4), ("fairshare", 2), ("learned", 2)]
)
def test_whatever_goes_wrong_every_job_comes_to_its_end_once(policy: str, seeds: int) -> None:
    crashes = failures = 0
    for seed in range(tries(seeds, least=2)):
        jobs = generate(100, 48, CROWDED, seed=seed)
        world = played(jobs, policy, rates=PROFILES["harsh"], seed=seed, check=Check.EVERY)
        crashes += world.faults.crashes
        failures += sum(one.failed for one in world.stories)
        states = {row.state for row in world.tables.jobs.values()}
        assert states == {JobState.SUCCEEDED}
    assert crashes > 3
    assert failures > 3, "the faults must really happen"


def test_a_start_costs_what_is_said_and_plans_are_made_at_rounds_only() -> None:
    jobs = (TraceJob("a", "u", "q", "", 10_000_000, 100_000_000, gpu_count=4, gpu_milli=1000),)
    costs = Costs(start_s=30.0)
    world = played(jobs, "fifo", costs=costs, round_s=60.0)
    found = figures(world.stories, NODES, round_s=60.0, costs=costs)
    assert (found.wait_mean_s, found.jct_mean_s) == (50.0, 180.0)


def test_short_jobs_wait_less_where_run_times_are_learned_and_nobody_is_told_them() -> None:
    """Two kinds of jobs in turn, of 100 s and of 3,000 s: the later ones are known by the first."""
    jobs = tuple(
        TraceJob(
            f"{kind}-{number}",
            "u",
            "q",
            kind,
            (60 * number + 10) * 1_000_000,
            seconds * 1_000_000,
            gpu_count=4,
            gpu_milli=1000,
        )
        for number in range(60)
        for kind, seconds in (("short", 100), ("long", 3000))
    )
    means = {}
    for policy in ("fifo", "learned"):
        world = played(jobs, policy)
        found = figures(world.stories, NODES, round_s=0.0, costs=Costs())
        means[policy] = found.jct_mean_s or 0.0
        assert sum(one.displaced for one in world.stories) == 0 or policy == "learned"
    assert 0 < means["learned"] < 0.8 * means["fifo"]


def test_a_displaced_job_goes_on_where_it_was_and_pays_for_it() -> None:
    """A queue below its quota takes back what another one has borrowed."""
    file = """
queues: {a: {quota: {gpus: 8}}, b: {quota: {gpus: 0}, borrow: true}}
policy: {protect: 1s}
"""
    borrower = TraceJob("b", "u", "b", "", 0, 1000_000_000, gpu_count=8, gpu_milli=1000)
    owner = borrower._replace(name="a", queue="a", submit_us=100_000_000, duration_us=50_000_000)
    costs = Costs(restart_s=30.0, checkpoint_s=30.0)
    setting = Setting(policy=file.encode(), costs=costs, check=Check.EVERY)
    world = TraceWorld((borrower, owner), read_nodes("1x8"), setting)
    world.run()
    first, second = world.stories
    began = world.began_us
    assert first.displaced == 1
    assert (second.first_us - began) / 1e6 == pytest.approx(130.0), "after the checkpoint"
    assert (second.ended_us - began) / 1e6 == pytest.approx(180.0)
    # 100 s were done, then 30 s to come back, then the other 900
    assert (first.ended_us - began) / 1e6 == pytest.approx(180.0 + 30.0 + 900.0, abs=0.01)


def test_where_gpus_are_counted_a_gang_is_not_kept_waiting_by_how_they_are_spread() -> None:
    spread = tuple(
        TraceJob(f"s{i}", "u", "q", "", 0, 10**9, gpu_count=5, gpu_milli=1000) for i in range(6)
    )
    large = TraceJob("l", "u", "q", "", 1_000_000, 10**9, nodes=2, gpu_count=8, gpu_milli=1000)
    placed = played((*spread, large), "fifo")
    assert placed.stories[-1].first_us == placed.began_us + 10**9
    text, _ = cluster_file("fifo")
    jobs = tuple(map(counted, (*spread, large)))
    world = TraceWorld(jobs, one_node(NODES), Setting(policy=text))
    world.run()
    assert world.stories[-1].first_us == world.began_us + 1_000_000


def test_a_job_that_no_node_can_hold_is_left_waiting_and_told() -> None:
    whale = TraceJob("w", "u", "q", "", 0, 10**6, nodes=7, gpu_count=8, gpu_milli=1000)
    small = TraceJob("s", "u", "q", "", 0, 10**6, gpu_count=1, gpu_milli=1000)
    world = played((whale, small), "fifo")
    assert world.waiting == 1
    assert [story.ended_us > 0 for story in world.stories] == [False, True]
