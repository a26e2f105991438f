"""A gang of several sizes on a real daemon: it starts with what is free, and grows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.cli_runs import Place, a_place
from tests.testbeds.local_place import until

PROGRAM = """\
import os, sys, time
import zenkei.sdk as zk
from zenkei.sdk import checkpoint

here = zk.context()
found = checkpoint.resume()
step = found.step if found is not None else 0
print(f"begin rank {here.rank} of {here.world_size} at {step}", flush=True)
while not os.path.exists(os.path.join(sys.argv[1], "enough")):
    step += 1
    time.sleep(0.05)
    if step % 5 == 0:
        with checkpoint.file(step) as path:
            open(path, "w").write(str(step))
"""
JOB = """\
version: 1
name: elastic
command: [python, train.py, {folder}]
checkpoint: true
resources:
  nodes: {{min: 1, max: 3}}
  gpus: 1
"""
CLUSTER = "policy: {protect: 1s, restart: 100ms}\nqueues: {default: {}}\n"


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as found:
        found.ok("up", "--nodes", "3", "--gpus-per-node", "1", "--cpus-per-node", "2")
        found.write("cluster.yaml", CLUSTER)
        found.ok("cluster", "apply", "cluster.yaml", "--yes")
        found.write("train.py", PROGRAM)
        found.write("job.yaml", JOB.format(folder=found.work))
        yield found


def sizes(place: Place, job: str) -> list[int]:
    """How many nodes each attempt got."""
    lines = place.ok("events", job, "--json").lines()
    return [len(e["body"]["parts"]) for e in lines if e["kind"] == "allocated"]


def begun(place: Place, job: str) -> int:
    """Attempts whose ranks have started."""
    events = place.ok("events", job, "--json").lines()
    return [event["kind"] for event in events].count("started")


@pytest.mark.timeout(180)
def test_a_gang_that_started_small_goes_on_with_more_nodes_when_they_are_free(
    place: Place,
) -> None:
    others = [
        place.ok("submit", "--json", "--gpus", "1", "--", "sleep", "600").json()["id"]
        for _ in range(2)
    ]
    for job in others:
        place.until(job, "running")
    gang = place.ok("submit", "--json", "-f", "job.yaml").json()["id"]
    place.until(gang, "running")
    for job in others:
        place.ok("cancel", job)
    until(lambda: begun(place, gang) == 2, "more nodes", 120)
    place.write("enough", "")
    place.until(gang, "succeeded")

    assert sizes(place, gang) == [1, 3]
    shown = place.ok("show", "--json", gang).json()
    assert [attempt["stop"] for attempt in shown["attempts"]] == ["resized", "completed"]
    first, second = shown["progress"]
    assert 0 < second["resumed"] == first["saved"], "nothing that it did is done again"
    log = place.ok("logs", gang).stdout
    assert "begin rank 0 of 1 at 0" in log
    assert f"begin rank 2 of 3 at {second['resumed']}" in log
