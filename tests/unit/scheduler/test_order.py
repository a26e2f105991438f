"""Who is next between queues, users and jobs, and the limits that keep them from it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.queue_worlds import HOUR, NOW, STATIC, QueueWorld, shape
from zenkei.model.queue import Amounts, Order, PastUsage, Policy, Queue
from zenkei.scheduler import ReasonCode, Severity
from zenkei.scheduler.tree import Held


def gpus(number: float, **kinds: int) -> Amounts:
    said = tuple(sorted((kind, many * 1000) for kind, many in kinds.items()))
    return Amounts(gpu_milli=int(number * 1000) if number else None, kinds=said)


def queue(name: str, parent: str = "", **said: Any) -> Queue:
    amounts = ("quota", "cap", "borrow_limit", "lend_limit", "user_cap")
    made: dict[str, Any] = {
        k: gpus(v) if k in amounts and not isinstance(v, Amounts) else v for k, v in said.items()
    }
    return Queue(name=name, parent=parent, **made)


# -- between queues ------------------------------------------------------------------------------
def test_without_any_queues_every_name_is_an_open_queue_of_equal_weight() -> None:
    world = QueueWorld(gpus=6)
    for name in ("x", "y", "z"):
        world.submit(name, times=9)
    assert world.counts(world.fill()) == {"x": 2, "y": 2, "z": 2}


def test_what_is_borrowed_goes_by_weight() -> None:
    world = QueueWorld(queue("a", weight_milli=3000), queue("b"), gpus=16)
    world.submit("a", times=99)
    world.submit("b", times=99)
    assert world.counts(world.fill()) == {"a": 12, "b": 4}


def test_a_queue_within_its_quota_comes_before_every_borrower() -> None:
    world = QueueWorld(queue("a", quota=4), queue("b", weight_milli=9000), gpus=8)
    world.submit("b", times=9, priority=100)
    world.submit("a", times=9)
    assert world.names(world.fill())[:4] == ["a"] * 4


def test_a_job_that_would_go_beyond_the_quota_makes_its_queue_a_borrower() -> None:
    world = QueueWorld(queue("a", quota=4), queue("b", quota=4), gpus=8)
    world.submit("a", shape(8))
    world.submit("b", times=9)
    started = world.fill()
    assert world.names(started)[:4] == ["b"] * 4
    assert [head.entitled for head in started[:5]] == [True] * 4 + [False]


def test_queues_within_their_quotas_fill_them_evenly() -> None:
    world = QueueWorld(queue("a", quota=8), queue("b", quota=4), gpus=6)
    world.submit("a", times=9)
    world.submit("b", times=9)
    assert world.counts(world.fill()) == {"a": 4, "b": 2}


def test_a_parent_decides_before_its_children() -> None:
    world = QueueWorld(
        queue("one"),
        queue("two"),
        *(queue(f"one{i}", "one") for i in range(3)),
        queue("two0", "two"),
        gpus=12,
    )
    for name in ("one0", "one1", "one2", "two0"):
        world.submit(name, times=99)
    assert world.counts(world.fill()) == {"one0": 2, "one1": 2, "one2": 2, "two0": 6}


def test_the_dominant_resource_decides() -> None:
    world = QueueWorld(queue("a"), queue("b"), gpus=18, cpus=9, gib=999)
    world.submit("a", shape(4, cpus=1), 99)
    world.submit("b", shape(1, cpus=3), 99)
    assert world.counts(world.fill()) == {"a": 3, "b": 2}, "the example of the paper"


def test_a_queue_of_weight_0_has_only_what_nobody_else_wants() -> None:
    world = QueueWorld(queue("a", weight_milli=0), queue("b"), gpus=8)
    world.submit("a", times=99)
    world.submit("b", times=5)
    assert world.names(world.fill()) == ["b"] * 5 + ["a"] * 3


def test_more_quota_than_machines_is_shared_by_quota() -> None:
    world = QueueWorld(queue("a", quota=300), queue("b", quota=100), gpus=8)
    world.submit("a", times=99)
    world.submit("b", times=99)
    assert world.counts(world.fill()) == {"a": 6, "b": 2}


def test_cpus_beside_guaranteed_gpus_do_not_count_as_borrowed() -> None:
    world = QueueWorld(queue("a", quota=8), queue("b"), gpus=24, cpus=24)
    world.submit("a", times=99)
    world.submit("b", times=99)
    assert world.counts(world.fill()) == {"a": 16, "b": 8}


def test_a_smaller_job_behind_one_that_cannot_start_is_within_the_quota_at_once() -> None:
    world = QueueWorld(queue("a", quota=4), queue("b"), gpus=7)
    world.hold("a", shape(2))
    world.submit("a", shape(8), at_us=NOW - 2)
    world.submit("a", shape(1), 2, at_us=NOW - 1)
    world.submit("b", shape(8), at_us=NOW - 3)
    world.submit("b", shape(1), 9)
    started = world.fill()
    assert world.names(started) == ["a", "a", "b", "b", "b"]


def test_who_has_used_more_in_the_past_comes_later() -> None:
    policy = Policy(half_life_s=86_400.0, ageing_s=0)
    world = QueueWorld(queue("a"), queue("b"), gpus=4, policy=policy)
    world.tree.use(PastUsage("a", "ann", 0.0, 0.0, 1900.0 * 86_400 / 0.6931, NOW))
    world.submit("a", times=9)
    world.submit("b", times=9)
    assert world.names(world.fill()) == ["b", "b", "a", "b"]


# -- users and jobs ------------------------------------------------------------------------------
def test_the_user_with_the_smallest_share_is_next() -> None:
    world = QueueWorld(queue("a"), gpus=6)
    world.submit("a", times=99, user="ann")
    world.submit("a", times=99, user="bob")
    world.hold("a", shape(2), user="ann")
    started = world.fill()
    assert [world.users[head.user] for head in started] == ["bob", "bob", "ann", "bob"]


def test_a_higher_priority_comes_before_a_smaller_share() -> None:
    world = QueueWorld(queue("a"), gpus=4)
    world.submit("a", times=2, user="ann", priority=1)
    world.submit("a", times=2, user="bob")
    assert [world.users[head.user] for head in world.fill()] == ["ann", "ann", "bob", "bob"]


def test_a_wait_of_ageing_s_makes_up_for_one_step_of_priority() -> None:
    policy = Policy(usage_milli=0, ageing_s=3600.0)
    world = QueueWorld(queue("a"), policy=policy)
    (old,) = world.submit("a", at_us=NOW - 3 * HOUR)
    (new,) = world.submit("a", priority=2)
    (newer,) = world.submit("a", priority=4)
    assert [head.job.key for head in world.fill()] == [newer, old, new]


def test_the_old_jobs_of_one_user_do_not_come_before_all_of_another() -> None:
    policy = Policy(usage_milli=0, ageing_s=3600.0)
    world = QueueWorld(queue("a"), policy=policy)
    world.submit("a", times=99, user="ann", at_us=NOW - 50 * HOUR)
    world.submit("a", times=99, user="bob")
    started = [world.users[head.user] for head in world.fill()]
    assert started[0] == "ann", "who waited long and got nothing"
    assert started.count("bob") == 4


def test_in_one_line_priority_and_submission_decide_and_limits_still_hold() -> None:
    policy = Policy(order=Order.FIFO)
    world = QueueWorld(queue("a", cap=1), queue("b", quota=8), policy=policy, gpus=4)
    world.submit("b", at_us=NOW - 1)
    world.submit("a", at_us=NOW - 3)
    world.submit("a", at_us=NOW - 2)
    world.submit("b", priority=1)
    turn = world.turn()
    assert world.names(world.fill(turn)) == ["b", "a", "b"]
    assert world.why(turn, "a").code is ReasonCode.QUEUE_CAP  # type: ignore[union-attr]


# -- what is skipped -----------------------------------------------------------------------------
def test_a_class_that_failed_for_long_jobs_is_still_tried_for_short_ones() -> None:
    world = QueueWorld(queue("a"), queue("b"))
    world.submit("a", limit_us=5 * HOUR)
    world.submit("a", limit_us=0)
    (short,) = world.submit("b", limit_us=HOUR)
    turn = world.turn()
    head = turn.head()
    assert head is not None
    assert head.limit_us == 5 * HOUR
    turn.skip_class(head.limit_us)
    assert [one.job.key for one in world.fill(turn)] == [short]


def test_only_the_head_is_skipped() -> None:
    world = QueueWorld(queue("a"))
    first, second = world.submit("a", times=2)
    turn = world.turn()
    assert turn.head() is turn.head()
    turn.skip_job()
    assert [head.job.key for head in world.fill(turn)] == [second]
    assert first != second


def test_a_turn_changes_nothing() -> None:
    world = QueueWorld(queue("a", quota=2, cap=5), queue("b", lend_limit=1, quota=3), gpus=8)
    for name in "ab":
        world.submit(name, times=9, user=name)
    pool = list(world.pool), dict(world.models)
    first = world.fill()
    world.pool, world.models = pool
    assert world.fill() == first


# -- limits --------------------------------------------------------------------------------------
LIMITS: list[tuple[str, dict[str, Any], int, ReasonCode]] = [
    ("cap", {"cap": 3}, 3, ReasonCode.QUEUE_CAP),
    ("user cap", {"user_cap": 2}, 2, ReasonCode.USER_CAP),
    ("no borrowing", {"quota": 4, "borrow": False}, 4, ReasonCode.BORROW_LIMIT),
    ("borrow limit", {"quota": 4, "borrow_limit": 1}, 5, ReasonCode.BORROW_LIMIT),
    ("cap below quota", {"quota": 4, "cap": 2}, 2, ReasonCode.QUEUE_CAP),
    ("cap of a model", {"cap": gpus(0, A100=3)}, 3, ReasonCode.QUEUE_CAP),
    ("none at all", {"cap": gpus(0, A100=0)}, 0, ReasonCode.ABOVE_QUEUE_CAP),
]


@pytest.mark.parametrize(
    ("said", "starts", "code"), [row[1:] for row in LIMITS], ids=[r[0] for r in LIMITS]
)
@pytest.mark.parametrize("level", [0, 1])
def test_a_limit_holds_at_every_level(
    said: dict[str, Any], starts: int, code: ReasonCode, level: int
) -> None:
    queues = [queue("top"), queue("a", "top"), queue("b", "top")]
    queues[level] = queue(queues[level].name, queues[level].parent, **said)
    world = QueueWorld(*queues, gpus=8)
    world.submit("a", times=9)
    turn = world.turn()
    assert len(world.fill(turn)) == starts
    reason = world.why(turn, "a")
    assert reason is not None
    assert (reason.code, reason.numbers["queue"]) == (code, queues[level].name)
    assert reason.numbers["held"] == starts * 1000
    assert reason.text


def test_the_cap_of_one_user_leaves_room_for_others() -> None:
    world = QueueWorld(queue("top", user_cap=2), queue("a", "top"), queue("b", "top"), gpus=8)
    world.submit("a", times=9, user="ann")
    world.submit("b", times=9, user="ann")
    world.submit("b", times=9, user="bob")
    turn = world.turn()
    started = [world.users[head.user] for head in world.fill(turn)]
    assert (started.count("ann"), started.count("bob")) == (2, 2)


def test_what_can_never_be_is_told_so() -> None:
    world = QueueWorld(queue("a", cap=3), gpus=8)
    world.submit("a", shape(2, nodes=2))
    turn = world.turn()
    assert world.fill(turn) == []
    reason = world.why(turn, "a")
    assert reason is not None
    assert reason.severity is Severity.NEVER
    assert reason.text == "asks for 4 GPUs, queue `a` may have 3 GPUs at most"
    assert reason.hint == "ask for at most 3 GPUs in all, or use another queue"


def test_what_is_not_lent_stays_free_for_its_owner() -> None:
    world = QueueWorld(queue("a", quota=6, lend_limit=2), queue("b"), gpus=8)
    world.submit("b", times=9)
    turn = world.turn()
    assert len(world.fill(turn)) == 4
    reason = world.why(turn, "b")
    assert reason is not None
    assert reason.code is ReasonCode.QUOTA_NOT_LENT
    assert (reason.numbers["unheld"], reason.numbers["kept"]) == (4000, 4000)
    world.submit("a", times=9)
    assert world.counts(world.fill())["a"] == 4


def test_a_gang_that_may_be_smaller_takes_the_nodes_that_limits_leave() -> None:
    world = QueueWorld(queue("a", cap=5), gpus=16)
    world.submit("a", shape(2, nodes=4, least=1), 3)
    turn = world.turn()
    assert [head.nodes for head in world.fill(turn)] == [2]
    assert world.why(turn, "a") is not None


def test_models_whose_limit_is_reached_are_left_out() -> None:
    world = QueueWorld(queue("a", cap=gpus(0, H100=1)), gpus={"A100": 2, "H100": 4})
    world.submit("a", shape(kinds=("H100", "A100")), 9)
    turn = world.turn()
    started = world.fill(turn)
    assert [head.kinds for head in started] == [("H100", "A100"), ("A100",), ("A100",)]


def test_only_allowed_models_are_offered() -> None:
    world = QueueWorld(queue("a", gpu_kinds=("T4",)), gpus={"A100": 4, "T4": 2})
    world.submit("a", times=9)
    world.submit("a", shape(kinds=("A100",)))
    turn = world.turn()
    assert [head.kinds for head in world.fill(turn)] == [("T4",), ("T4",)]
    reason = world.why(turn, "a", job_class=1)
    assert reason is not None
    assert reason.code is ReasonCode.GPU_KIND_NOT_ALLOWED


def test_a_queue_whose_models_no_node_has_is_what_a_job_for_any_model_waits_for() -> None:
    world = QueueWorld(queue("a", gpu_kinds=("H100",)), gpus={"A100": 4})
    world.submit("a")
    turn = world.turn()
    assert world.fill(turn) == []
    reason = world.why(turn, "a")
    assert reason is not None
    assert reason.text == "queue `a` may use H100 only, of which no node has any"
    assert reason.hint == "use another queue"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("still", ReasonCode.QUEUE_PAUSED),
        ("below", ReasonCode.QUEUE_PAUSED),
        ("nowhere", ReasonCode.UNKNOWN_QUEUE),
        ("top", ReasonCode.QUEUE_NOT_LEAF),
    ],
)
def test_nothing_starts_from_a_closed_queue(name: str, code: ReasonCode) -> None:
    world = QueueWorld(
        queue("top"), queue("still", "top", paused="moving"), queue("shut", paused="moving"),
        queue("below", "shut"), queue("open"),
    )  # fmt: skip
    world.submit(name)
    world.submit("open")
    turn = world.turn()
    assert world.names(world.fill(turn)) == ["open"]
    reason = world.why(turn, name)
    assert reason is not None
    assert reason.code is code
    assert reason.severity is Severity.BLOCKED


def test_one_reason_serves_all_classes_that_ask_for_the_same() -> None:
    world = QueueWorld(queue("a", cap=1), policy=STATIC)
    world.submit("a", shape(1), 2)
    world.submit("a", shape(1, cpus=2), 2)
    turn = world.turn()
    world.fill(turn)
    assert world.why(turn, "a", job_class=0) is world.why(turn, "a", job_class=1)


def test_a_claim_counts_as_held() -> None:
    world = QueueWorld(queue("a", cap=3))
    world.submit("a", times=9)
    turn = world.turn()
    turn.charge(0, 0, Held.of(shape(2), 1))
    assert len(world.fill(turn)) == 1


def test_preemption_is_told_what_was_started_in_the_same_plan() -> None:
    world = QueueWorld(queue("top"), queue("a", "top", quota=2), gpus=8)
    world.submit("a", times=3)
    turn = world.turn()
    world.fill(turn)
    leaf, above = turn.quotas.path(0)
    assert turn.quotas.rules(above).name == "top"
    assert (turn.quotas.quota(leaf), turn.quotas.quota(above)) == (gpus(2), gpus(2))
    assert [turn.quotas.held(one).gpu_milli for one in (leaf, above)] == [3000, 3000]
