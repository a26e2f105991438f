"""Nodes of a real daemon: a bad one that is mended, a drain, survivors of a gang, a look inside."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli_runs import Place, a_place
from tests.testbeds.local_place import until

GANG = """
name: gang
command: |
  echo "attempt $ZENKEI_ATTEMPT on $ZENKEI_NODE"
  until [ -e {go} ]; do sleep 0.05; done
code: false
resources: {{nodes: 2, ranks: 2, cpus: 2}}
"""


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


def declare(place: Place, **addresses: str) -> None:
    """Three nodes; some have addresses that this machine does not."""
    given = {name.replace("_", "-"): address for name, address in addresses.items()}
    nodes = {"nodes": 3, "cpus_per_node": 2, "addresses": given}
    (place.home / "nodes.json").write_text(json.dumps(nodes), encoding="utf-8")


def gang(place: Place) -> Path:
    go = place.work / "go"
    place.write("job.yaml", GANG.format(go=go))
    return go


def node(place: Place, name: str) -> Any:
    return place.ok("node", "show", name, "--json").json()


def attempts(place: Place, job: str) -> list[list[str]]:
    """Nodes of each attempt, in the order of ranks."""
    events = place.ok("events", job, "--json").lines()
    return [[p["node"] for p in e["body"]["parts"]] for e in events if e["kind"] == "allocated"]


def test_a_bad_node_is_found_before_the_job_starts_left_out_and_returns_when_it_is_mended(
    place: Place,
) -> None:
    declare(place, node_1="203.0.113.7")
    go = gang(place)
    go.touch()
    job = place.ok("submit", "job.yaml", "--json").json()["id"]
    assert place.ok("wait", job).code == 0
    assert attempts(place, job) == [["node-1", "node-2"], ["node-3", "node-2"]]
    shown = place.ok("show", job, "--json").json()
    first = shown["attempts"][0]
    assert first["stop"] == "health_check"
    assert "203.0.113.7" in first["rank_exit"]["detail"]
    until(lambda: node(place, "node-1")["state"] == "down", "the check's verdict")
    assert "203.0.113.7" in node(place, "node-1")["reason"]
    place.ok("down")
    declare(place)
    place.ok("node", "resume", "node-1", "--reason", "its cable is in again")
    until(lambda: node(place, "node-1")["state"] == "ready", "the node's return")


def test_a_drain_outlives_the_daemon(place: Place) -> None:
    declare(place)
    place.ok("node", "drain", "node-2", "--reason", "new disk")
    place.ok("node", "label", "node-3", "rack=r7")
    place.ok("down")
    place.ok("up")
    assert node(place, "node-2")["state"] == "drained"
    assert node(place, "node-3")["labels"]["rack"] == "r7"
    shown = place.ok("events", "--nodes", "node-2").stdout
    assert re.search(r"drain .*new disk \(by \w+\)", shown), shown


def test_exec_looks_into_the_rank_that_is_named(place: Place) -> None:
    declare(place)
    go = gang(place)
    job = place.ok("submit", "job.yaml", "--json").json()["id"]
    place.until(job, "running")
    say = ("--", "sh", "-c", "echo $ZENKEI_NODE $ZENKEI_RANK $ZENKEI_LOCAL_RANK")
    assert place.ok("exec", job, "--rank", "3", *say).stdout == "node-2 3 1\n"
    assert place.ok("exec", job, "--rank", "0", *say).stdout == "node-1 0 0\n"
    wrong = place.run("exec", job, "--rank", "4", *say)
    assert wrong.code == 4
    assert "has no rank 4" in wrong.stderr
    go.touch()


def test_a_gang_whose_node_is_lost_keeps_its_survivor_and_gets_one_other(place: Place) -> None:
    declare(place)
    go = gang(place)
    job = place.ok("submit", "job.yaml", "--json").json()["id"]
    place.until(job, "running")
    spool = place.home / "attempts" / job / "1" / "node-0" / "spool"
    claimed = re.search(rb'"pid":(\d+)', spool.read_bytes())
    assert claimed is not None
    os.kill(int(claimed[1]), signal.SIGKILL)
    until(lambda: len(attempts(place, job)) == 2, "the next attempt")
    place.until(job, "running")
    go.touch()
    assert place.ok("wait", job).code == 0
    assert attempts(place, job) == [["node-1", "node-2"], ["node-3", "node-2"]]
    events = place.ok("events", job, "--json").lines()
    times = {(e["kind"], e["body"].get("attempt")): e["at_us"] for e in events}
    gone_s = (times["released", 1] - times["exited", 1]) / 1e6
    again_s = (times["started", 2] - times["released", 1]) / 1e6
    print(f"all gone {gone_s:.2f} s after the exit was known, started again {again_s:.2f} s later")
