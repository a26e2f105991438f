"""SIGKILL of supervisors, the warm agent and ranks at random instants under load, daemon alive.

An attempt then ends with its true exit or as a failure of the infrastructure and is tried again,
never while anything of the attempt before it lives: each holds its job's lock file as long as any
process of its tree does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.system.faults_home import Home, a_home, processes_of
from tests.system.test_faults_daemon import SEED

KILLS = int(os.environ.get("ZENKEI_TEST_AGENT_KILLS", "40"))
# 9 is inherited by all that the job starts; the daemonised sleep outlives its parent. flock ends
# with 1 if somebody else holds the lock, with another code if it was killed itself
COMMAND = """
exec 9>>{locks}/$ZENKEI_JOB
flock -n 9 || {{ [ $? -ne 1 ] || echo "$ZENKEI_ATTEMPT overlaps" >> {ledger}; }}
echo "$ZENKEI_ATTEMPT" >> {ledger}
setsid sleep 1000 >/dev/null 2>&1 &
i=0; while [ $i -lt 12 ]; do i=$((i+1)); echo line $i; sleep {pause}; done
"""
INFRASTRUCTURE = {"node_lost", "launch_failed"}


class Targets:
    """Processes of a home by what they are."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def find(self, kind: str) -> list[int]:
        found = processes_of(self._home.path)
        found.pop(self._home.newest.pid, None)
        return [pid for pid in found if _kind(pid, found[pid]) == kind]


def _kind(pid: int, command: str) -> str:
    try:
        marked = b"ZENKEI_TREE=" in Path(f"/proc/{pid}/environ").read_bytes()
        folder = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
    if marked:
        return "rank"
    if ".pyz" not in command:
        return ""
    return "supervisor" if "/attempts/" in folder else "agent"


def kill_one(targets: Targets, rng: Random) -> str:
    """SIGKILL to a random process of a random kind; which kind, empty if none was there."""
    kind = rng.choice(("supervisor", "supervisor", "rank", "rank", "agent"))
    pids = targets.find(kind)
    if not pids:
        return ""
    try:
        os.kill(rng.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return kind


def submit_some(home: Home, rng: Random, ledger: Path, locks: Path) -> str:
    pause = rng.choice((0.005, 0.02, 0.06))
    command = COMMAND.format(locks=locks, ledger=ledger, pause=pause)
    return home.submit(command, resources={"cpus": 0.1}, grace="1s")


def check_attempts(home: Home, job: str, runs: Counter[str]) -> list[str]:
    """How its attempts ended. Only the last may have ended by itself."""
    shown = home.show(job)
    reasons = [attempt["stop"] for attempt in shown["attempts"]]
    assert set(reasons[:-1]) <= INFRASTRUCTURE, shown
    if shown["state"] == "succeeded":
        assert reasons[-1] == "completed", shown
        expected = "".join(f"line {i}\n" for i in range(1, 13))
        assert home.log(job, attempt=len(reasons)).decode() == expected
        assert runs[f"{job}/{len(reasons)}"] == 1
    else:
        # a rank that was killed: its own true end, which is the job's
        assert (shown["state"], reasons[-1]) == ("failed", "nonzero_exit"), shown
        ended = shown["attempts"][-1]["rank_exit"]
        # the shell itself, or a program that it waited for
        assert ended["signal"] == signal.SIGKILL or ended["code"] == 128 + signal.SIGKILL, shown
    return reasons


def kill_again_and_again(home: Home, kills: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """What was killed, and how attempts ended."""
    rng = Random(seed)
    ledger, locks = home.folder / "ledger", home.folder / "locks"
    ledger.touch()
    locks.mkdir()
    home.start()
    targets, pause = Targets(home), threading.Event()
    jobs: list[str] = []
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        unfinished = [row for row in home.rows() if row["state"] not in ("succeeded", "failed")]
        if len(unfinished) < 6:
            jobs.append(submit_some(home, rng, ledger, locks))
        pause.wait(rng.uniform(0.0, 0.25))
        kind = kill_one(targets, rng)
        if kind:
            killed[kind] += 1
    home.until_still(120)
    runs = Counter(ledger.read_text().splitlines())
    assert [line for line in runs if line.endswith("overlaps")] == []
    assert [attempt for attempt, times in runs.items() if times > 1] == []
    reasons: Counter[str] = Counter()
    for job in jobs:
        reasons.update(check_attempts(home, job, runs))
    home.end_checks()
    return killed, reasons


@pytest.mark.timeout(240)
def test_killed_supervisors_agents_and_ranks_leave_nothing_and_lose_no_job():
    with a_home() as home:
        killed, reasons = kill_again_and_again(home, KILLS, SEED)
    assert set(killed) == {"supervisor", "agent", "rank"}
    assert reasons["node_lost"] > 0
    assert reasons["completed"] > 0


def daemons_and_all(home: Home, kills: int, seed: int) -> Any:
    """Everything dies at once: daemon, agent, a supervisor, within an instant of each other."""
    rng = Random(seed)
    pause = threading.Event()
    ledger, locks = home.folder / "ledger", home.folder / "locks"
    ledger.touch()
    locks.mkdir()
    home.start()
    targets = Targets(home)
    jobs: list[str] = []
    for _ in range(kills):
        jobs += [submit_some(home, rng, ledger, locks) for _ in range(2)]
        pause.wait(rng.uniform(0.0, 0.4))
        victims = targets.find("agent") + targets.find("supervisor")[: rng.randint(0, 2)]
        rng.shuffle(victims)
        home.newest.signal(signal.SIGKILL)
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        home.newest.gone()
        home.start()
    home.until_still(120)
    runs = Counter(ledger.read_text().splitlines())
    assert [line for line in runs if line.endswith("overlaps")] == []
    assert [attempt for attempt, times in runs.items() if times > 1] == []
    for job in jobs:
        check_attempts(home, job, runs)
    home.end_checks()


@pytest.mark.timeout(240)
def test_daemon_agent_and_supervisors_killed_together_lose_no_job():
    with a_home() as home:
        daemons_and_all(home, max(4, KILLS // 5), SEED)
