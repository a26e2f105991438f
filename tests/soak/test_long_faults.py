"""The fault tests of tests/system in their long form; run by `make soak`, for hours if wanted.

ZENKEI_SOAK_KILLS: of the daemon (1,000). ZENKEI_TEST_SEED: another world.
"""

from __future__ import annotations

import os

import pytest

from tests.system import test_faults_agent as agent
from tests.system import test_faults_daemon as daemon
from tests.system import test_faults_mpi as mpi
from tests.system import test_faults_training as training
from tests.system import test_faults_two_controllers as controllers
from tests.system.faults_home import a_home
from tests.system.faults_training import a_training_home, train_under_faults
from tests.system.test_faults_daemon import SEED
from tests.testbeds.local_place import LocalPlace
from tests.testbeds.mpi_envs import KINDS, OneEnvironment, mpi_environment
from zenkei.engines.local import NodesConfig

KILLS = int(os.environ.get("ZENKEI_SOAK_KILLS", "1000"))
ROUND = 250
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("number", range(max(1, KILLS // ROUND)))
def test_a_daemon_killed_a_thousand_times_loses_and_doubles_nothing(number):
    with a_home() as home:
        daemon.kill_again_and_again(home, min(KILLS, ROUND), SEED + 1000 + number, people=4)


def test_supervisors_agents_and_ranks_killed_many_times():
    with a_home() as home:
        agent.kill_again_and_again(home, KILLS // 2, SEED + 2000)


def test_daemon_agent_and_supervisors_killed_together_many_times():
    with a_home() as home:
        agent.daemons_and_all(home, KILLS // 10, SEED + 3000)


@pytest.mark.parametrize("kind", KINDS)
def test_mpi_jobs_that_lose_a_part_many_times(kind, short_tmp, tmp_path):
    environment = mpi_environment(kind, tmp_path)
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        place.artefacts = OneEnvironment(environment)
        place.open()
        killed = mpi.kill_again_and_again(place, KILLS // 4, SEED + 5000)
    assert set(killed) == set(mpi.VICTIMS)


@pytest.mark.root
@pytest.mark.parametrize("number", range(max(1, KILLS // ROUND)))
def test_trainings_struck_five_hundred_times_end_with_the_right_model(number, short_tmp):
    faults = KILLS // 2 // max(1, KILLS // ROUND)
    long = 12_000  # steps: they take more attempts than the cap of requeues
    with a_training_home(short_tmp) as (home, hosts):
        struck, done = train_under_faults(home, hosts, faults, SEED + 6000 + number, steps=long)
        training.check_all(home, hosts, done)
    assert struck.total() >= faults


@pytest.mark.postgres
@pytest.mark.parametrize("number", range(max(1, KILLS // ROUND)))
def test_two_controllers_on_postgresql_that_die_in_turn_a_thousand_times(number, monkeypatch):
    controllers.two_die(min(KILLS, ROUND), SEED + 4000 + number, monkeypatch)
