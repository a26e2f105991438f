"""Every example runs as its file says.

The digits example is run by the demo (`test_demo`), those of frameworks by `test_frameworks`, that
of three teams by `test_fairness_example`, those of datasets by `test_dataset_training`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

TIMEOUT_S = 110


def zenkei(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zenkei.cli.entry", *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def examples(repo: Path, zenkei_home: Path) -> Iterator[Path]:
    """The examples' folder, with a home of its own whose daemon is ended afterwards."""
    assert os.environ["ZENKEI_HOME"] == str(zenkei_home)
    yield repo / "examples"
    zenkei("down", "--jobs", "--yes", cwd=repo)


def shown(job: str, cwd: Path) -> Any:
    done = zenkei("show", job, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hello_says_where_it_runs(examples: Path) -> None:
    done = zenkei("run", cwd=examples / "hello")
    assert (done.returncode, done.stderr.count("succeeded")) == (0, 1), done.stderr
    assert done.stdout.startswith("hello from 1 on ")


def test_the_sweep_makes_nine_results_of_nine_pairs(examples: Path) -> None:
    done = zenkei("run", cwd=examples / "sweep")
    assert done.returncode == 0, done.stderr
    losses = set()
    for member in range(9):
        target = Path(os.environ["ZENKEI_HOME"]).parent / f"fetched-{member}"
        fetched = zenkei("result", "fetch", f"1.{member}", str(target), cwd=examples)
        assert fetched.returncode == 0, fetched.stderr
        found = json.loads((target / "loss.json").read_text("utf-8"))
        losses.add((found["rate"], found["width"]))
    assert len(losses) == 9


def test_the_chain_starts_the_second_when_the_first_is_kept(examples: Path) -> None:
    second = zenkei("run", "--detach", "-f", "second.yaml", cwd=examples / "chain")
    assert second.returncode == 4, "there is no job 1 to wait for yet"
    first = zenkei("run", "--detach", "-f", "first.yaml", cwd=examples / "chain")
    assert first.returncode == 0, first.stderr
    second = zenkei("run", "-f", "second.yaml", cwd=examples / "chain")
    assert (second.returncode, second.stdout) == (0, "the first one is done\n"), second.stderr
    ended = shown("1", examples)["result"]["at_us"]
    started = shown("2", examples)["attempts"][0]["allocated_us"]
    assert ended <= started


def test_own_requirements_are_locked_and_used(examples: Path) -> None:
    done = zenkei("run", cwd=examples / "requirements")
    assert done.returncode == 0, done.stderr
    version, python = done.stdout.split()
    assert version.startswith("1.")
    assert python.startswith("3.11")


def test_the_retry_rule_brings_it_back_twice(examples: Path) -> None:
    done = zenkei("run", cwd=examples / "retry")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "third time lucky"
    reasons = [one["stop"] for one in shown("1", examples)["attempts"]]
    assert reasons == ["nonzero_exit", "nonzero_exit", "completed"]


def test_every_example_is_run_by_a_test(repo: Path) -> None:
    found = sorted(str(p.relative_to(repo / "examples")) for p in repo.glob("examples/*/*.yaml"))
    assert found == [
        "chain/first.yaml",
        "chain/second.yaml",
        "chainermn/job.yaml",
        "datasets/export.yaml",
        "datasets/numpy.yaml",
        "datasets/ranks.yaml",
        "datasets/torch.yaml",
        "digits/job.yaml",
        "fairness/cluster.yaml",
        "fairness/exercise.yaml",
        "fairness/speech.yaml",
        "fairness/thesis.yaml",
        "fairness/train.yaml",
        "hello/job.yaml",
        "jax/job.yaml",
        "mpi/c.yaml",
        "mpi/python.yaml",
        "requirements/job.yaml",
        "retry/job.yaml",
        "sweep/job.yaml",
        "torch-ddp/job.yaml",
    ]
    for path in repo.glob("examples/*/*.yaml"):
        assert yaml.safe_load(path.read_text("utf-8"))["version"] == 1
