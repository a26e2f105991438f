"""The cluster's file through a real daemon: applied, obeyed at submission, kept over restarts.

Texts are compared with tests/golden/cluster.
"""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Iterator

import pytest

from tests.system.cli_runs import Place, a_place, compare, shown

FILE = """\
# Two teams.
topology: {levels: [rack]}
nodes:
  - match: node-[1-2]
    topology: {rack: r1}
    labels: {disk: nvme}
  - match: node-*
    topology: {rack: r2}
queues:
  vision:
    quota: {gpus: 3}
    queues:
      train: {priority: 5, cap: {gpus: 2}}
      debug: {user_cap: {gpus: 1}}
  speech:
    quota: {gpus: 2}
    borrow: false
  default: {}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        found.ok("up", "--nodes", "2", "--gpus-per-node", "2", "--cpus-per-node", "4")
        found.write("cluster.yaml", FILE)
        found.write("bad.yaml", "queues:\n  a: {wieght: 1}\n  b: {quota: {gpus: lots}}\n")
        found.write("fewer.yaml", FILE.replace("train:", "drive:"))
        changed = FILE.replace("speech", "audio").replace("quota: {gpus: 3}", "quota: {gpus: 1}")
        found.write("changed.yaml", changed)
        yield found


def case(place: Place, name: str, *argv: str) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    text = re.sub(rf"(?<=<time>  ){re.escape(user)}\b", "<user>", shown(place.run(*argv), place))
    compare(f"../cluster/{name}", text)


def test_a_file_is_applied_obeyed_and_kept(place: Place) -> None:
    case(place, "show-none", "cluster", "show")
    case(place, "init", "cluster", "init", "--print")
    case(place, "bad", "cluster", "apply", "bad.yaml", "--diff")
    case(place, "no-terminal", "cluster", "apply", "cluster.yaml")
    case(place, "diff", "cluster", "apply", "cluster.yaml", "--diff")
    case(place, "apply", "cluster", "apply", "cluster.yaml", "--yes")

    case(place, "unknown-queue", "run", "--queue", "trian", "--", "true")
    case(place, "inner-queue", "run", "--queue", "vision", "--", "true")
    case(place, "over-cap", "run", "--queue", "train", "--gpus", "2", "--nodes", "2", "--", "true")
    long = place.ok(
        "submit", "--json", "--queue", "train", "--gpus", "2", "--", "sleep", "1000"
    ).json()["id"]
    place.until(long, "running")
    assert place.ok("show", "--json", long).json()["priority"] == 5

    case(place, "tree", "queue", "tree")
    case(place, "has-jobs", "cluster", "apply", "fewer.yaml", "--yes")
    case(place, "change", "cluster", "apply", "changed.yaml", "--yes")
    assert place.ok("show", "--json", long).json()["state"] == "running"
    place.ok("cancel", long)

    case(place, "pause", "queue", "pause", "train", "--reason", "no licenses")
    case(place, "pause-all", "pause", "--reason", "moving racks")
    place.ok("down")
    case(place, "tree-paused", "queue", "tree")
    case(place, "unpause", "unpause")
    case(place, "rollback", "cluster", "rollback", "1", "--yes")
    case(place, "history", "cluster", "history")
    case(place, "history-diff", "cluster", "history", "--diff", "--limit", "1")
    records = place.ok("cluster", "history", "--json").json()["records"]
    assert [one["kind"] for one in records] == [
        "applied",
        "applied",
        "paused",
        "paused",
        "resumed",
        "rolled_back",
    ]
    assert place.ok("cluster", "show", "--json").json()["text"] == FILE


def test_jobs_find_the_labels_of_the_file_and_nodes_that_come_later_have_them(place: Place) -> None:
    place.ok("cluster", "apply", "cluster.yaml", "--yes")
    place.write("wish.yaml", "command: hostname\nconstraints: {disk: nvme}\nqueue: speech\n")
    place.ok("queue", "resume", "train")
    place.ok("run", "wish.yaml")
    place.ok("up", "--nodes", "3", "--gpus-per-node", "2", "--cpus-per-node", "4")
    nodes = {node["name"]: node for node in place.ok("nodes", "--json").json()["nodes"]}
    assert {name: node["topology"] for name, node in nodes.items()} == {
        "node-1": ["r1"],
        "node-2": ["r1"],
        "node-3": ["r2"],
    }
    assert nodes["node-1"]["labels"]["disk"] == "nvme"
    assert "disk" not in nodes["node-3"]["labels"]


def why(place: Place, job: str) -> str:
    """The code of the reason for which a job waits, once it is told."""
    place.until_explained(job)
    return str(place.ok("explain", "--json", job).json()["reason"]["code"])


def test_what_is_paused_waits_and_goes_on_when_it_is_resumed(place: Place) -> None:
    place.ok("cluster", "apply", "cluster.yaml", "--yes")
    place.ok("pause", "--reason", "moving racks")
    stopped = place.ok("submit", "--json", "--", "true").json()["id"]
    assert why(place, stopped) == "paused"
    place.ok("queue", "pause", "speech")
    place.ok("unpause")
    place.until(stopped, "succeeded")
    waits = place.ok("submit", "--json", "--queue", "speech", "--", "true").json()["id"]
    assert why(place, waits) == "queue_paused"
    place.ok("queue", "resume", "speech")
    place.until(waits, "succeeded")


def favoured(place: Place, job: str) -> list[str]:
    """Jobs for which it was displaced."""
    lines = place.ok("events", "--json", job).stdout.splitlines()
    return [json.loads(line)["body"].get("favoured", "") for line in lines]


def test_a_cap_holds_and_a_quota_is_taken_back_from_who_borrows(place: Place) -> None:
    file = (
        "policy: {protect: 0s}\nqueues:\n  team: {quota: {gpus: 4}}\n"
        "  guests: {user_cap: {gpus: 4}}\n  default: {}\n  speech: {}\n"
    )
    place.ok("up", "--nodes", "2", "--gpus-per-node", "2", "--cpus-per-node", "4")
    place.write("teams.yaml", file)
    place.ok("cluster", "apply", "teams.yaml", "--yes")
    gpus, sleep = ("--gpus", "2"), ("--", "sleep", "600")
    guests = [
        place.ok("submit", "--json", "--queue", "guests", *gpus, *sleep).json()["id"]
        for _ in range(3)
    ]
    for job in guests[:2]:
        place.until(job, "running")
    assert why(place, guests[2]) == "user_cap"
    owner = place.ok("submit", "--json", "--queue", "team", *gpus, "--", "true").json()["id"]
    place.until(owner, "succeeded")
    assert sum(owner in favoured(place, job) for job in guests[:2]) == 1, "one made room"
    for job in guests:
        place.ok("cancel", job)


def test_a_cap_full_of_less_important_jobs_gives_way_to_an_urgent_one(place: Place) -> None:
    place.ok("up", "--nodes", "2", "--gpus-per-node", "2", "--cpus-per-node", "4")
    place.write(
        "cap.yaml", "policy: {protect: 0s}\nqueues: {team: {cap: {gpus: 2}}, default: {}}\n"
    )
    place.ok("cluster", "apply", "cap.yaml", "--yes")
    team = ("submit", "--json", "--queue", "team", "--gpus", "2")
    usual = place.ok(*team, "--", "sleep", "600").json()["id"]
    place.until(usual, "running")
    waits = place.ok(*team, "--", "true").json()["id"]
    assert why(place, waits) == "queue_cap"
    urgent = place.ok(*team, "--priority", "10", "--", "true").json()["id"]
    place.until(urgent, "succeeded")
    assert favoured(place, usual).count(urgent) == 1
    place.ok("cancel", usual)


def test_the_queue_that_explain_offers_starts_the_job(place: Place) -> None:
    place.ok("up", "--nodes", "2", "--gpus-per-node", "2", "--cpus-per-node", "4")
    place.write("offer.yaml", "queues: {team: {cap: {gpus: 2}}, default: {}}\n")
    place.ok("cluster", "apply", "offer.yaml", "--yes")
    team = ("submit", "--json", "--queue", "team", "--gpus", "2")
    holder = place.ok(*team, "--", "sleep", "600").json()["id"]
    place.until(holder, "running")
    waits = place.ok(*team, "--", "true").json()["id"]
    assert why(place, waits) == "queue_cap"
    account = place.ok("explain", "--json", waits).json()["explanation"]
    assert account["cause"] == "cap"
    assert [(one["job"], one["queue"]) for one in account["holders"]] == [(holder, "team")]
    assert [one["job"] for one in account["ends"]] == [holder]
    assert [(one["lever"], one["now"]) for one in account["nearest"]] == [("queue", "default")]
    said = place.ok("explain", waits).stdout
    assert f"its limit is held by job {holder} (queue team)" in said
    place.ok("edit", waits, "--queue", "default")
    place.until(waits, "succeeded")
    place.ok("cancel", holder)
