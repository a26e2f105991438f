"""The tree of queues: what it refuses, what it adds up, and that its history cannot be told."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planner_worlds import node
from tests.queue_worlds import HOUR, NOW, shape
from zenkei.model.queue import Amounts, ClusterConfig, PastUsage, Policy, Queue
from zenkei.scheduler.tree import Held, QueueTree

DAY_S = 86_400.0


def gpus(number: float) -> Amounts:
    return Amounts(gpu_milli=int(number * 1000))


def tree(*queues: Queue, **policy: float) -> QueueTree:
    made = QueueTree(ClusterConfig(queues=queues, policy=Policy(**policy)))  # type: ignore[arg-type]
    made.put_node(node("a", gpus=16))
    return made


def test_queues_that_are_their_own_parents_are_refused_with_their_names() -> None:
    with pytest.raises(ValueError, match=r"own parents: a -> b -> c -> a$"):
        tree(
            Queue(name="a", parent="b"),
            Queue(name="b", parent="c"),
            Queue(name="c", parent="a"),
            Queue(name="d", parent="a"),
            Queue(name="fine"),
        )


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ((Queue(name="a", parent="nobody"),), "`a` has no parent `nobody`"),
        ((Queue(name="a"), Queue(name="a")), "more than one queue `a`"),
        ((Queue(name=""),), "more than one queue ``"),
    ],
)
def test_what_is_no_tree_is_refused(queues: tuple[Queue, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tree(*queues)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="must be numbers"):
        tree(half_life_s=number)
    with pytest.raises(ValueError, match="is no amount"):
        tree().use(PastUsage("q", "ann", 0.0, number, 0.0, 0))


def test_a_refused_configuration_leaves_the_one_in_force() -> None:
    made = tree(Queue(name="a", quota=gpus(4)))
    with pytest.raises(ValueError, match="own parents"):
        made.configure(ClusterConfig(queues=(Queue(name="x", parent="x"),)))
    made.refresh(NOW)
    assert made.branch("a").terms.quota == ((2, 4000),)


def test_a_queue_without_quota_has_the_sum_of_its_childrens() -> None:
    made = tree(
        Queue(name="top"),
        Queue(name="a", parent="top", quota=gpus(4)),
        Queue(name="b", parent="top", quota=Amounts(cpu_milli=8000, gpu_milli=2000)),
        Queue(name="c", parent="top"),
    )
    made.refresh(NOW)
    assert made.branch("top").terms.quota == ((0, 8000), (2, 6000))
    assert made.branch("c").terms.quota == ()


def test_what_a_job_holds_counts_in_all_queues_above_it() -> None:
    made = tree(Queue(name="top"), Queue(name="a", parent="top"))
    made.hold(1, "a", "ann", Held.of(shape(2), 1), NOW)
    made.refresh(NOW)
    made.hold(2, "top", "bob", Held.of(shape(1), 1), NOW)
    made.let_go(2)
    assert [made.branch(name).held[2] for name in ("a", "top")] == [2000, 2000]
    made.let_go(1)
    made.let_go(1)
    assert [made.branch(name).held for name in ("a", "top")] == [[0, 0, 0]] * 2


def test_jobs_keep_what_they_hold_when_the_configuration_changes() -> None:
    made = tree(Queue(name="a"), Queue(name="b"))
    made.hold(1, "a", "ann", Held.of(shape(2), 1), NOW)
    quota = Amounts(kinds=(("A100", 4000),))
    made.configure(ClusterConfig(queues=(Queue(name="b", quota=quota),)))
    made.refresh(NOW)
    assert made.branch("a").missing
    assert made.branch("a").held == [1000, 1 << 30, 2000, 0]


def mean_gpus(made: QueueTree, name: str, now_us: int) -> float:
    made.refresh(now_us)
    queue = made.branch(name)
    return made.mean(queue.held, queue.early, queue.past)[2] / 1000


def test_who_has_held_something_for_ever_has_that_mean_and_half_after_a_half_life() -> None:
    made = tree(half_life_s=DAY_S)
    made.hold(1, "a", "ann", Held.of(shape(4), 1), NOW - 2000 * HOUR)
    assert mean_gpus(made, "a", NOW) == pytest.approx(4, rel=1e-6)
    made.let_go(1)
    held_s = 4000 * DAY_S / math.log(2)
    made.use(PastUsage("a", "ann", 0.0, 0.0, held_s, NOW))
    assert mean_gpus(made, "a", NOW + 24 * HOUR) == pytest.approx(2, rel=1e-6)


def test_what_is_held_since_a_half_life_makes_half_the_mean() -> None:
    made = tree(half_life_s=DAY_S)
    made.hold(1, "a", "ann", Held.of(shape(4), 1), NOW - 24 * HOUR)
    assert mean_gpus(made, "a", NOW) == pytest.approx(2, rel=1e-6)


def test_what_began_ahead_of_a_clock_that_was_set_back_has_no_past() -> None:
    made = tree(half_life_s=DAY_S)
    made.hold(1, "a", "ann", Held.of(shape(4), 1), NOW + 9 * HOUR)
    made.hold(2, "a", "ann", Held.of(shape(4), 1), NOW - 24 * HOUR)
    assert mean_gpus(made, "a", NOW) == pytest.approx(2, rel=1e-6)


@given(st.randoms(), st.lists(st.integers(0, 10**4), min_size=1, max_size=6))
def test_however_it_came_about_a_tree_is_the_same(rng: Random, hours: list[int]) -> None:
    queues = [Queue(name="top"), *(Queue(name=n, parent="top") for n in "abc")]
    config = ClusterConfig(queues=tuple(queues), policy=Policy(half_life_s=DAY_S))
    known: dict[int, tuple[str, str, Held, int]] = {}
    usage: dict[tuple[str, str], PastUsage] = {}
    made = QueueTree(config)
    now_us = NOW
    for hour in hours:
        now_us = NOW + hour * HOUR
        for job in rng.sample(range(20), 8):
            if job in known:
                made.let_go(job)
                del known[job]
            else:
                held = Held.of(shape(rng.randrange(5)), rng.randint(1, 3))
                begun_us = now_us - rng.randrange(99 * HOUR)
                known[job] = rng.choice("abc"), rng.choice(("ann", "bob")), held, begun_us
                made.hold(job, *known[job])
        row = PastUsage(rng.choice("abc"), "ann", 1e9, 1e20, rng.random() * 1e9, now_us)
        usage[row[:2]] = row
        made.use(row)
        made.refresh(now_us)
    cold = QueueTree(config)
    for row in rng.sample([*usage.values()], len(usage)):
        cold.use(row)
    for job in rng.sample([*known], len(known)):
        cold.hold(job, *known[job])
    cold.refresh(now_us)
    for name in ("top", "a", "b", "c"):
        one, other = made.branch(name), cold.branch(name)
        assert made.mean(one.held, one.early, one.past) == cold.mean(
            other.held, other.early, other.past
        )
        people = {n: (p.held, p.past, p.jobs) for n, p in one.people.items() if p.jobs}
        assert people == {n: (p.held, p.past, p.jobs) for n, p in other.people.items() if p.jobs}
