"""Real frameworks that are preempted and killed, and go on with the same numbers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.frameworks import EXAMPLES, Cluster, a_cluster, changed
from tests.testbeds.hosts import Hosts
from tests.testbeds.local_place import until
from zenkei.client.client import Client
from zenkei.protocol import metrics

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(zenkei_home: Path) -> Iterator[Cluster]:
    with Hosts(2) as hosts, a_cluster(zenkei_home, hosts) as opened:
        yield opened


def submit(cluster: Cluster, job: Path) -> str:
    done = cluster.zenkei("submit", "-f", job.name, cwd=job.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def values(cluster: Cluster, job: str, attempt: int, name: str = "loss") -> dict[int, float]:
    """What rank 0 has reported, by step."""
    folder = cluster.home / "attempts" / job / str(attempt)
    found = [path.read_bytes() for path in folder.glob("node-*/metrics/0")]
    points = [p for data in found for p in metrics.Reader().feed(data) if p.name == name]
    return {point.step: point.value for point in points}


def until_step(cluster: Cluster, job: str, step: int, attempt: int = 1) -> None:
    until(lambda: max(values(cluster, job, attempt), default=0) >= step, f"step {step}", 200)


def saved(client: Client, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v1/jobs/{job}/checkpoints")["checkpoints"]
    return found


def succeeded(cluster: Cluster, job: str) -> Any:
    done = cluster.zenkei("wait", job, cwd=cluster.home)
    assert done.returncode == 0, (done.stderr, cluster.log(job)[-3000:])
    return cluster.show(job)


def test_torch_ddp_is_preempted_and_goes_on_with_the_same_losses(
    cluster: Cluster, short_tmp: Path
) -> None:
    job = changed(EXAMPLES / "torch-ddp/job.yaml", short_tmp, command="python train.py --steps 400")
    whole = submit(cluster, job)
    succeeded(cluster, whole)
    moved = submit(cluster, job)
    client = Client(str(cluster.home))
    until_step(cluster, moved, 60)
    client.post(f"/v1/jobs/{moved}/preempt", {})
    shown = succeeded(cluster, moved)
    assert [attempt["stop"] for attempt in shown["attempts"]] == ["preempted", "completed"]
    first, second = shown["progress"]
    assert (second["given"], second["resumed"]) == (first["saved"], first["saved"])
    assert second["joins"] is True
    expected, after = values(cluster, whole, 1), values(cluster, moved, 2)
    assert min(after) == first["saved"] + 1
    compared = [after[step] / expected[step] - 1 for step in sorted(after)]
    assert len(compared) >= 50
    assert max(map(abs, compared)) < 1e-5


def test_chainermn_is_killed_and_goes_on_from_its_snapshot(
    cluster: Cluster, short_tmp: Path
) -> None:
    job = changed(
        EXAMPLES / "chainermn/job.yaml",
        short_tmp,
        checkpoint={"signal": "none", "every": "1s"},
        retry={"limit": 1, "backoff": "0s"},
        command="python -m mpi4py train.py --epochs 40",
    )
    number = submit(cluster, job)
    client = Client(str(cluster.home))
    until(lambda: [c for c in saved(client, number) if c["state"] == "kept"], "a snapshot", 200)
    rank = pids_of(cluster, number)[-1]
    os.kill(rank, signal.SIGKILL)
    shown = succeeded(cluster, number)
    first, second = shown["progress"]
    assert second["given"] == second["resumed"] == first["saved"] > 0
    summary = cluster.summary(number)
    assert summary["accuracy"] > 0.93


def pids_of(cluster: Cluster, job: str) -> list[int]:
    """Processes that run the program in the directory of the job's first attempt."""
    mark = os.fsencode(cluster.home / "attempts" / job)
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            here = os.fsencode(os.readlink(f"/proc/{name}/cwd"))
        except OSError:
            continue
        if here.startswith(mark) and words[0].endswith(b"python") and b"train.py" in words:
            found.append(int(name))
    return sorted(found)
