"""SIGKILL of the daemon at random instants under load: nothing lost, run twice, orphaned, torn."""

from __future__ import annotations

import os
import threading
from random import Random

import pytest

from tests.system.faults_home import Home, a_home
from tests.system.faults_load import Load

KILLS = int(os.environ.get("ZENKEI_TEST_KILLS", "60"))
SEED = int(os.environ.get("ZENKEI_TEST_SEED", "1"))


def kill_again_and_again(home: Home, kills: int, seed: int, people: int = 3) -> None:
    """Each daemon lives for up to a second from its fork: some die before they are ready."""
    rng = Random(seed)
    load = Load(home, seed, people)
    home.start()
    load.start()
    pause = threading.Event()
    for _ in range(kills):
        home.newest.kill()
        home.begin()
        pause.wait(rng.uniform(0.05, 0.9))
    home.newest.kill()
    home.start()
    load.stop()
    home.until_still()
    ended = load.check()
    assert ended["succeeded"] > kills / 2, ended
    home.end_checks()


@pytest.mark.timeout(240)
def test_a_daemon_that_is_killed_at_any_instant_loses_and_doubles_nothing():
    with a_home() as home:
        kill_again_and_again(home, KILLS, SEED)
