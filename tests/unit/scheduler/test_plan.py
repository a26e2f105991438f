"""The plan as a value, and the shapes of snapshot and index it stands on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.planner_worlds import World, ask, node
from zenkei.model.ids import JobId
from zenkei.model.resources import DeviceShare
from zenkei.scheduler import HeldPart, Planner, Reason, ReasonCode, Severity, Snapshot, plan
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.reasons import size
from zenkei.scheduler.snapshot import held_columns, waiting_columns

PAGE = Path(__file__).parents[3] / "docs/concepts/scheduling.md"


def test_an_empty_world_has_an_empty_plan() -> None:
    made = plan(Snapshot(seq=7), now_us=0)
    assert (made.based_on, made.decisions, made.reasons, made.next_us) == (7, (), (), None)
    assert made.reason(JobId(1)) is None


def test_one_reason_serves_all_jobs_of_a_class() -> None:
    world = World(node("a"))
    jobs = [world.submit(ask(gpus=1)) for _ in range(5)]
    made = plan(world.snapshot(), now_us=0)
    assert len(made.reasons) == 1
    assert made.reasons[0].head == jobs[0]
    assert {id(made.reason(job)) for job in jobs} == {id(made.reasons[0].reason)}


def test_queues_stand_in_one_line_and_share_the_reason_of_a_class() -> None:
    world = World(node("a", cpus=2))
    first, second, third, fourth = (world.submit(ask(), queue=number % 2) for number in range(4))
    made = plan(world.snapshot(), now_us=0)
    assert made.started == {first, second}
    assert [(one.head, one.reason) for one in made.reasons] == [(third, made.reason(fourth))]


def test_the_trace_counts_what_was_done() -> None:
    world = World(node("a", cpus=2))
    for wanted in (ask(), ask(cpus=2), ask(), ask(gpus=1)):
        world.submit(wanted)
    world.submit(ask(), not_before_us=5)
    trace = plan(world.snapshot(), now_us=0).trace
    assert (trace.waiting, trace.delayed, trace.started) == (5, 1, 2)
    assert (trace.classes_tried, trace.classes_failed) == (3, 2)


def test_a_failed_placement_leaves_the_planner_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(node("a", cpus=3))
    for _ in range(3):
        world.submit(ask())
    planner = Planner(world.snapshot())
    before = planner.plan(now_us=0)
    place = Placer.place
    calls = iter(range(10))

    def fail_later(self: Placer, *wanted: Any) -> object:
        if next(calls) == 2:
            raise ZeroDivisionError
        return place(self, *wanted)

    with monkeypatch.context() as broken:
        broken.setattr(Placer, "place", fail_later)
        with pytest.raises(ZeroDivisionError):
            planner.plan(now_us=0)
    assert planner.plan(now_us=0) == before


def test_columns_are_read_only_and_keep_every_part() -> None:
    parts = [
        HeldPart(1, "a", 1, 2, 3, (DeviceShare(0, 500), DeviceShare(1, 1000))),
        HeldPart(2, "gone", 4, 5 << 40, 6),
        HeldPart(1, "b", 7, 8, 9, (DeviceShare(2, 1),)),
    ]
    columns = held_columns(parts)
    assert list(columns.rows()) == parts
    with pytest.raises(ValueError, match="read-only"):
        columns.cpu_milli[0] = 0
    assert not any(column.flags.writeable for column in waiting_columns(()))


def test_a_new_label_in_a_constraint_sets_nodes_apart_that_were_alike() -> None:
    world = World(node("a", labels={"rack": "r1"}), node("b", labels={"rack": "r2"}))
    world.submit(ask(cpus=1))
    planner = Planner(world.given().snapshot())
    planner.plan(now_us=0)
    world.submit(ask(cpus=8, rack=("r2",)))
    planner.apply(world.delta())
    assert planner.plan(now_us=0) == plan(world.snapshot(), now_us=0)
    assert len(planner.plan(now_us=0).decisions) == 2


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_has_a_severity_and_a_section_in_the_docs(code: ReasonCode) -> None:
    assert Reason(code=code).severity in Severity
    assert re.search(rf"^\| `{code}` \|.*\|$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1 << 30, "1 GiB"),
        (1536 << 20, "1.5 GiB"),
        (1 << 52, "4096 TiB"),
    ],
)
def test_sizes_are_said_in_the_largest_unit(number: int, text: str) -> None:
    assert size(number) == text
