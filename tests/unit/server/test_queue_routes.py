"""The cluster's file and queues over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plant import Plant, never_ends, node
from tests.served import Served
from zenkei.cli import session
from zenkei.cli.cluster import cluster
from zenkei.cli.complete import offers
from zenkei.cli.queue import bar, pause, queue, unpause
from zenkei.client.failure import Failure
from zenkei.model.access import Principal

FILE = "queues:\n  vision: {quota: {gpus: 8}, queues: {train: {}, debug: {priority: 3}}}\n"


@pytest.fixture
def served(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    plant = Plant(node("node-1", gpus=8), node("node-2", gpus=8), program=never_ends)
    with Served(short_tmp, plant) as opened:
        monkeypatch.setattr(session, "open", lambda **_: opened.client)
        monkeypatch.setenv("ZENKEI_HOME", str(short_tmp))
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_file_is_looked_at_applied_shown_and_rolled_back(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster(["apply", str(file), "--diff"]) == 0
    assert "+ queues.vision.queues.debug.priority: 3\n" in out(capsys)
    assert cluster(["apply", str(file), "--yes"]) == 0
    assert out(capsys).endswith("version 1 is in force\n")
    file.write_text(FILE.replace("gpus: 8", "gpus: 4"))
    assert cluster(["apply", str(file), "--yes"]) == 0
    assert "~ queues.vision.quota.gpus: 8 -> 4\nversion 2 is in force\n" in out(capsys)
    assert cluster(["apply", str(file), "--yes"]) == 0
    assert out(capsys) == "nothing changes\nversion 2 was in force already\n"
    assert cluster(["rollback", "--yes"]) == 0
    assert cluster(["show"]) == 0
    assert out(capsys).endswith(FILE)
    assert cluster(["history"]) == 0
    lines = out(capsys).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert lines[-1].endswith("rolled back to 1: 1 change")


def test_history_has_every_change_as_json(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(["apply", str(file), "--yes"])
    out(capsys)
    cluster(["history", "--json"])
    (record,) = json.loads(out(capsys))["records"]
    assert (record["by"], record["kind"], record["version"]) == ("ann", "applied", 1)
    assert {"path": "queues.vision.quota.gpus", "before": "", "after": "8"} in record["changes"]


def test_without_a_terminal_nothing_is_applied_without_yes(served: Served, file: Path) -> None:
    with pytest.raises(Failure) as raised:
        cluster(["apply", str(file)])
    assert raised.value.hint == "--yes or --diff"
    assert served.client.get("/v1/cluster")["version"] == 0


def test_a_broken_file_is_answered_with_all_its_places(served: Served, file: Path) -> None:
    file.write_text("queues:\n  a: {wieght: 1}\n  b: {quota: {gpus: x}}\n")
    with pytest.raises(Failure) as raised:
        cluster(["apply", str(file), "--yes"])
    places = [problem["at"] for problem in raised.value.problems]
    assert [(at["line"], at["column"]) for at in places] == [(2, 7), (3, 21)]
    assert raised.value.code == "invalid-cluster-file"


def test_bytes_that_are_no_text_are_refused_and_nothing_breaks(served: Served, file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00q")
    with pytest.raises(Failure) as raised:
        cluster(["apply", str(file), "--yes"])
    assert raised.value.exit_code == 2


def test_the_version_that_was_seen_is_the_one_that_is_replaced(served: Served) -> None:
    served.client.post("/v1/cluster", FILE.encode(), expect=0)
    with pytest.raises(Failure) as raised:
        served.client.post("/v1/cluster", b"queues: {a: {}}", expect=0)
    assert (raised.value.code, raised.value.exit_code) == ("cluster-moved-on", 6)


def test_a_first_file_is_written_from_the_nodes_and_not_over_another(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.yaml"
    assert cluster(["init", str(path)]) == 0
    assert "2 nodes: 16 x A100, 8 cores, 128GiB of memory" in path.read_text()
    with pytest.raises(Failure, match="is there already"):
        cluster(["init", str(path)])
    assert cluster(["apply", str(path), "--yes"]) == 0


def test_the_tree_has_a_bar_for_each_queue(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(["apply", str(file), "--yes"])
    job = b"command: sleep 1\nqueue: train\ncode: false\nresources: {gpus: 5, nodes: 2}\n"
    served.submit(job)
    served.plant.settle()
    served.submit(job)
    out(capsys)
    assert queue(["tree"]) == 0
    lines = out(capsys).splitlines()
    assert lines[1].split() == [
        "vision",
        "################++++",
        "10",
        "8",
        "2",
        "-",
        "62%",
        "1",
        "1",
        "open",
    ]
    assert lines[3].split()[:4] == ["train", "+" * 20, "10", "-"]
    assert lines[4].startswith("in GPUs, of 16:")


@pytest.mark.parametrize(
    ("held", "quota", "most", "shown"),
    [
        (0, 8, 8, "." * 20),
        (4, 8, 8, "##########.........."),
        (12, 8, 16, "##########+++++"),
        (1, 1000, 100_000, "#."),
        (0, 0, 8, ""),
    ],
)
def test_a_bar_shows_what_is_held_borrowed_and_free(
    held: int, quota: int, most: int, shown: str
) -> None:
    assert bar(held, quota, most) == shown


def test_queues_are_paused_and_resumed_by_name(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(["apply", str(file), "--yes"])
    out(capsys)
    queue(["pause", "vision", "--reason", "no licenses"])
    assert out(capsys) == "queue vision is paused: no licenses; what runs goes on\n"
    pause([])
    assert out(capsys) == "everything is paused; what runs goes on\n"
    queue(["tree"])
    tree = out(capsys)
    assert "nothing starts: paused by ann (`zenkei unpause`)" in tree
    assert "vision: no licenses (by ann)" in tree
    assert "paused (vision)" in tree
    unpause([])
    assert out(capsys) == "everything is open\nstill paused: vision\n"
    queue(["resume", "vision"])
    assert out(capsys) == "queue vision is open\n"


def test_an_unknown_queue_is_told_with_the_nearest(served: Served, file: Path) -> None:
    cluster(["apply", str(file), "--yes"])
    with pytest.raises(Failure) as raised:
        queue(["pause", "visoin"])
    assert (raised.value.code, raised.value.hint) == ("no-such-queue", "did you mean `vision`?")
    with pytest.raises(Failure, match="there is no queue `nope`"):
        served.submit(b"command: x\nqueue: nope\ncode: false\n")


def test_a_job_larger_than_the_cluster_is_accepted_and_told_so(served: Served) -> None:
    body = b"command: x\ncode: false\nresources: {gpus: 8, nodes: 3}\n"
    answer = served.client.post("/v1/jobs", body)
    assert any("the largest block is 2 such nodes" in one for one in answer["warnings"])
    assert answer["id"]


def test_names_of_queues_are_completed(served: Served, file: Path) -> None:
    cluster(["apply", str(file), "--yes"])
    assert offers(["queue", "pause", ""]) == ["vision", "debug", "train"]
    assert offers(["queue", ""]) == ["tree", "pause", "resume"]
    assert "apply" in offers(["cluster", ""])
    assert offers(["schema", ""]) == ["job", "cluster"]


CHANGING = [
    ("/v1/cluster", b"queues: {a: {}}"),
    ("/v1/cluster/rollback", {}),
    ("/v1/pause", {}),
    ("/v1/unpause", {}),
    ("/v1/queues/vision/pause", {}),
    ("/v1/queues/vision/resume", {}),
]


@pytest.mark.parametrize(("path", "body"), CHANGING, ids=[path for path, _ in CHANGING])
def test_who_is_no_operator_sees_the_cluster_and_changes_nothing(
    served: Served, path: str, body: object
) -> None:
    served.client.post("/v1/cluster", FILE.encode())
    before = served.client.get("/v1/cluster")
    somebody = Principal(name="bob", uid=1001)
    object.__setattr__(served.services, "principal", lambda uid: somebody)
    with pytest.raises(Failure) as raised:
        served.client.post(path, body)
    assert raised.value.code == "may-not-operate"
    assert served.client.get("/v1/cluster") == before
    assert served.client.get("/v1/queues")["configured"] is True
