"""Nodes over HTTP and on the command line: drain, resume, label, show, events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plant import Plant, never_ends, node
from tests.served import ECHO, Served
from zenkei.cli import session
from zenkei.cli.events import events
from zenkei.cli.node import node as node_verb
from zenkei.client.failure import Failure


@pytest.fixture
def served(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    plant = Plant(node("node-1"), node("node-2"), program=never_ends)
    with Served(short_tmp, plant) as opened:
        monkeypatch.setattr(session, "open", lambda **_: opened.client)
        yield opened


def say(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert node_verb(list(argv)) == 0
    return capsys.readouterr().out


def running(served: Served) -> str:
    job = served.submit(ECHO)
    served.plant.settle()
    return job


def test_drain_says_what_still_runs_there_and_resume_lets_it_take_work(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    job = running(served)
    said = say(capsys, "drain", "node-1", "--reason", "new disk")
    assert said == f"node-1 is draining: new disk (by ann)\nstill running there: {job}\n"
    assert say(capsys, "resume", "node-1") == "node-1 is ready\n"


def test_drain_with_preempt_names_the_jobs_that_go_elsewhere(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    job = running(served)
    said = say(capsys, "drain", "node-1", "--reason", "new disk", "--preempt")
    assert f"asked to go on elsewhere: {job}\n" in said


def test_labels_are_set_and_taken_away(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    say(capsys, "label", "node-1", "rack=r1", "zone=a")
    say(capsys, "label", "node-1", "zone-", "--reason", "it moved")
    assert served.client.get("/v1/nodes/node-1")["own_labels"] == {"rack": "r1"}


def test_show_tells_state_labels_and_what_happened_by_whom(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "label", "node-1", "rack=r1")
    say(capsys, "drain", "node-1", "--reason", "new disk")
    said = say(capsys, "show", "node-1")
    assert "drained" in said
    assert "rack=r1 (own)" in said
    assert "(by ann)" in said


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["drain", "node-1"], "--reason is missing"),
        (["drain", "node-9", "--reason", "x"], "there is no node `node-9`"),
        (["show", "nodo-1"], "there is no node `nodo-1`"),
        (["drain", "node-1", "--reason", "x\x1b[31m"], "holds '\\x1b', which cannot be shown"),
        (["label", "node-1", "rack"], "does not say what becomes of the label"),
        (["label", "node-1", "a b=c"], "a b"),
        (["dran", "node-1"], "is not an action"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_value(
    served: Served, argv: list[str], told: str
) -> None:
    with pytest.raises(Failure) as refused:
        node_verb(argv)
    assert told in str(refused.value)


def test_a_node_that_is_misspelled_is_met_with_the_nearest_name(served: Served) -> None:
    with pytest.raises(Failure) as refused:
        node_verb(["show", "nodo-1"])
    assert "`node-1`" in refused.value.hint


def test_events_of_nodes_come_for_all_or_for_one(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "drain", "node-2", "--reason", "new disk", "--json")
    assert events(["--nodes", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(e["node"], e["kind"]) for e in lines] == [
        ("node-1", "entered"),
        ("node-2", "entered"),
        ("node-2", "drain"),
    ]
    assert events(["--nodes", "node-1"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
