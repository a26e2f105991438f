"""The states of a node: what engine, operator, failures and checks make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import node
from zenkei.lifecycle import nodes
from zenkei.lifecycle.nodes import Moved
from zenkei.model.cluster import Node, NodeEventKind, NodeState
from zenkei.model.job import FailureClass, StopReason

SECOND = 1_000_000
HOUR = 3600 * SECOND
NOW = 1_000_000 * HOUR


def of(moved: Moved | None) -> Node:
    assert moved is not None
    return moved.node


def broken(one: Node, problems: tuple[str, ...] = ("no disk",), now_us: int = NOW) -> Node:
    """A node that a check has found wanting."""
    suspect = of(nodes.failed(one, 3.0, "why", now_us))
    return of(nodes.checked(of(nodes.checking(suspect, now_us)), problems, now_us))


def drained(one: Node, *, empty: bool = True) -> Node:
    return of(nodes.drain(one, by="ann", reason="new disk", empty=empty, now_us=NOW))


@pytest.mark.parametrize(
    ("empty", "state"), [(True, NodeState.DRAINED), (False, NodeState.DRAINING)]
)
def test_a_node_drains_while_something_runs_there_and_says_who_wants_it(
    empty: bool, state: NodeState
) -> None:
    moved = nodes.drain(node(), by="ann", reason="new disk", empty=empty, now_us=NOW)
    assert moved is not None
    assert (moved.node.state, moved.node.reason) == (state, "new disk (by ann)")
    assert moved.node.since_us == NOW
    assert moved.event is not None
    assert (moved.event.kind, moved.event.by) == (NodeEventKind.DRAIN, "ann")
    assert (moved.event.before, moved.event.after) == (NodeState.READY, state)


def test_a_draining_node_is_drained_when_it_is_empty_and_only_once() -> None:
    empty = of(nodes.emptied(drained(node(), empty=False), NOW + 1))
    assert empty.state is NodeState.DRAINED
    assert nodes.emptied(empty, NOW + 2) is None
    assert nodes.emptied(node(), NOW) is None


def test_an_inventory_changes_neither_wishes_nor_health_nor_fence() -> None:
    known = of(
        nodes.label(
            drained(broken(node())), {"rack": "r7"}, (), by="ann", reason="moved", now_us=NOW
        )
    )
    known = of(nodes.fenced(known, "1/1", "silent", NOW))
    found = replace(node(), labels={"os": "new", "rack": "r1"}, address="10.0.0.9")
    again = of(nodes.seen(known, found, NOW + HOUR))
    assert (again.drain, again.health, again.fence) == (known.drain, known.health, known.fence)
    assert again.labels == {"os": "new", "rack": "r7"}
    assert again.address == "10.0.0.9"
    assert (again.state, again.since_us) == (known.state, known.since_us)


def test_how_full_the_disk_is_is_no_news_but_another_gpu_is() -> None:
    known = of(nodes.seen(None, node(), NOW))
    fuller = replace(node(), capacity=replace(node().capacity, tmp_bytes=1))
    moved = nodes.seen(known, fuller, NOW)
    assert moved is not None
    assert moved.event is None
    assert nodes.seen(known, node(), NOW) is None
    changed = nodes.seen(known, replace(node(), blocked=(0,)), NOW)
    assert changed is not None
    assert changed.event is not None


def test_what_the_engine_says_of_a_node_counts_while_it_says_so() -> None:
    known = of(nodes.seen(None, node(), NOW))
    down = replace(node(), state=NodeState.DOWN, reason="not responding")
    away = of(nodes.seen(known, down, NOW + 1))
    assert (away.state, away.reason) == (NodeState.DOWN, "not responding")
    assert of(nodes.seen(away, node(), NOW + 2)).state is NodeState.READY


def test_failures_make_a_node_suspect_from_a_threshold_on() -> None:
    one = node()
    for number in range(3):
        assert one.state is NodeState.READY, number
        one = of(nodes.failed(one, 1.0, "1/1 was lost there", NOW))
    assert (one.state, one.reason) == (NodeState.SUSPECT, "1/1 was lost there")


def test_failures_are_forgotten_by_half_in_every_half_life() -> None:
    one = of(nodes.failed(of(nodes.failed(node(), 1.0, "", NOW)), 1.0, "", NOW))
    assert nodes.failures(one.health, NOW) == pytest.approx(2.0)
    later = NOW + int(nodes.HALF_LIFE_S * 1e6)
    assert nodes.failures(one.health, later) == pytest.approx(1.0)
    assert of(nodes.failed(one, 1.0, "", later)).state is NodeState.READY


def test_a_check_that_finds_nothing_brings_the_node_back_with_half_of_its_failures() -> None:
    suspect = of(nodes.failed(node(), 3.0, "why", NOW))
    probing = of(nodes.checking(suspect, NOW))
    assert (probing.state, probing.reason) == (NodeState.PROBING, "why")
    back = of(nodes.checked(probing, (), NOW))
    assert (back.state, back.reason) == (NodeState.READY, "")
    assert nodes.failures(back.health, NOW) == pytest.approx(1.5)


def test_a_broken_node_is_checked_again_after_pauses_that_grow_to_a_limit() -> None:
    one, pauses = broken(node()), []
    assert (one.state, one.reason) == (NodeState.DOWN, "no disk")
    for _ in range(12):
        due_us = one.health.next_check_us
        assert not nodes.check_due(one, due_us - SECOND)
        assert nodes.check_due(one, due_us)
        one = of(nodes.checked(of(nodes.checking(one, due_us)), ("no disk",), due_us))
        pauses.append((one.health.next_check_us - due_us) / 1e6)
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * nodes.FIRST_PAUSE_S
    assert pauses[-1] == nodes.LONGEST_PAUSE_S


def test_a_clock_that_was_set_back_does_not_put_a_check_off_for_days() -> None:
    one = broken(node(), now_us=NOW)
    assert nodes.check_due(one, NOW - 48 * HOUR)


def test_an_operators_drain_stands_over_what_checks_find() -> None:
    one = drained(broken(node()))
    assert one.state is NodeState.DRAINED
    due_us = one.health.next_check_us
    healthy = of(nodes.checked(of(nodes.checking(one, due_us)), (), due_us))
    assert healthy.state is NodeState.DRAINED
    assert of(nodes.resume(healthy, by="ann", reason="", now_us=NOW)).state is NodeState.READY


def test_resume_has_a_broken_node_checked_before_it_takes_work() -> None:
    one = of(nodes.resume(drained(broken(node())), by="ann", reason="mended", now_us=NOW))
    assert one.state is NodeState.SUSPECT
    assert nodes.check_due(one, NOW)
    assert nodes.failures(one.health, NOW) == 0
    assert nodes.resume(node(), by="ann", reason="", now_us=NOW) is None


def test_a_silent_node_is_suspect_and_not_checked_until_it_is_heard() -> None:
    one = of(nodes.silent(node(), "1/1", "no sign of life", NOW))
    assert (one.state, one.reason) == (NodeState.SUSPECT, "no sign of life")
    assert not nodes.check_due(one, NOW)
    heard = of(nodes.heard(one, "1/1", NOW))
    assert nodes.check_due(heard, NOW)
    assert nodes.heard(heard, "1/1", NOW) is None


def test_a_fence_stands_over_everything_until_each_attempt_is_confirmed_gone() -> None:
    one = of(nodes.fenced(of(nodes.fenced(node(), "1/1", "silent", NOW)), "2/1", "too", NOW))
    assert (one.state, one.reason) == (NodeState.DOWN, "fenced: silent")
    assert nodes.resume(one, by="ann", reason="", now_us=NOW) is None
    assert not nodes.check_due(one, NOW)
    one = of(nodes.cleared(one, "1/1", NOW))
    assert one.state is NodeState.DOWN
    one = of(nodes.cleared(one, "2/1", NOW))
    assert (one.state, one.fence) == (NodeState.SUSPECT, None)
    assert nodes.check_due(one, NOW)


def test_another_boot_ends_a_fence_and_has_the_node_checked() -> None:
    known = of(nodes.fenced(replace(node(), boot_id="a"), "1/1", "silent", NOW))
    assert nodes.seen(known, replace(node(), boot_id="a"), NOW) is None
    again = nodes.seen(known, replace(node(), boot_id="b"), NOW)
    assert again is not None
    assert again.event is not None
    assert again.event.kind is NodeEventKind.RESTARTED
    assert (again.node.fence, again.node.state) == (None, NodeState.SUSPECT)


def test_labels_of_an_operator_stand_over_the_engines_and_can_be_taken_away() -> None:
    one = of(nodes.seen(None, replace(node(), labels={"os": "x"}), NOW))
    named = of(nodes.label(one, {"rack": "r1", "os": "y"}, (), by="ann", reason="", now_us=NOW))
    assert named.labels == {"os": "y", "rack": "r1"}
    bare = of(nodes.label(named, {}, ("rack",), by="ann", reason="", now_us=NOW))
    assert bare.labels == {"os": "y"}
    assert nodes.label(bare, {}, ("rack",), by="ann", reason="", now_us=NOW) is None
    measured = of(nodes.label(bare, {}, ("os",), by="ann", reason="", now_us=NOW))
    assert measured.labels == {"os": "x"}, "what the engine says is there at once"


@pytest.mark.parametrize(
    ("stop", "failure", "weight"),
    [
        (StopReason.NODE_LOST, FailureClass.INFRASTRUCTURE, 1.0),
        (StopReason.LAUNCH_FAILED, FailureClass.INFRASTRUCTURE, 1.0),
        (StopReason.NONZERO_EXIT, FailureClass.INFRASTRUCTURE, 1.0),
        (StopReason.HEALTH_CHECK, FailureClass.INFRASTRUCTURE, nodes.THRESHOLD),
        (StopReason.DISK_FULL, FailureClass.INFRASTRUCTURE, 0.0),
        (StopReason.NONZERO_EXIT, FailureClass.USER_ERROR, 0.0),
        (StopReason.OUT_OF_MEMORY, FailureClass.OUT_OF_MEMORY, 0.0),
        (StopReason.HUNG, FailureClass.HUNG, 0.0),
        (StopReason.COMPLETED, FailureClass.NONE, 0.0),
    ],
)
def test_only_faults_of_the_machine_speak_against_it(
    stop: StopReason, failure: FailureClass, weight: float
) -> None:
    assert nodes.weight_of(stop, failure) == weight
