"""A real training one of whose hosts is cut off, and lives on where nobody hears of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import partition_training
from tests.system.frameworks import EXAMPLES, Cluster, a_cluster, changed
from tests.system.test_checkpoint_frameworks import saved, submit, succeeded, until_step, values
from tests.testbeds.hosts import Hosts
from tests.testbeds.isolation import Isolation, a_daemon
from tests.testbeds.local_place import until
from zenkei.client.client import Client
from zenkei.protocol import names

pytestmark = [pytest.mark.root, pytest.mark.timeout(420)]
PATIENCE_S = 150
STEPS = 300
FIRST, SECOND, SPARE = "node-1", "node-2", "node-3"


@pytest.fixture
def cluster(zenkei_home: Path) -> Iterator[Cluster]:
    """Three hosts of two (virtual) GPUs; a job of two has one to spare."""
    with (
        Hosts(3) as hosts,
        a_cluster(zenkei_home, hosts, gpus_per_node=2) as opened,
        a_daemon() as daemon,
    ):
        yield opened
        opened.zenkei("down", "--jobs", "--yes", cwd=zenkei_home)
        daemon.wait(60)


@pytest.fixture
def job(short_tmp: Path) -> Path:
    """The job file of the training; `go` and `cut` in its folder's parent are its switches."""
    path = changed(
        EXAMPLES / "torch-ddp/job.yaml",
        short_tmp,
        command=f"python partition_training.py {short_tmp} --steps {STEPS}",
        checkpoint={"signal": "none", "every": "1s"},
        resources={"nodes": 2, "ranks": 2, "gpus": 2},
    )
    program = Path(partition_training.__file__)
    (path.parent / program.name).write_bytes(program.read_bytes())
    return path


def node(client: Client, name: str) -> Any:
    return client.get(f"/v1/nodes/{name}")


def held(job: str) -> dict[str, set[tuple[str, str]]]:
    """Nodes and GPUs that living processes of a job were given, by attempt."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            pairs = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        env = dict(pair.partition("=")[::2] for pair in pairs)
        attempt = env.get(names.ATTEMPT, "")
        if attempt.startswith(f"{job}/"):
            gpus = env.get(names.VIRTUAL_GPUS, "").split(",")
            found.setdefault(attempt, set()).update((env[names.NODE], gpu) for gpu in gpus)
    return found


def stale(folder: Path) -> list[int]:
    """How often each rank of the cut-off host has written by now."""
    files = sorted(folder.glob(f"stale-{FIRST}-*"))
    return [len(path.read_text().splitlines()) for path in files]


def until_stale(folder: Path, more: int) -> None:
    """Until both ranks there have written so often again."""
    before = sum(stale(folder))
    until(
        lambda: len(stale(folder)) == 2 and sum(stale(folder)) >= before + more,
        "ranks that write on",
        PATIENCE_S,
    )


def allocated(cluster: Cluster, job: str) -> list[list[str]]:
    """Nodes of each attempt, in the order of ranks."""
    lines = cluster.zenkei("events", job, "--json", cwd=cluster.home).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [[p["node"] for p in e["body"]["parts"]] for e in events if e["kind"] == "allocated"]


def test_torch_ddp_goes_on_elsewhere_and_what_the_cut_off_host_writes_on_counts_nowhere(
    cluster: Cluster, job: Path, short_tmp: Path
) -> None:
    client = Client(str(cluster.home))
    (short_tmp / "go").touch()
    whole = submit(cluster, job)
    succeeded(cluster, whole)
    (short_tmp / "go").unlink()

    number = submit(cluster, job)
    until(lambda: [c for c in saved(client, number) if c["state"] == "kept"], "a checkpoint", 250)
    cluster.hosts.cut(0)
    with Isolation(cluster.home / "attempts" / number / "1" / "node-0"):
        (short_tmp / "cut").write_text(f"{number}/1")
        until(lambda: "fenced" in node(client, FIRST)["reason"], "the fence", PATIENCE_S)
        until_step(cluster, number, 1, attempt=2)
        assert allocated(cluster, number) == [[FIRST, SECOND], [SPARE, SECOND]]
        until_stale(short_tmp, 4)
        of_attempt = held(number)
        assert {name for name, _ in of_attempt[f"{number}/1"]} == {FIRST}
        assert {name for name, _ in of_attempt[f"{number}/2"]} == {SPARE, SECOND}
        assert node(client, FIRST)["state"] == "down", "it still lives there"
    cluster.hosts.heal(0)
    until(lambda: node(client, FIRST)["state"] == "ready", "the node's return", PATIENCE_S)
    assert cluster.hosts.inhabitants(0) == []
    assert set(held(number)) == {f"{number}/2"}, cluster.show(number)["attempts"]

    (short_tmp / "go").touch()
    check_the_end(cluster, number, whole)
    # what was written on is there, and was told on the host: only the fence kept it out
    spool = cluster.home / "attempts" / number / "1" / "node-0" / names.SPOOL_FILE
    assert f'"step":{partition_training.FAR + 1}'.encode() in spool.read_bytes()


def check_the_end(cluster: Cluster, number: str, whole: str) -> None:
    """The second attempt went on from a checkpoint of the first, to the end of one in peace."""
    shown = succeeded(cluster, number)
    assert [attempt["stop"] for attempt in shown["attempts"]] == ["node_lost", "completed"]
    first, second = shown["progress"]
    assert 0 < second["given"] == second["resumed"] <= first["saved"] < partition_training.FAR
    assert second["joins"] is True
    assert max(c["step"] for c in saved(Client(str(cluster.home)), number)) <= STEPS
    expected, after = values(cluster, whole, 1), values(cluster, number, 2)
    assert (min(after), max(after)) == (second["given"] + 1, STEPS)
    assert max(abs(after[step] / expected[step] - 1) for step in after) < 1e-5
    assert cluster.summary(number) == cluster.summary(whole)
