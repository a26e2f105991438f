"""SIGKILL at random instants to what makes an MPI job: ranks, their wrappers, mpiexec, its links
and daemons, supervisors. Nothing is left, and no gang that lost a part counts as a success.

Each rank appends its number to a ledger as its last act: a success has all of them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.system.faults_home import processes_of
from tests.system.test_faults_daemon import SEED
from tests.testbeds.local_place import LocalPlace, until
from tests.testbeds.mpi_envs import KINDS, OneEnvironment, mpi_environment
from zenkei.engines.local import NodesConfig
from zenkei.model.data import Digest
from zenkei.model.ids import AttemptId
from zenkei.model.job import Launcher, StopReason
from zenkei.ports.engine import Released

KILLS = int(os.environ.get("ZENKEI_TEST_MPI_KILLS", "6"))
VICTIMS = ("rank", "wrapper", "mpiexec", "link", "daemon", "supervisor")
PROGRAMS = {
    **dict.fromkeys(("prterun", "mpiexec"), "mpiexec"),
    **dict.fromkeys(("prted", "hydra_pmi_proxy"), "daemon"),
}
VERBS = {"rank": "wrapper", "mpi-rsh": "link"}
PROGRAM = """
import os, sys, time
from mpi4py import MPI
world = MPI.COMM_WORLD
for _ in range(int(sys.argv[2])):
    world.allreduce(world.rank)
    time.sleep(0.02)
ledger = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(ledger, b"%d\\n" % world.rank)
"""


def _kind(pid: int, command: str) -> str:
    """Which of VICTIMS a process of a home is; empty for the warm agent and shells."""
    words = command.split() or [""]
    program = os.path.basename(words[0])
    if program in PROGRAMS:
        return PROGRAMS[program]
    verb = next((after for word, after in pairwise(words) if word.endswith(".pyz")), "")
    if not verb:
        return "rank" if program == "python" else ""
    if verb in VERBS:
        return VERBS[verb]
    try:
        return "supervisor" if "/attempts/" in os.readlink(f"/proc/{pid}/cwd") else ""
    except OSError:
        return ""


def alive(place: LocalPlace) -> dict[str, list[int]]:
    """Processes of attempts by what they are."""
    found: dict[str, list[int]] = {}
    for pid, command in processes_of(place.home).items():
        found.setdefault(_kind(pid, command), []).append(pid)
    return found


def kill_one(place: LocalPlace, attempt: AttemptId, victim: str, rng: Random) -> bool:
    """As soon as there is one to kill; False if the attempt was over before."""

    def tried() -> str:
        pids = alive(place).get(victim)
        if not pids:
            return "over" if place.is_over(attempt) else ""
        try:
            os.kill(rng.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return ""
        return "killed"

    return bool(until(tried, f"a {victim}") == "killed")


def kill_again_and_again(place: LocalPlace, kills: int, seed: int) -> Counter[str]:
    """One of each kind in turn, each in an attempt of its own; what was killed, how it ended."""
    rng = Random(seed)
    pause = threading.Event()
    told: Counter[str] = Counter()
    number = 0
    while told.total() < kills:
        number += 1
        assert number < 5 * kills, f"too many ended before they were killed: {told}"
        victim = VICTIMS[told.total() % len(VICTIMS)]
        ledger = place.home.parent / f"ledger-{number}"
        ledger.touch()
        command = ("python", "-c", PROGRAM, str(ledger), str(rng.choice((0, 5, 40))))
        order = place.order(number, command, nodes=2, ranks=2, launcher=Launcher.MPI, grace_s=1.0)
        place.engine.launch(replace(order, env=Digest("b3:" + "0" * 64)))
        pause.wait(rng.choice((0.0, rng.uniform(0.0, 0.3), rng.uniform(0.0, 1.0))))
        was_killed = kill_one(place, order.attempt, victim, rng)
        place.wait(order.attempt, Released)
        reason = place.exited(order.attempt).reason
        lines = sorted(ledger.read_text().split())
        story = (victim, place.exited(order.attempt), place.chunks(order.attempt))
        assert reason is not StopReason.COMPLETED or lines == ["0", "1", "2", "3"], story
        assert was_killed or reason is StopReason.COMPLETED, story
        # a supervisor may need a moment to end after its last word; nothing else is left by then
        left = {kind: pids for kind, pids in alive(place).items() if kind not in ("", "supervisor")}
        assert left == {}, (story, left)
        if was_killed:
            told[victim] += 1
    return told


@pytest.fixture(scope="module", params=KINDS)
def environment(request, tmp_path_factory):
    return mpi_environment(request.param, tmp_path_factory.mktemp("mpi"))


@pytest.mark.timeout(240)
def test_mpi_jobs_that_lose_a_part_at_any_instant_end_and_never_as_a_success(
    environment, short_tmp: Path
):
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        place.artefacts = OneEnvironment(environment)
        place.open()
        killed = kill_again_and_again(place, KILLS, SEED)
    assert set(killed) == set(VICTIMS[:KILLS])
