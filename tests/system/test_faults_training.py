"""A training that is struck again and again ends with the right model, and never ran twice at once.

ZENKEI_TEST_TRAINING_FAULTS: how many things happen to it. ZENKEI_TEST_SEED: another world.
ZENKEI_TEST_STORY=1 tells what happens.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.system import exact_training, ledgers
from tests.system.faults_home import Home
from tests.system.faults_training import (
    NODES,
    RANKS,
    Training,
    a_training_home,
    train_under_faults,
)
from tests.system.test_faults_daemon import SEED
from tests.testbeds.hosts import Hosts
from tests.testbeds.local_place import until

FAULTS = int(os.environ.get("ZENKEI_TEST_TRAINING_FAULTS", "14"))
SHM = Path("/dev/shm")
WORLD = NODES * RANKS


def check_model(training: Training) -> None:
    """It is sealed, and what comes out if every step was done once and in order."""
    home, job = training.home, training.job
    assert home.state(job) == "succeeded", home.show(job)
    until(lambda: (home.show(job)["result"] or {}).get("state") == "sealed", "the sealed result")
    fetched = home.client.fetch(f"/v1/jobs/{job}/result/file?path=model.json")
    model = json.loads(b"".join(fetched))
    assert tuple(model) == exact_training.expected(training.steps, WORLD)


def check_record(training: Training, went_on: dict[int, int]) -> None:
    """The record tells where each attempt went on as its ranks do, and that the steps join."""
    fetched = training.home.client.fetch(f"/v1/jobs/{training.job}/record")
    attempts: list[dict[str, Any]] = json.loads(b"".join(fetched))["attempts"]
    assert [a["stop_reason"] for a in attempts].count("completed") == 1
    assert attempts[-1]["stop_reason"] == "completed"
    for number, step in went_on.items():
        progress = attempts[number - 1]["progress"]
        assert max(0, progress["given"]) == step, (number, progress)
        assert progress["resumed"] in (-1, step), (number, progress)
        assert progress["joins"] in (None, True), (number, progress)
        assert progress["first"] in (-1, step + 1), (number, progress)


def check_all(home: Home, hosts: Hosts, trainings: list[Training]) -> None:
    for training in trainings:
        went_on = ledgers.check(training.ledger, training.job, training.steps, WORLD)
        check_model(training)
        check_record(training, went_on)
    home.end_checks()
    until(lambda: not list(SHM.glob("exact-*")), "shared memory to be free")
    assert [hosts.inhabitants(place) for place in range(hosts.count)] == [[]] * hosts.count


@pytest.mark.root
@pytest.mark.timeout(240)
def test_a_training_struck_by_everything_ends_with_the_right_model_and_never_ran_twice_at_once(
    short_tmp: Path,
) -> None:
    with a_training_home(short_tmp) as (home, hosts):
        struck, trainings = train_under_faults(home, hosts, FAULTS, SEED)
        check_all(home, hosts, trainings)
    assert struck.total() >= FAULTS
