"""Clocks that jump, machines that sleep, machines that start anew: nothing is declared lost, and
nothing is signalled because of an old number.

Only the daemon's clock is bent, by libfaketime; the machine's is never touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults_home import Home, a_home, processes_of
from tests.system.test_faults_agent import Targets
from tests.testbeds.local_place import until
from zenkei.agent import processes

LOOP = "echo begun; until [ -e {go} ]; do sleep 0.05; done; echo done"
HOUR_S = 3600


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as found:
        yield found


@pytest.fixture(scope="module")
def faketime() -> str:
    """The library that bends the clock of a process with threads."""
    for attempt in range(2):
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if found:
            return str(found[0])
        if attempt == 0 and os.geteuid() == 0 and shutil.which("apt-get"):
            script = Path(__file__).parents[1] / "testbeds" / "install_faketime.sh"
            subprocess.run(["/bin/sh", script], capture_output=True, check=False, timeout=100)
    pytest.skip("libfaketime is not here and cannot be installed")


def bent(faketime: str, offset: str, file: Path | None = None) -> dict[str, str]:
    """Variables for a daemon with another time; with a file, it is looked at all the time."""
    common = {"LD_PRELOAD": faketime, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    if file is None:
        return {**common, "FAKETIME": offset}
    file.write_text(offset + "\n")
    return {**common, "FAKETIME_TIMESTAMP_FILE": str(file)}


def begun(home: Home, go: Path) -> str:
    job = home.submit(LOOP.format(go=go))
    home.until_state(job, "running")
    until(lambda: b"begun" in home.log(job), "the job to print")
    return job


def finished(home: Home, job: str, go: Path) -> None:
    """It ended as it would have without the fault, at its first attempt."""
    go.touch()
    assert home.until_over(job) == "succeeded", home.show(job)
    assert home.log(job) == b"begun\ndone\n"
    assert [attempt["stop"] for attempt in home.show(job)["attempts"]] == ["completed"]


@pytest.mark.parametrize("offset", ["-3d", "+3d"])
def test_a_daemon_whose_clock_is_days_off_finds_its_jobs_and_runs_new_ones(home, faketime, offset):
    home.start()
    go = home.folder / "go"
    job = begun(home, go)
    home.newest.kill()
    home.start(fresh=True, **bent(faketime, offset))
    assert home.state(job) == "running"
    new = home.submit("echo new; exit 3", retry={"limit": 1, "backoff": "1s"})
    assert home.until_over(new) == "failed"
    assert [a["stop"] for a in home.show(new)["attempts"]] == ["nonzero_exit"] * 2
    finished(home, job, go)
    # and back to the machine's own time
    home.newest.kill()
    home.start()
    after = home.submit("echo after; exit 3", retry={"limit": 1, "backoff": "1s"})
    assert home.until_over(after) == "failed"
    home.until_still()
    home.end_checks()


def test_a_clock_that_jumps_while_the_daemon_runs_loses_nothing(home, faketime):
    clock = home.folder / "clock"
    home.start(fresh=True, **bent(faketime, "+0", clock))
    go = home.folder / "go"
    job = begun(home, go)
    for jump in (f"+{12 * HOUR_S}", f"-{12 * HOUR_S}", "+0"):
        clock.write_text(jump + "\n")
        new = home.submit("exit 3", retry={"limit": 1, "backoff": "1s"})
        assert home.until_over(new, 30) == "failed"
        assert len(home.show(new)["attempts"]) == 2
        assert home.state(job) == "running"
    finished(home, job, go)
    home.until_still()
    home.end_checks()


def test_a_retry_that_waits_when_the_clock_is_set_back_does_not_wait_for_its_old_hour(
    home, faketime
):
    clock = home.folder / "clock"
    home.start(fresh=True, **bent(faketime, "+0", clock))
    job = home.submit("exit 3", retry={"limit": 1, "backoff": "500s"})
    until(lambda: home.show(job)["not_before_us"], "the first attempt to fail")
    clock.write_text(f"-{72 * HOUR_S}\n")
    assert home.until_over(job, 30) == "failed"
    assert len(home.show(job)["attempts"]) == 2
    home.until_still()
    home.end_checks()


def test_a_machine_that_was_suspended_goes_on_where_it_was(home):
    home.start()
    go = home.folder / "go"
    job = begun(home, go)
    targets = Targets(home)
    everybody = [home.newest.pid]
    for kind in ("agent", "supervisor", "rank"):
        everybody += targets.find(kind)
    assert len(everybody) >= 4
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(4.0)
    for pid in reversed(everybody):
        os.kill(pid, signal.SIGCONT)
    assert home.state(job) == "running"
    finished(home, job, go)
    home.end_checks()


@pytest.mark.parametrize("kind", ["agent", "supervisor"])
def test_a_part_that_stands_still_is_not_taken_for_dead(home, kind):
    home.start()
    go = home.folder / "go"
    job = begun(home, go)
    stopped = Targets(home).find(kind)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(3.0)
    assert home.state(job) == "running"
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    finished(home, job, go)
    home.end_checks()


@pytest.mark.root
def test_a_machine_that_was_started_anew_requeues_and_signals_nobody(home):
    """Another boot id lies over the kernel's in the mount namespace of daemon and agents only."""
    old, new = home.folder / "boot-1", home.folder / "boot-2"
    old.write_text("11111111-1111-1111-1111-111111111111\n")
    new.write_text("22222222-2222-2222-2222-222222222222\n")
    start_under_boot(home, old)
    go = home.folder / "go"
    job = begun(home, go)
    home.newest.kill()
    # the processes of the old boot end without a word, as with a power cut; one that has no part
    # in the attempt stands for whoever got a number of theirs
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        for pid in processes_of(home.path):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not processes_of(home.path), "the end of the old boot")
        change_recorded_pid(home, job, innocent.pid)
        go.touch()
        start_under_boot(home, new)
        assert home.until_over(job) == "succeeded"
        attempts = home.show(job)["attempts"]
        assert [attempt["stop"] for attempt in attempts] == ["node_lost", "completed"]
        assert "reboot" in attempts[0]["release_proof"]
        assert innocent.poll() is None, "it was signalled"
    finally:
        innocent.kill()
        innocent.wait()
    home.until_still()
    home.end_checks()


def start_under_boot(home: Home, boot: Path) -> None:
    words = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-ec", words, "boot", str(boot))
    probe = [*prefix, "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    home.start(prefix=prefix)


def change_recorded_pid(home: Home, job: str, pid: int) -> None:
    """The supervisor's number in the old spool now is another process's."""
    from zenkei.protocol import records

    spool = home.path / "attempts" / job / "1" / "node-0" / "spool"
    found = records.read(str(spool))
    found = [{**record, "pid": pid} if "pid" in record else record for record in found]
    assert any(record.get("pid") == pid for record in found)
    data = b"".join(records.encode(record) for record in found)
    spool.write_bytes(data + b"\0" * records.ROOM_BYTES)


def test_a_process_is_killed_by_its_mark_never_by_its_number_alone():
    innocent = subprocess.Popen(["sleep", "1000"], env={"ZENKEI_TREE": "another"})
    try:
        # a program that is just being executed has no variables for a moment
        until(Path(f"/proc/{innocent.pid}/environ").read_bytes, "its variables")
        processes.kill_marked(innocent.pid, b"ZENKEI_TREE=mine")
        assert innocent.poll() is None
        processes.kill_marked(innocent.pid, b"ZENKEI_TREE=another")
        assert innocent.wait(20) == -signal.SIGKILL
    finally:
        innocent.kill()
        innocent.wait()
