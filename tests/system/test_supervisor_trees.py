"""An attempt is over only when every process of it is gone, whatever it did to get away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, numbers, until
from zenkei.model.job import StopReason
from zenkei.ports.engine import Released

# forks `count` processes that leave their session, their parent and, if asked, their environment
ESCAPE = """
import os, sys, time
count, clean = int(sys.argv[1]), sys.argv[2] == "clean"
for _ in range(count):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if clean:
                os.execve("/bin/sleep", ["sleep", "1000"], {})
            os.execv("/bin/sleep", ["sleep", "1000"])
        os._exit(0)
    os.wait()
print("escaped", flush=True)
if sys.argv[3] == "stay":
    time.sleep(1000)
"""
# forks as fast as it can, until `most` processes were made
BOMB = """
import os, sys, signal, time
most = int(sys.argv[1])
counter = os.open("count", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ticking", flush=True)
while True:
    if os.fstat(counter).st_size >= most:
        time.sleep(0.01)
        continue
    os.write(counter, b".")
    if os.fork() == 0:
        os.setsid()
"""
MECHANISMS = {
    "cgroup-v2": (),
    "cgroup-v1-freezer": ("unified",),
    "subreaper": ("unified", "freezer"),
}


@pytest.fixture(params=list(MECHANISMS))
def place(request, short_tmp: Path):
    if os.geteuid() != 0 and request.param != "subreaper":
        pytest.skip("an ordinary user may not write control groups here")
    opened = LocalPlace(short_tmp / "home", without=MECHANISMS[request.param])
    yield opened
    opened.close()


def escape(place: LocalPlace, number: int, *words: str, count: int = 7):
    program = ("python", "-I", "-S", "-c", ESCAPE, str(count), *words)
    attempt = place.launch(number, program)
    place.until_output(attempt, b"escaped")
    return attempt


def members(place: LocalPlace, attempt) -> list[int]:
    """Living processes that work in the attempt's directory: no escapee here leaves that."""
    work = str(place.node_dir(attempt) / "work")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == work and is_alive(int(pid)):
                found.append(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("environment", ["marked", "clean"])
def test_escapees_end_with_the_attempt(place, environment):
    attempt = escape(place, 1, environment, "stay")
    assert len(members(place, attempt)) == 8
    place.stop(attempt, grace_s=0.2)
    place.wait(attempt, Released)
    assert members(place, attempt) == []


def test_what_a_rank_leaves_behind_is_ended_before_the_release(place):
    attempt = escape(place, 1, "marked", "leave")
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED
    assert members(place, attempt) == []


def test_a_leftover_that_ignores_sigterm_is_killed_after_the_grace(place):
    command = "trap '' TERM; setsid sleep 1000 & sleep 0.1; exit 0"
    attempt = place.launch(1, f"(trap '' TERM; {command})", grace_s=0.3)
    place.wait(attempt, Released)
    assert members(place, attempt) == []


def test_a_fork_bomb_is_ended(place):
    attempt = place.launch(1, ("python", "-I", "-S", "-c", BOMB, "150"))
    place.until_output(attempt, b"ticking")
    counter = place.node_dir(attempt) / "work" / "count"
    until(lambda: counter.stat().st_size >= 60, "the bomb going off")
    place.stop(attempt, grace_s=0.1)
    place.wait(attempt, Released)
    assert members(place, attempt) == []


@pytest.mark.parametrize("environment", ["marked", "clean"])
def test_killing_the_supervisor_loses_nothing_of_the_tree(place, environment):
    attempt = escape(place, 1, environment, "stay")
    os.kill(place.supervisor_pid(attempt), signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.NODE_LOST
    assert members(place, attempt) == []


def test_an_attempt_whose_supervisor_died_is_not_started_again(place):
    attempt = place.launch(1, "echo begun; exec sleep 1000")
    place.until_output(attempt, b"begun")
    (place.node_dir(attempt) / "ctl").unlink()
    os.kill(place.supervisor_pid(attempt), signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.output(attempt) == b"begun\n"


def test_killing_supervisor_and_warm_agent_loses_nothing_that_is_marked(place):
    attempt = escape(place, 1, "marked", "stay")
    os.kill(place.engine.agent_pid, signal.SIGKILL)
    os.kill(place.supervisor_pid(attempt), signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.NODE_LOST
    assert members(place, attempt) == []


def test_killing_the_warm_agent_ends_no_job(place):
    attempt = place.launch(1, "echo begun; until [ -e go ]; do sleep 0.02; done; echo done")
    place.until_output(attempt, b"begun")
    os.kill(place.engine.agent_pid, signal.SIGKILL)
    (place.node_dir(attempt) / "work" / "go").touch()
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED
    assert place.output(attempt) == b"begun\ndone\n"
    assert place.run(2, "exit 4").exit.code == 4


def test_killing_a_rank_is_reported_with_its_signal(place):
    attempt = place.launch(1, "echo $$; exec sleep 1000")
    [pid] = numbers(place.until_output(attempt, b"\n"))
    os.kill(pid, signal.SIGKILL)
    place.wait(attempt, Released)
    ended = place.exited(attempt)
    assert (ended.reason, ended.exit.signal) == (StopReason.NONZERO_EXIT, signal.SIGKILL)


def test_the_first_failing_node_is_the_root_cause_and_ends_the_others(place):
    command = 'if [ "$ZENKEI_NODE_RANK" = 1 ]; then echo lost >&2; exit 7; fi; sleep 1000'
    attempt = place.launch(1, command, nodes=3, grace_s=0.5)
    place.wait(attempt, Released)
    ended = place.exited(attempt)
    assert (ended.exit.code, ended.exit.node, ended.exit.detail) == (7, "node-2", "lost")
    assert members(place, attempt) == []


def test_the_first_failing_rank_ends_the_others_of_its_node(place):
    command = 'if [ "$ZENKEI_RANK" = 2 ]; then exit 9; fi; exec sleep 1000'
    attempt = place.launch(1, command, ranks=3)
    place.wait(attempt, Released)
    assert (place.exited(attempt).exit.code, place.exited(attempt).exit.rank) == (9, 2)
