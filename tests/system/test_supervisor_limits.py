"""Time and memory limits, and who is to blame when several things go wrong."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.testbeds.local_place import LocalPlace, numbers, until
from zenkei.agent import groups
from zenkei.model.job import StopReason
from zenkei.ports.engine import Released, Started

MIB = 1 << 20
EAT = """
import sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(bytearray(b"x" * (1 << 20)))
    time.sleep(0.005)
print("full", flush=True)
time.sleep(1000)
"""
EAT_SHARED = """
import os, sys, time
fd = os.open("/dev/shm/zkt-eaten-%d" % os.getpid(), os.O_CREAT | os.O_RDWR)
os.unlink("/dev/shm/zkt-eaten-%d" % os.getpid())
for _ in range(int(sys.argv[1])):
    os.write(fd, b"x" * (1 << 20))
print("full", flush=True)
time.sleep(1000)
"""
SPIN = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(os.getpid(), flush=True)
while True:
    pass
"""


WAIT_THEN_GROW = """
import os, signal
signal.signal(signal.SIGUSR1, lambda number, frame: None)
print(os.getpid(), flush=True)
signal.pause()
held = [bytearray(os.urandom(1 << 20)) for _ in range(200)]
"""


@pytest.fixture
def place(short_tmp: Path):
    opened = LocalPlace(short_tmp / "home", without=("unified", "freezer", "memory"))
    yield opened
    opened.close()


def test_the_time_limit_ends_an_attempt(place):
    ended = place.run(1, "exec sleep 1000", time_limit_s=0.3, grace_s=0.2)
    assert ended.reason is StopReason.TIME_LIMIT


def test_a_program_may_tidy_up_when_its_time_is_over(place):
    command = "trap 'echo saved > ../outputs/state; exit 0' TERM; while :; do sleep 0.05; done"
    ended = place.run(1, command, time_limit_s=0.3, grace_s=20.0)
    assert ended.reason is StopReason.TIME_LIMIT
    assert (place.node_dir(ended.attempt) / "outputs" / "state").read_text() == "saved\n"


@pytest.mark.parametrize("program", [EAT, EAT_SHARED], ids=["private", "dev-shm"])
def test_a_tree_beyond_its_memory_is_ended_without_control_groups(place, program):
    command = ("python", "-I", "-S", "-c", program, "300")
    ended = place.run(1, command, memory_bytes=100 * MIB)
    assert ended.reason is StopReason.OUT_OF_MEMORY
    assert "of 100 MiB" in ended.exit.detail


@pytest.mark.root
@pytest.mark.skipif(not groups.find_places().memory, reason="no writable memory control group")
def test_the_kernel_ends_a_rank_beyond_its_memory(short_tmp):
    with LocalPlace(short_tmp / "home") as place:
        command = ("python", "-I", "-S", "-c", EAT, "300")
        ended = place.run(1, command, memory_bytes=100 * MIB)
        assert (ended.reason, ended.exit.signal) == (StopReason.OUT_OF_MEMORY, signal.SIGKILL)


@pytest.mark.root
@pytest.mark.skipif(not groups.find_places().cpu, reason="no writable CPU control group")
@pytest.mark.parametrize("memory_bytes", [0, 100 * MIB], ids=["late", "born-inside"])
def test_busy_attempts_share_a_cpu_as_they_asked_for_it(short_tmp, memory_bytes):
    """One asks for a quarter of what the other does, and both run on the same CPU.

    An ordinary user has no writable control group, and no such share.
    """
    with LocalPlace(short_tmp / "home") as place:
        pids = []
        for number, cpus in ((1, 0.25), (2, 1.0)):
            command = ("python", "-I", "-S", "-c", SPIN)
            attempt = place.launch(number, command, cpus=cpus, memory_bytes=memory_bytes)
            pids += numbers(place.until_output(attempt, b"\n"))
        until(lambda: all(b":/zenkei-" in weighed(pid) for pid in pids), "both to be weighed")
        before = [ticks(pid) for pid in pids]

        def used() -> list[int]:
            return [ticks(pid) - then for pid, then in zip(pids, before, strict=True)]

        until(lambda: sum(used()) > os.sysconf("SC_CLK_TCK"), "a second of work")
        little, much = used()
    assert much > 2 * little


def weighed(pid: int) -> bytes:
    """The line of its control group that has the CPU controller."""
    lines = Path(f"/proc/{pid}/cgroup").read_bytes().splitlines()
    return b"".join(line for line in lines if b"cpu" in line.split(b":")[1].split(b","))


def ticks(pid: int) -> int:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.root
@pytest.mark.skipif(not groups.find_places().memory, reason="no writable memory control group")
def test_a_rank_killed_by_a_kernel_out_of_memory_is_told_from_one_killed_by_somebody(place):
    foreign = Path(groups.find_places().memory) / f"zenkei-test-{os.getpid()}"
    attempt = place.launch(1, ("python", "-c", WAIT_THEN_GROW))
    pid = numbers(place.until_output(attempt, b"\n"))[0]
    foreign.mkdir()
    try:
        (foreign / "memory.limit_in_bytes").write_text(str(32 << 20))
        (foreign / "cgroup.procs").write_text(str(pid))
        os.kill(pid, signal.SIGUSR1)
        place.wait(attempt, Released)
    finally:
        foreign.rmdir()
    assert place.exited(attempt).reason is StopReason.OUT_OF_MEMORY
    assert "the machine was out of memory" in place.exited(attempt).exit.detail
    killed = place.run(2, "kill -9 $$")
    assert (killed.reason, killed.exit.symptom) == (StopReason.NONZERO_EXIT, "killed")


def test_a_supervisor_sleeps_while_the_grace_lasts(place):
    command = "trap 'echo asked' TERM; while :; do sleep 0.05 || true; done"
    attempt = place.launch(1, command, time_limit_s=0.2, grace_s=60.0)
    place.until_output(attempt, b"asked")
    supervisor = place.supervisor_pid(attempt)
    before = ticks(supervisor)
    threading.Event().wait(1.0)
    assert ticks(supervisor) - before < os.sysconf("SC_CLK_TCK") // 10
    place.stop(attempt, grace_s=0.0)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.TIME_LIMIT


def test_a_failure_before_the_stop_order_stays_the_cause(place):
    command = "echo first >&2; (trap '' TERM; sleep 1000) & exit 5"
    attempt = place.launch(1, command, grace_s=0.4)
    place.wait(attempt, Started)
    place.wait(attempt, Released)
    place.stop(attempt)
    assert place.exited(attempt).exit.code == 5


def test_a_stopped_supervisor_is_not_taken_for_dead(place):
    attempt = place.launch(1, "echo $PPID; exec sleep 1000")
    [supervisor] = numbers(place.until_output(attempt, b"\n"))
    assert supervisor == place.supervisor_pid(attempt)
    os.kill(supervisor, signal.SIGSTOP)
    place.open()
    assert [type(r) for r in place.wait(attempt, Started)] == [Started]
    os.kill(supervisor, signal.SIGCONT)
    place.stop(attempt)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.USER_CANCEL
