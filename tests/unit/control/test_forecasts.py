"""What is likely of jobs: learned as they end, told to the planner, never from a user's limit."""

from __future__ import annotations

import pytest

from tests.builders import do, exited, put, released, started
from tests.planner_worlds import node
from tests.unit.control.test_learning import LaterWorkers
from zenkei.control.apply import apply_plan
from zenkei.control.cluster import ClusterCommands
from zenkei.control.commands import Commands
from zenkei.control.forecasts import Forecasts
from zenkei.control.learning import Learning
from zenkei.control.planner import PlanKeeper, uses_forecasts
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal
from zenkei.model.ids import JobId
from zenkei.model.job import JobSpec, ResourceRequest
from zenkei.model.queue import ClusterConfig, Order, Policy, Queue
from zenkei.model.resources import Request
from zenkei.ports.store import Changes
from zenkei.scheduler import Plan, Preempt, PreemptReason, Reserve, Start
from zenkei.store.memory import MemoryStore, Tables

ANN = Principal(name="ann", uid=1000)
OPERATOR = Principal(name="operator", uid=0, operator=True)
MINUTE, HOUR = 60, 3600


class Now:
    """Workers that do everything at once."""

    def submit(self, lane: str, work: object) -> None:
        assert callable(work)
        work()


class Cluster:
    """One node of 8 CPUs, and time."""

    def __init__(self, policy: str, nodes: int = 1) -> None:
        self.now_us = 1_000_000
        self.store = MemoryStore(lambda: self.now_us, tables=Tables())
        self.cache = SpecCache(self.store)
        put(self.store, Changes(nodes=[node(f"n{i}") for i in range(nodes)]))
        config = f"{{policy: {{{policy}}}}}".encode()
        ClusterCommands(self.store).apply(OPERATOR, config, file="cluster.yaml")
        self.keeper = self.another()

    def another(self) -> PlanKeeper:
        """A controller that starts now."""
        learning = Learning(self.store, self.cache, Now())
        forecasts = Forecasts(self.store, self.cache, Now())
        keeper = PlanKeeper(self.store, self.cache, learning, forecasts)
        keeper.refresh()
        return keeper

    def passes(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)

    def submit(self, command: str, cpus: int = 8, nodes: int = 1, **more: object) -> JobId:
        asks = ResourceRequest(nodes=nodes, node=Request(cpu_milli=1000 * cpus))
        spec = JobSpec(name=command, command=command, resources=asks, **more)  # type: ignore[arg-type]
        (job,) = Commands(self.store, self.cache).submit(ANN, spec)
        do(self.store, job, c.Prepare())
        return job

    def plan(self) -> Plan:
        self.keeper.refresh()
        return self.keeper.plan(now_us=self.now_us)

    def starts(self) -> list[JobId]:
        """Who starts now, and has begun."""
        made = self.plan()
        begun = [d.job for d in made.decisions if isinstance(d, Start)]
        assert apply_plan(self.store, self.cache, made.decisions).refused == 0
        for job in begun:
            do(self.store, job, started())
        return begun

    def end(self, job: JobId) -> None:
        do(self.store, job, exited(), released())

    def history(self, command: str, seconds: float, times: int = 8) -> None:
        """So many jobs of the kind have run so long, one after the other."""
        for _ in range(times):
            job = self.submit(command)
            assert self.starts() == [job]
            self.passes(seconds)
            self.end(job)
        self.passes(2 * MINUTE)


def known(policy: str, nodes: int = 1) -> Cluster:
    cluster = Cluster(policy, nodes)
    cluster.history("train", 4 * HOUR)
    cluster.history("test", MINUTE)
    return cluster


@pytest.mark.parametrize("order", [Order.FAIR, Order.LEARNED])
def test_who_ends_soonest_is_first_where_the_order_is_learned(order: Order) -> None:
    cluster = known(f"order: {order}")
    train = cluster.submit("train")
    test = cluster.submit("test")
    assert cluster.starts() == [train if order is Order.FAIR else test]


def test_a_controller_that_starts_learns_from_what_its_store_knows() -> None:
    cluster = known("order: learned")
    cluster.keeper = cluster.another()
    cluster.submit("train")
    test = cluster.submit("test")
    assert cluster.starts() == [test]


def test_a_job_that_is_worth_much_more_takes_the_place_of_one_of_its_queue() -> None:
    cluster = known("order: learned, protect: 2m")
    train = cluster.submit("train")
    assert cluster.starts() == [train]
    test = cluster.submit("test")
    cluster.passes(60)
    assert not [d for d in cluster.plan().decisions if isinstance(d, Preempt)], "it is protected"
    cluster.passes(61)
    (told,) = (d for d in cluster.plan().decisions if isinstance(d, Preempt))
    assert (told.victim, told.favoured, told.reason) == (train, test, PreemptReason.WORTH)


@pytest.mark.parametrize("order", [Order.FAIR, Order.LEARNED])
def test_a_job_that_is_worth_a_little_more_waits(order: Order) -> None:
    cluster = known(f"order: {order}, protect: 0s")
    first = cluster.submit("train")
    assert cluster.starts() == [first]
    cluster.passes(3 * HOUR)
    cluster.submit("train")
    assert not [d for d in cluster.plan().decisions if isinstance(d, Preempt)]


def test_short_jobs_pass_a_gang_that_is_promised_nodes_without_any_time_limit() -> None:
    """Nobody set a limit: what is learned says when the gang starts, and who has ended by then."""
    cluster = known("preempt: false", nodes=2)
    train = cluster.submit("train")
    assert cluster.starts() == [train]
    cluster.passes(HOUR)
    gang = cluster.submit("train", nodes=2)
    (promised,) = (d for d in cluster.plan().decisions if isinstance(d, Reserve))
    assert promised.job == gang
    assert promised.at_us > cluster.now_us + HOUR * 1e6
    test, other = cluster.submit("test", cpus=4), cluster.submit("train", cpus=4)
    assert cluster.starts() == [test]
    assert other not in cluster.starts()


def test_what_runs_longer_than_was_likely_is_thought_to_run_on() -> None:
    cluster = known("preempt: false", nodes=2)
    test = cluster.submit("test")
    assert cluster.starts() == [test]
    cluster.submit("train", nodes=2)
    for _ in range(6):
        cluster.passes(10 * MINUTE)
        (promised,) = (d for d in cluster.plan().decisions if isinstance(d, Reserve))
        assert promised.at_us > cluster.now_us


def test_a_queue_asks_for_no_order_of_its_own_where_all_are_in_one_line() -> None:
    cluster = Cluster("order: fifo, protect: 0s}, queues: {default: {order: learned}")
    cluster.history("train", 4 * HOUR)
    cluster.history("test", MINUTE)
    train = cluster.submit("train")
    assert cluster.starts() == [train]
    cluster.submit("test")
    cluster.passes(HOUR)
    assert not [d for d in cluster.plan().decisions if isinstance(d, Preempt)]


def test_what_ends_while_the_past_is_read_is_learned_once() -> None:
    """Nobody asks for forecasts yet: what ended is kept beside the store, which has it too."""
    cluster, later = Cluster("order: fifo, reserve_gangs: 0"), LaterWorkers()
    forecasts = Forecasts(cluster.store, cluster.cache, later)
    before = cluster.store.planning(0)
    cluster.history("test", MINUTE, times=1)
    news = cluster.store.planning(before.seq)
    forecasts.saw(news, asked=False)
    later.run()
    cluster.history("train", HOUR, times=1)
    forecasts.saw(cluster.store.planning(news.seq), asked=True)
    assert forecasts.mean_us == (MINUTE + HOUR) * 1_000_000 // 2


def test_a_users_limit_is_not_an_estimate() -> None:
    cluster = Cluster("order: learned")
    for _ in range(8):
        job = cluster.submit("train", time_limit_s=100 * HOUR)
        assert cluster.starts() == [job]
        cluster.passes(4 * HOUR)
        cluster.end(job)
    cluster.history("test", MINUTE)
    cluster.passes(2 * MINUTE)
    cluster.submit("train", time_limit_s=10.0)
    test = cluster.submit("test", time_limit_s=100 * HOUR)
    assert cluster.starts() == [test]


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (ClusterConfig(), True),
        (ClusterConfig(policy=Policy(reserve_gangs=0)), False),
        (ClusterConfig(policy=Policy(order=Order.LEARNED, reserve_gangs=0)), True),
        (
            ClusterConfig(
                policy=Policy(order=Order.FIFO, reserve_gangs=0),
                queues=(Queue(name="a", order=Order.LEARNED),),
            ),
            True,
        ),
        (ClusterConfig(policy=Policy(order=Order.FIFO, reserve_gangs=0)), False),
    ],
)
def test_only_promises_and_learned_orders_ask_how_long_jobs_run(
    config: ClusterConfig, asked: bool
) -> None:
    assert uses_forecasts(config) is asked


def test_what_ended_while_nobody_asked_is_known_when_somebody_does() -> None:
    cluster = known("order: fifo, reserve_gangs: 0")
    train = cluster.submit("train")
    test = cluster.submit("test")
    file = b"policy: {order: learned}"
    ClusterCommands(cluster.store).apply(OPERATOR, file, file="cluster.yaml")
    assert cluster.starts() == [test]
    assert train != test
