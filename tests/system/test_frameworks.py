"""Real frameworks train over two hosts, as their examples say, and reach their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.frameworks import EXAMPLES, Cluster, a_cluster, changed
from tests.testbeds.hosts import Hosts

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
PLACES = {f"[{rank}] rank {rank} of 4 on node-{rank // 2 + 1}" for rank in range(4)}


@pytest.fixture
def cluster(zenkei_home: Path) -> Iterator[Cluster]:
    with Hosts(2) as hosts, a_cluster(zenkei_home, hosts) as opened:
        yield opened


def test_torch_trains_with_torchrun_over_two_hosts(cluster: Cluster) -> None:
    done = cluster.run(EXAMPLES / "torch-ddp/job.yaml")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) >= PLACES
    summary = cluster.summary()
    assert summary["ranks"] == 4
    assert summary["accuracy"] > 0.7


def test_chainer_trains_with_chainermn_over_two_hosts(cluster: Cluster) -> None:
    done = cluster.run(EXAMPLES / "chainermn/job.yaml")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) >= PLACES
    summary = cluster.summary()
    assert summary["ranks"] == 4
    assert summary["accuracy"] > 0.93


@pytest.mark.parametrize("mpi", ["openmpi", "mpich"])
@pytest.mark.parametrize("language", ["c", "python"])
def test_an_mpi_program_sums_over_two_hosts(
    cluster: Cluster, short_tmp: Path, mpi: str, language: str
) -> None:
    packages = {"packages": [mpi, "mpi4py"]}
    job = changed(EXAMPLES / f"mpi/{language}.yaml", short_tmp, env=packages)
    done = cluster.run(job)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) >= PLACES
    assert "pi is 3.14159265" in done.stdout


def test_jax_initializes_without_arguments_and_trains_on_two_hosts(cluster: Cluster) -> None:
    done = cluster.run(EXAMPLES / "jax/job.yaml")
    assert done.returncode == 0, done.stderr
    summary = cluster.summary()
    assert summary["processes"] == 2
    assert summary["error"] < 1e-3
