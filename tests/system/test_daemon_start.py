"""Starting and ending a daemon: many at once, over remains of dead ones, in difficult places."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.system.cli_runs import Place, a_place
from tests.testbeds.local_place import is_alive, until

SLOW_TO_END = "trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def place():
    with a_place() as found:
        yield found


def daemon_pid(home: Path) -> int:
    return int(json.loads((home / "state.lock").read_text())["pid"])


def daemons(place: Place) -> set[int]:
    """Processes that serve this home."""
    mark = f"ZENKEI_HOME={place.home}".encode()
    found = set()
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in environ and "zenkei.app" in (process.info["cmdline"] or []):
            found.add(process.pid)
    return found


def begin(place: Place, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "zenkei.cli.entry", *argv],
        cwd=place.work,
        env=place.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_eight_commands_at_once_start_one_daemon_and_all_are_served(place):
    started = [begin(place, "submit", "--no-code", "--", "true") for _ in range(8)]
    ended = [(*process.communicate(timeout=90), process.returncode) for process in started]
    assert [code for *_, code in ended] == [0] * 8, ended
    assert sorted(int(out) for out, *_ in ended) == list(range(1, 9))
    assert daemons(place) == {daemon_pid(place.home)}


def test_the_daemon_keeps_nothing_of_the_terminal_that_started_it(place):
    place.ok("ps")
    process = psutil.Process(daemon_pid(place.home))
    assert process.cwd() == "/"
    assert process.ppid() != os.getpid()
    assert os.getsid(process.pid) not in (os.getsid(0), process.ppid())
    targets = {fd: os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 1, 2)}
    assert targets[0] == "/dev/null"
    assert targets[1] == targets[2] == str(place.home / "daemon.stderr")


def test_everything_in_the_home_is_its_owners_alone(place):
    place.ok("run", "--", "echo", "hi")
    assert stat.S_IMODE(place.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.home / "zenkei.sock").stat().st_mode) == 0o600
    for name in ("db.sqlite3", "daemon.log", "state.lock"):
        assert stat.S_IMODE((place.home / name).stat().st_mode) == 0o600, name


def test_every_line_of_the_log_is_json(place):
    place.ok("run", "--", "echo", "hi")
    place.ok("down")
    lines = [json.loads(line) for line in (place.home / "daemon.log").read_text().splitlines()]
    assert lines[0]["text"].startswith("starting")
    assert lines[-1]["text"].startswith("stopped")
    assert all(line["at"].endswith("Z") for line in lines)


def test_a_killed_daemon_leaves_a_socket_that_is_no_obstacle(place):
    place.ok("ps")
    first = daemon_pid(place.home)
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_alive(first), "the end of the daemon")
    assert (place.home / "zenkei.sock").exists()
    place.ok("ps")
    assert daemon_pid(place.home) != first


def test_a_socket_without_a_daemon_is_replaced(place):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(place.home / "zenkei.sock"))
    stale.close()
    place.ok("run", "--", "true")


def test_a_second_daemon_of_the_same_home_gives_way(place):
    place.ok("ps")
    first = daemon_pid(place.home)
    read, write = os.pipe()
    second = subprocess.run(
        [sys.executable, "-P", "-m", "zenkei.app", "--ready-fd", str(write)],
        env=place.environ,
        pass_fds=[write],
        timeout=60,
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as said:
        assert json.loads(said.read()) == {"busy": True}
    assert second.returncode == 0
    assert daemon_pid(place.home) == first
    place.ok("ps")


def test_down_is_clean_and_may_be_repeated(place):
    place.ok("ps")
    pid = daemon_pid(place.home)
    place.ok("down")
    assert not is_alive(pid)
    assert not (place.home / "zenkei.sock").exists()
    assert (place.home / "state.lock").read_text() == ""
    place.ok("down")


def test_sigterm_ends_the_daemon_and_not_its_jobs(place):
    gate = place.work.parent / "gate"
    os.mkfifo(gate)
    started = begin(place, "run", "--", "sh", "-c", f"echo one; read x < {gate}; echo two")
    assert started.stdout is not None
    assert started.stdout.readline() == "one\n"
    pid = daemon_pid(place.home)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_alive(pid), "the end of the daemon")
    # whoever opens the other end of the pipe waits until the job reads from it: it lives
    gate.write_text("go\n")
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (0, "two\n"), err
    assert daemon_pid(place.home) != pid


def test_down_with_jobs_lets_nobody_start_on_what_falls_free(place):
    place.ok("up", "--nodes", "2", "--gpus-per-node", "1")
    submit = ("submit", "--json", "--gpus", "1", "--")
    quick = place.ok(*submit, "sleep", "600").json()["id"]
    slow = place.ok(*submit, "sh", "-c", SLOW_TO_END).json()["id"]
    for job in (quick, slow):
        place.until(job, "running")
    place.ok(*submit, "sleep", "600")
    told = place.ok("down", "--jobs", "--yes", "--json").json()
    assert told == {"stopped": [quick, slow], "running": 0}


def test_a_home_with_a_long_path_has_its_socket_elsewhere(place):
    home = place.home.parent / ("long-" * 20)
    long = Place(home=home, work=place.work, environ={**place.environ, "ZENKEI_HOME": str(home)})
    try:
        assert long.ok("run", "--", "echo", "hi").stdout == "hi\n"
        found = Path((home / "socket.path").read_text())
        assert len(os.fsencode(found)) <= 107
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        # another environment, as in cron, finds the same daemon
        assert long.run("ps", "--all", XDG_RUNTIME_DIR="").stdout.count("echo") == 1
    finally:
        long.run("down", "--jobs", "--yes")
        shutil.rmtree(home, ignore_errors=True)


def test_a_home_that_cannot_be_made_is_refused_with_a_hint(place):
    done = place.run("ps", ZENKEI_HOME="/proc/nowhere/home")
    assert done.code == 2
    assert "hint: set ZENKEI_HOME" in done.stderr


def test_settings_that_are_wrong_are_told_by_the_command(place):
    (place.home / "settings.toml").write_text("worker_thread = 3\n")
    done = place.run("ps")
    assert done.code == 2
    assert "did you mean `worker_threads`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_of_another_machine_is_refused(place):
    (place.home / "state.lock").write_text('{"host": "other-id", "name": "other"}')
    done = place.run("ps")
    assert (done.code, "machine other" in done.stderr) == (6, True)
    (place.home / "state.lock").write_text("")
