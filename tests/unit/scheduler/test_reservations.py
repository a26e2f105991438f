"""Blocks of nodes for a time: whom they admit, and who may be there before, after and beside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.calendar_worlds import at
from tests.planner_worlds import ask, node
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Queue, Reservation
from zenkei.model.resources import DeviceShare
from zenkei.scheduler.calendar import Calendar, bookings
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.holdings import holdings
from zenkei.scheduler.promises import Promise
from zenkei.scheduler.reasons import reserved

ONE = ask(gpus=1).request
NAMES = [f"n{i}" for i in range(4)]
BLOCK = Reservation(name="works", nodes=("n[0-1]",), from_us=at(100), to_us=at(200))
QUEUES = (
    Queue(name="vision"),
    Queue(name="faces", parent="vision"),
    Queue(name="a", parent="b"),
    Queue(name="b", parent="a"),
)


def calendar(*reservations: Reservation, now: float = 0, busy: float | None = None) -> Calendar:
    """Four nodes. busy: until when they are."""
    nodes = [node(name, cpus=16, gpus=4) for name in NAMES]
    config = ClusterConfig(reservations=reservations, queues=QUEUES)
    four = tuple(DeviceShare(i, 1000) for i in range(4))
    parts = [HeldPart(i, name, 0, 0, 0, four) for i, name in enumerate(NAMES) if busy is not None]
    held = holdings(nodes, parts, {part.job: at(busy or 0) for part in parts})
    return Calendar(held, config, at(now), booked=bookings(config, NAMES))


def start(of: Calendar, nodes: int, seconds: float, user: str = "") -> Promise | None:
    said = of.promise(JobId(9).key, ask(gpus=4, nodes=nodes), limit_us=at(seconds), user=user)
    assert said is None or isinstance(said, Promise)
    return said


def test_a_job_that_has_ended_before_may_use_the_nodes() -> None:
    of = calendar(BLOCK)
    assert of.forbids(ONE, at(100)) == frozenset()
    assert of.forbids(ONE, at(100) + 1) == {"n0", "n1"}


def test_a_job_without_an_end_never_runs_into_a_reservation() -> None:
    assert calendar(BLOCK).forbids(ONE, None) == {"n0", "n1"}


@pytest.mark.parametrize(("now", "shut"), [(100, True), (199, True), (200, False), (900, False)])
def test_nobody_else_starts_while_it_lasts(now: float, shut: bool) -> None:
    assert bool(calendar(BLOCK, now=now).forbids(ONE, at(now + 1))) is shut


@pytest.mark.parametrize(
    ("queue", "user", "admitted"),
    [
        ("vision", "", True),
        ("faces", "", True),
        ("other", "", False),
        ("other", "ann", True),
        ("vision", "bob", True),
        ("", "bob", False),
        ("a", "", False),
    ],
)
def test_it_admits_its_queues_with_all_below_them_and_its_users(
    queue: str, user: str, admitted: bool
) -> None:
    of = calendar(replace(BLOCK, queues=("vision",), users=("ann",)))
    assert of.forbids(ONE, None, queue=queue, user=user) == (
        frozenset() if admitted else {"n0", "n1"}
    )


def test_maintenance_admits_nobody() -> None:
    assert calendar(BLOCK).forbids(ONE, None, queue="vision", user="ann") == {"n0", "n1"}


def test_reservations_that_overlap_all_count() -> None:
    other = replace(BLOCK, name="more", nodes=("n1", "n2"), from_us=at(50), users=("ann",))
    of = calendar(BLOCK, other)
    assert of.forbids(ONE, at(60)) == {"n1", "n2"}
    assert of.forbids(ONE, at(101)) == {"n0", "n1", "n2"}
    assert of.forbids(ONE, at(101), user="ann") == {"n0", "n1"}


@pytest.mark.parametrize(
    "odd",
    [
        replace(BLOCK, nodes=("gone*", "n[1")),
        replace(BLOCK, nodes=()),
        replace(BLOCK, to_us=BLOCK.from_us),
        replace(BLOCK, from_us=-at(9), to_us=0),
    ],
    ids=["no such nodes", "no nodes", "no time", "past"],
)
def test_a_reservation_of_nothing_is_in_nobodys_way(odd: Reservation) -> None:
    of = calendar(odd)
    assert of.forbids(ONE, None) == frozenset()
    assert of.next_us is None


def test_a_promise_keeps_clear_of_it() -> None:
    assert start(calendar(BLOCK, busy=60), 3, 40).at_us == at(60)  # type: ignore[union-attr]
    assert start(calendar(BLOCK, busy=60), 3, 41).at_us == at(200)  # type: ignore[union-attr]
    assert start(calendar(BLOCK, busy=60), 2, 41).nodes == ("n2", "n3")  # type: ignore[union-attr]


def test_a_promise_to_somebody_it_admits_does_not_mind_it() -> None:
    of = calendar(replace(BLOCK, users=("ann",)), busy=60)
    said = start(of, 4, 500, user="ann")
    assert said is not None
    assert said.at_us == at(60)


def test_planning_again_is_due_at_its_start_and_at_its_end() -> None:
    assert calendar(BLOCK).next_us == at(100)
    assert calendar(BLOCK, now=100).next_us == at(200)


def test_why_names_the_reservation_and_its_time() -> None:
    works = replace(BLOCK, reason="new cooling", from_us=at(1_790_000_000), to_us=at(1_790_003_600))
    reason = calendar(works).why(ONE, None, ["n0", "n3"])
    assert reason is not None
    assert reason.code is ReasonCode.RESERVED
    assert reason.text == (
        "1 of 2 nodes that would do are reserved for `works` from 2026-09-21 14:13 UTC to "
        "2026-09-21 15:13 UTC (new cooling)"
    )


@pytest.mark.parametrize(("now", "hint"), [(50, "set a `time_limit`"), (150, "")])
def test_a_shorter_limit_is_advised_only_before_it_begins(now: float, hint: str) -> None:
    why = calendar(BLOCK, now=now).why(ONE, None, ["n0", "n2"])
    assert why is not None
    assert why.code is ReasonCode.RESERVED
    assert why.hint.startswith(hint)
    assert bool(why.hint) is bool(hint)


def test_a_time_that_no_calendar_has_can_be_told() -> None:
    assert "far away" in reserved(replace(BLOCK, to_us=1 << 62), 1, 1).text
