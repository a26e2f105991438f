"""Over time, in virtual time: what was used follows the weights, and nobody starves."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from tests.queue_worlds import HOUR, NOW, QueueWorld, shape
from zenkei.model.queue import PastUsage, Policy, Queue, counted_s
from zenkei.scheduler.tree import Held

SECOND = 1_000_000


class Cluster:
    """Jobs that run and end: each (queue, user) has as many as are submitted. gangs: their GPUs."""

    def __init__(self, *queues: Queue, size: int, policy: Policy, seed: int = 1) -> None:
        self.world = QueueWorld(*queues, gpus=size, policy=policy)
        self.policy = policy
        self.usage: dict[tuple[str, str], PastUsage] = {}
        self.running: list[tuple[int, int, str, str, int, int]] = []
        self.now_us = NOW
        self.rng = Random(seed)
        self.started: list[int] = []

    def step(self) -> None:
        """Everybody starts who can; then the first job ends."""
        turn = self.world.turn(self.now_us)
        for head in self.world.fill(turn):
            name, user = self.world.queues[head.queue], self.world.users[head.user]
            gang = self.world.classes[head.job_class].request.gpu_count
            self.world.line.leave(head.job.key)
            held = Held.of(shape(gang), 1)
            self.world.tree.hold(head.job.key, name, user, held, self.now_us)
            ends_us = self.now_us + SECOND + int(self.rng.expovariate(1 / 3600) * 1e6)
            self.running.append((ends_us, head.job.key, name, user, gang, self.now_us))
            self.started.append(head.job.key)
        self._end(min(self.running))

    def _end(self, row: tuple[int, int, str, str, int, int]) -> None:
        self.running.remove(row)
        self.now_us, job, name, user, gang, since_us = row
        self.world.tree.let_go(job)
        self.world.give_back(Held.of(shape(gang), 1))
        half_life_s = self.policy.half_life_s
        before = self.usage.get((name, user), PastUsage(name, user, 0.0, 0.0, 0.0, NOW))
        past = before.as_of(self.now_us, half_life_s)
        used_s = counted_s(since_us, self.now_us, half_life_s)
        past = past._replace(gpu_milli_s=past.gpu_milli_s + gang * 1000 * used_s)
        self.usage[name, user] = past
        self.world.tree.use(past)

    def shares(self) -> dict[str, float]:
        """Of what all have used, decayed."""
        tree = self.world.tree
        tree.refresh(self.now_us)
        means = {}
        for queue in tree.config.queues:
            branch = tree.branch(queue.name)
            means[queue.name] = tree.mean(branch.held, branch.early, branch.past)[2]
        whole = sum(means[q.name] for q in tree.config.queues if not q.parent)
        return {name: mean / whole for name, mean in means.items()}


@pytest.mark.parametrize("seed", range(2))
def test_decayed_usage_comes_to_the_weights(seed: int) -> None:
    weights = {"a": 500, "b": 1000, "c": 2500}
    gangs = {"a": 1, "b": 2, "c": 1}
    queues = [Queue(name=name, weight_milli=weight) for name, weight in weights.items()]
    policy = Policy(half_life_s=48 * 3600.0, ageing_s=0)
    cluster = Cluster(*queues, size=64, policy=policy, seed=seed)
    for name, gang in gangs.items():
        cluster.world.submit(name, shape(gang), 20_000)
    for _ in range(7_000):
        cluster.step()
    for name, share in cluster.shares().items():
        assert share == pytest.approx(weights[name] / 4000, abs=0.02)


def test_decayed_usage_comes_to_the_weights_at_each_level() -> None:
    queues = [
        Queue(name="one", weight_milli=3000),
        Queue(name="two"),
        Queue(name="one0", parent="one"),
        Queue(name="one1", parent="one", weight_milli=2000),
        Queue(name="two0", parent="two"),
    ]
    policy = Policy(half_life_s=48 * 3600.0, ageing_s=0)
    cluster = Cluster(*queues, size=48, policy=policy)
    for name in ("one0", "one1", "two0"):
        cluster.world.submit(name, shape(1), 20_000)
    for _ in range(6_000):
        cluster.step()
    exact = {"one": 0.75, "two": 0.25, "one0": 0.25, "one1": 0.5, "two0": 0.25}
    assert cluster.shares() == {name: pytest.approx(one, abs=0.02) for name, one in exact.items()}


def test_who_had_nothing_for_long_catches_up() -> None:
    policy = Policy(half_life_s=24 * 3600.0, ageing_s=0)
    cluster = Cluster(Queue(name="a"), Queue(name="b"), size=16, policy=policy)
    cluster.world.submit("a", shape(1), 20_000)
    for _ in range(2_000):
        cluster.step()
    cluster.world.submit("b", shape(1), 20_000)
    for _ in range(400):
        cluster.step()
    held = [cluster.world.tree.branch(name).held[2] for name in "ab"]
    assert held[1] > held[0], "while its past is smaller it has more than half"
    for _ in range(4_000):
        cluster.step()
    assert cluster.shares()["b"] == pytest.approx(0.5, abs=0.02)


AGEING = Policy(half_life_s=24 * 3600.0, ageing_s=2 * 3600.0)


def steps_until(cluster: Cluster, job: int, arrive: object, most: int = 2_000) -> int:
    """Steps until a job starts although `arrive` brings others before each."""
    assert callable(arrive)
    for step in count():
        assert step < most, "it starves"
        arrive(step)
        cluster.step()
        if job in cluster.started:
            return step
    raise AssertionError


def full(cluster: Cluster) -> None:
    for _ in range(20):
        cluster.world.submit("a", shape(1), user="zoe", priority=9, at_us=cluster.now_us)
    cluster.step()


def test_a_low_priority_starts_although_higher_ones_never_stop_coming() -> None:
    cluster = Cluster(Queue(name="a"), size=4, policy=AGEING)
    full(cluster)
    (old,) = cluster.world.submit("a", user="ann", priority=-3, at_us=cluster.now_us)
    begun_us = cluster.now_us

    def arrive(step: int) -> None:
        cluster.world.submit("a", times=3, user=f"u{step % 3}", at_us=cluster.now_us)

    steps_until(cluster, old, arrive)
    assert cluster.now_us - begun_us < 30 * HOUR


def test_a_user_who_holds_much_starts_another_although_new_users_never_stop_coming() -> None:
    cluster = Cluster(Queue(name="a"), size=4, policy=AGEING)
    cluster.world.hold("a", shape(2), user="ann", since_us=NOW)
    (job,) = cluster.world.submit("a", user="ann", at_us=NOW)

    def arrive(step: int) -> None:
        cluster.world.submit("a", times=3, user=f"new{step}", at_us=cluster.now_us)

    steps_until(cluster, job, arrive)
    assert cluster.now_us - NOW < 6 * HOUR


def test_the_same_history_makes_the_same_order() -> None:
    def history() -> list[int]:
        cluster = Cluster(Queue(name="a"), Queue(name="b"), size=8, policy=AGEING)
        for number in range(300):
            name, user = "ab"[number % 2], f"u{number % 5}"
            cluster.world.submit(name, shape(1 + number % 3), user=user, priority=number % 4)
        for _ in range(200):
            cluster.step()
        return cluster.started

    assert history() == history()
