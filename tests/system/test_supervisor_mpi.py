"""Real Open MPI and MPICH from wheels, over virtual nodes: ranks, their ends, and stopping."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, numbers, until
from tests.testbeds.mpi_envs import KINDS, OneEnvironment, mpi_environment
from zenkei.engines.local import NodesConfig
from zenkei.engines.local.execute import LocalExecute
from zenkei.model.data import Digest
from zenkei.model.ids import AttemptId
from zenkei.model.job import EnvRequest, Launcher, StopReason
from zenkei.ports.engine import Released

PROGRAM = """
import os, signal, sys, time
if sys.argv[1] == "absent" and os.environ["ZENKEI_RANK"] == "0":
    os._exit(5)
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank)
local = world.Split_type(MPI.COMM_TYPE_SHARED).size
me = os.environ["ZENKEI_RANK"]
print(f"{world.rank}/{world.size} sum {total} local {local} env {me}", flush=True)
does = sys.argv[1]
if does == "die" and world.rank == 3:
    print("the last words", file=sys.stderr, flush=True)
    os._exit(5)
if does != "end":
    def tidy(*_):
        print("tidied up", flush=True)
        os._exit(0)
    signal.signal(signal.SIGTERM, tidy)
    print(f"pid {os.getpid()}", flush=True)
    time.sleep(1000)
"""
LEFT = 'trap "echo asked; exit" TERM; echo left; while :; do sleep 0.05; done'


@pytest.fixture(scope="module", params=KINDS)
def environment(request, tmp_path_factory):
    return mpi_environment(request.param, tmp_path_factory.mktemp("mpi"))


@pytest.fixture
def place(environment, short_tmp: Path):
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as opened:
        opened.artefacts = OneEnvironment(environment)
        opened.open()
        yield opened


def launch(place: LocalPlace, does: str, grace_s: float = 5.0) -> AttemptId:
    return start(place, ("python", "-c", PROGRAM, does), grace_s=grace_s)


def start(place: LocalPlace, command: tuple[str, ...] | str, **options: Any) -> AttemptId:
    order = place.order(1, command, nodes=2, ranks=2, launcher=Launcher.MPI, **options)
    place.engine.launch(replace(order, env=Digest("b3:" + "0" * 64)))
    return order.attempt


def said(place: LocalPlace, attempt: AttemptId) -> bytes:
    return place.output(attempt, 0) + place.output(attempt, 1)


def test_ranks_of_two_nodes_form_one_world(place):
    attempt = launch(place, "end")
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED, place.chunks(attempt)
    lines = sorted(said(place, attempt).decode().split("\n")[:-1])
    assert lines == [f"{rank}/4 sum 6 local 2 env {rank}" for rank in range(4)]
    assert {chunk.rank for chunk in place.chunks(attempt, 1)} == {2, 3}


def test_a_rank_that_fails_is_the_cause_and_ends_the_gang(place):
    attempt = launch(place, "die")
    place.wait(attempt, Released)
    ended = place.exited(attempt)
    assert (ended.exit.code, ended.exit.rank, ended.exit.node) == (5, 3, "node-2")
    assert ended.exit.detail == "the last words"


def test_a_rank_that_never_joins_ends_the_gang_long_before_the_grace_is_over(place):
    attempt = launch(place, "absent", grace_s=1000.0)
    place.wait(attempt, Released)
    ended = place.exited(attempt)
    exit_ = ended.exit
    assert (exit_.code, exit_.rank, exit_.node) == (5, 0, "node-1"), place.chunks(attempt)


def test_a_stop_order_reaches_the_ranks_and_waits_for_them(place):
    attempt = launch(place, "wait")
    for rank in (0, 1):
        place.until_output(attempt, b"pid", rank)
    place.until_output(attempt, b"pid", 1)
    place.stop(attempt, grace_s=20.0)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.USER_CANCEL
    assert said(place, attempt).count(b"tidied up") >= 3


def test_every_word_of_a_command_reaches_the_ranks_as_it_is(place):
    words = (":", "a'b", 'c"d', "two\nlines", "", "--", "-n", "$HOME", "日本")
    attempt = start(place, ("printf", "<%s>", *words))
    place.wait(attempt, Released)
    chunks = place.chunks(attempt, 0) + place.chunks(attempt, 1)
    expected = "".join(f"<{word}>" for word in words).encode()
    for rank in range(4):
        assert b"".join(chunk.data for chunk in chunks if chunk.rank == rank) == expected


def test_where_mpiexec_starts_no_rank_its_own_words_are_the_cause(place):
    no_means = {"PRTE_MCA_plm": "nowhere", "HYDRA_DEFAULT_HOSTS": "x", "HYDRA_RMK": "nowhere"}
    attempt = start(place, "true", env=EnvRequest(vars=no_means))
    place.wait(attempt, Released)
    ended = place.exited(attempt).exit
    assert ended.detail.startswith("mpiexec: "), place.chunks(attempt)


def test_what_a_rank_left_behind_is_asked_to_end_when_the_ranks_have(place):
    attempt = start(place, f"(setsid sh -c '{LEFT}' &); sleep 1000")
    until(lambda: said(place, attempt).count(b"left\n") == 4, "what the ranks leave behind")
    place.stop(attempt, grace_s=10.0)
    place.wait(attempt, Released)
    assert said(place, attempt).count(b"asked") == 4


def test_a_command_beside_a_rank_has_the_rank_s_own_variables(place):
    attempt = launch(place, "wait")
    place.until_output(attempt, b"pid", 1)
    beside = LocalExecute(place.home)(
        attempt, 1, 1, ("sh", "-c", "echo $ZENKEI_RANK $RANK $LOCAL_RANK $WORLD_SIZE"), b""
    )
    assert beside.next() == ("out", b"3 3 1 4\n")
    beside.close()
    place.stop(attempt)
    place.wait(attempt, Released)


def test_killing_a_supervisor_of_one_node_ends_the_gang_on_all(place):
    attempt = launch(place, "wait")
    pids = numbers(place.until_output(attempt, b"pid", 0).partition(b"pid")[2])
    os.kill(place.supervisor_pid(attempt, 1), signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason in (StopReason.NODE_LOST, StopReason.LAUNCH_FAILED)
    assert not os.path.exists(f"/proc/{pids[0]}")


def test_killing_mpiexec_ends_the_gang(place):
    attempt = launch(place, "wait")
    place.until_output(attempt, b"pid", 1)
    supervisor = place.supervisor_pid(attempt, 0)
    children = numbers(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_bytes())
    words = (b"--hostfile", b"-launcher\0")
    [mpiexec] = [pid for pid in children if any(word in command_line(pid) for word in words)]
    os.kill(mpiexec, signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is not StopReason.COMPLETED


def test_cutting_the_link_to_a_node_is_no_success(place):
    attempt = launch(place, "wait")
    place.until_output(attempt, b"pid", 1)
    home = str(place.home).encode()
    found = list(map(int, filter(str.isdigit, os.listdir("/proc"))))
    lines = {pid: command_line(pid) for pid in found if is_alive(pid)}
    links = [pid for pid, line in lines.items() if home in line and b"mpi-rsh" in line]
    for pid in links:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    place.wait(attempt, Released)
    assert links
    assert place.exited(attempt).reason is not StopReason.COMPLETED


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
