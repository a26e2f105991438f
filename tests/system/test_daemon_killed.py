"""The daemon is killed at bad moments: followers go on, nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.system.cli_runs import a_place
from tests.system.test_daemon_start import begin, daemon_pid
from tests.testbeds.local_place import until
from zenkei.client.client import Client
from zenkei.client.failure import Failure

LINES = 300
COUNT = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.04; done"
"""Slowly: each daemon that is killed has been up for a while, on a busy machine too."""


@pytest.fixture
def place():
    with a_place() as found:
        yield found


def living_daemon(home: Path) -> psutil.Process | None:
    try:
        return psutil.Process(daemon_pid(home))
    except (psutil.NoSuchProcess, OSError, ValueError):
        return None


def serving_daemon(home: Path) -> psutil.Process | None:
    process = living_daemon(home)
    try:
        Client(str(home)).get("/v1/version")
    except (Failure, OSError):
        return None
    return process


def kill_daemon(home) -> None:
    # what was read may lie in a pipe: the next daemon is perhaps only on its way
    process = until(partial(serving_daemon, home), "a daemon")
    os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=20)


def test_a_follower_sees_every_line_once_over_three_kills(place):
    started = begin(place, "run", "--", "sh", "-c", COUNT)
    assert started.stdout is not None
    seen: list[str] = []
    for kill_at in (40, 120, 200):
        while len(seen) < kill_at:
            seen.append(started.stdout.readline())
        kill_daemon(place.home)
    seen += started.stdout.readlines()
    _, err = started.communicate(timeout=90)
    assert seen == [f"line {i}\n" for i in range(1, LINES + 1)], err
    assert started.returncode == 0


def test_the_exit_code_arrives_though_the_job_ended_while_no_daemon_ran(place):
    started = begin(place, "run", "--", "sh", "-c", "echo up; sleep 0.5; exit 7")
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    # stopped, the follower cannot start a new daemon before the job has ended
    started.send_signal(signal.SIGSTOP)
    kill_daemon(place.home)
    (spool,) = place.home.glob("attempts/*/*/node-0/spool")
    lock = subprocess.run(["flock", str(spool), "true"], timeout=60, check=False)
    assert lock.returncode == 0, "the supervisor holds its spool until it has ended"
    started.send_signal(signal.SIGCONT)
    _out, err = started.communicate(timeout=90)
    assert started.returncode == 7, err
    assert "exit code 7 is the job's own" in err


def test_submits_through_kills_make_each_job_exactly_once(place):
    place.ok("ps")
    started = [begin(place, "run", "--json", "--no-code", "--", "true") for _ in range(6)]
    for _ in range(3):
        kill_daemon(place.home)
        place.ok("ps")
    ended = [(*process.communicate(timeout=90), process.returncode) for process in started]
    assert [code for *_, code in ended] == [0] * 6, ended
    rows = place.ok("ps", "--all", "--json").json()["jobs"]
    assert sorted(row["state"] for row in rows) == ["succeeded"] * 6


def test_ctrl_c_detaches_and_the_job_goes_on(place):
    started = begin(place, "run", "--", "sh", "-c", "echo up; sleep 1000")
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    started.send_signal(signal.SIGINT)
    _out, err = started.communicate(timeout=30)
    assert started.returncode == 0
    assert "zenkei logs -f 1" in err
    assert place.ok("show", "--json", "1").json()["state"] == "running"
    place.ok("cancel", "--grace", "0", "1")
    waited = place.run("wait", "--json", "1")
    assert (waited.code, json.loads(waited.stdout)["exit"]["by"]) == (130, "zenkei")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("exit 3", 3, "exit code 3 is the job's own"),
        ("kill -SEGV $$", 139, "signal 11"),
        ("exit 0", 0, "succeeded"),
    ],
)
def test_the_shell_sees_the_jobs_own_code_and_the_last_line_says_whose_it_is(
    place, command, code, words
):
    done = place.run("run", "--no-code", "--", "sh", "-c", command)
    assert done.code == code
    assert words in done.stderr.splitlines()[-1]


def test_a_time_limit_has_its_own_code(place):
    done = place.run("run", "--no-code", "--time-limit", "1s", "--", "sleep", "100")
    assert done.code == 124
    assert "time limit" in done.stderr
