"""A training under Open MPI and MPICH that is preempted, then loses a rank: no sample twice."""

from __future__ import annotations

import os
import random
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import mpi_training
from tests.system.faults_home import Home, a_home, processes_of
from tests.testbeds.local_place import until
from tests.testbeds.mpi_envs import KINDS, mpi_environment
from zenkei.engines.local import NodesConfig

RANKS, STEPS = 4, 300
PATIENCE_S = 80.0
pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module", params=KINDS)
def environment(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    return mpi_environment(request.param, tmp_path_factory.mktemp("mpi"))


@pytest.fixture
def home(short_tmp: Path) -> Iterator[Home]:
    with a_home(short_tmp) as made:
        NodesConfig(nodes=2).save(made.path / "nodes.json")
        made.start()
        yield made


def samples(rank: int) -> list[int]:
    """What a rank takes at each step, if no epoch is begun anew and none is left out."""
    found: list[int] = []
    epoch = 0
    while len(found) < STEPS:
        order = list(range(mpi_training.SAMPLES))
        random.Random(f"{mpi_training.SEED}:{epoch}").shuffle(order)
        found += order[rank::RANKS]
        epoch += 1
    return found[:STEPS]


def submit(home: Home, environment: Path, ledger: Path) -> str:
    program = shlex.quote(mpi_training.__file__)
    return home.submit(
        f"python -m mpi4py {program} {ledger} {STEPS}",
        launcher="mpi",
        env={"vars": {"PATH": f"{environment}/bin:/usr/bin:/bin"}},
        resources={"nodes": 2, "ranks": 2, "cpus": 1},
        checkpoint={"signal": "none", "every": "1s"},
        retry={"limit": 1, "backoff": "0s"},
        grace="2s",
    )


def kept(home: Home, job: str, attempt: int) -> list[int]:
    found = home.client.get(f"/v1/jobs/{job}/checkpoints")["checkpoints"]
    wanted = (f"{job}/{attempt}", "kept")
    return [c["step"] for c in found if (c["attempt"], c["state"]) == wanted]


def until_kept(home: Home, job: str, attempt: int) -> None:
    try:
        until(lambda: kept(home, job, attempt), "a checkpoint", PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {home.show(job)} {home.log(job)[-2000:]!r}") from None


def kill_a_rank(home: Home) -> None:
    """The last of the processes that run the program."""
    ranks = [pid for pid, line in processes_of(home.path).items() if line.startswith("python -m")]
    os.kill(max(ranks), signal.SIGKILL)


def counted(ledger: Path, rank: int, ends: list[int]) -> list[tuple[int, int]]:
    """Steps and samples that the end result is made of. ends: of each attempt, the last step."""
    found: list[tuple[int, int]] = []
    for attempt, end in enumerate(ends, start=1):
        lines = (ledger / f"{attempt}-{rank}").read_text().splitlines()
        pairs = [(int(step), int(sample)) for step, sample in map(str.split, lines)]
        found += [pair for pair in pairs if pair[0] <= end]
    return found


def test_an_mpi_training_uses_each_sample_once_whatever_ends_it(
    home: Home, environment: Path, short_tmp: Path
) -> None:
    ledger = short_tmp / "ledger"
    ledger.mkdir()
    job = submit(home, environment, ledger)
    until_kept(home, job, 1)
    home.client.post(f"/v1/jobs/{job}/preempt", {})
    until_kept(home, job, 2)
    kill_a_rank(home)
    (ledger / "go").touch()
    assert home.until_over(job, PATIENCE_S) == "succeeded", (home.show(job), home.log(job)[-2000:])

    shown = home.show(job)
    stops = [attempt["stop"] for attempt in shown["attempts"]]
    assert (stops[0], stops[2]) == ("preempted", "completed"), shown
    _, second, third = progress = shown["progress"]
    assert [part["resumed"] for part in (second, third)] == [p["saved"] for p in progress[:2]]
    assert [second["joins"], third["joins"]] == [True, True]
    ends = [second["resumed"], third["resumed"], STEPS]
    for rank in range(RANKS):
        expected = list(enumerate(samples(rank), start=1))
        assert counted(ledger, rank, ends) == expected
    total = sum(step * s for r in range(RANKS) for step, s in enumerate(samples(r), start=1))
    until(lambda: (home.show(job)["result"] or {}).get("state") == "sealed", "the sealed result")
    fetched = home.client.fetch(f"/v1/jobs/{job}/result/file?path=total")
    assert int(b"".join(fetched)) == total
    home.end_checks()
