"""A full disk: who is hit is told so, the daemon lives, and all goes on when there is room again.

ZENKEI_HOME is a small file system in memory, which root has mounted.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.faults_home import Home, a_home
from tests.testbeds.local_place import until
from tests.testbeds.small_disk import given_or_small_disk
from zenkei.cli import checks
from zenkei.client.failure import Failure

MIB = 1 << 20
SIZE = 64 * MIB
KEPT_FREE = 4 * MIB
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def home(short_tmp: Path) -> Iterator[Home]:
    free = {"ZENKEI_MIN_FREE_BYTES": str(KEPT_FREE), "ZENKEI_MIN_FREE_PERCENT": "0.1"}
    with given_or_small_disk(short_tmp / "home", SIZE) as disk:
        where = {"ZENKEI_HOME": str(disk / "zenkei")} if disk.parent != short_tmp else {}
        with a_home(short_tmp, **free, **where) as found:
            yield found


def free_bytes(home: Home) -> int:
    found = os.statvfs(home.path)
    return found.f_bavail * found.f_frsize


def fill(home: Home, left: int) -> None:
    """Take all space but `left` bytes; more calls move the mark."""
    filler = home.path / "filler"
    filler.touch()
    size = max(0, filler.stat().st_size + free_bytes(home) - left)
    with filler.open("r+b") as file:
        os.truncate(file.fileno(), min(size, filler.stat().st_size))
        if size > filler.stat().st_size:
            os.posix_fallocate(file.fileno(), 0, size)


def make_room(home: Home) -> None:
    (home.path / "filler").unlink()


def reason_of(home: Home, job: str) -> dict[str, Any]:
    found: dict[str, Any] = home.client.get(f"/v1/jobs/{job}/explain")["reason"] or {}
    return found


def stops(home: Home, job: str) -> list[str]:
    return [attempt["stop"] for attempt in home.show(job)["attempts"]]


def test_nothing_starts_below_the_space_that_is_kept_free_and_the_reason_says_so(home):
    home.start()
    fill(home, KEPT_FREE // 2)
    job = home.submit("echo ran")
    home.until_state(job, "pending")
    told = until(lambda: reason_of(home, job), "a reason")
    assert (told["code"], told["severity"]) == ("paused", "blocked")
    assert "free" in told["text"]
    health = home.client.health()
    assert "free on the disk" in " ".join(health["problems"])
    assert home.state(job) == "pending"
    make_room(home)
    assert home.until_over(job) == "succeeded"
    home.until_still()
    home.end_checks()


def test_a_disk_that_fills_while_a_job_prints_ends_it_with_that_reason_and_it_is_tried_again(home):
    home.start()
    go, ready = home.folder / "go", home.folder / "ready"
    job = home.submit(
        f"touch {ready}; while [ ! -e {go} ]; do head -c 99999 /dev/zero | tr '\\0' x; echo; done; "
        "echo end",
        grace="1s",
    )
    until(ready.exists, "the job to run")
    fill(home, 2 * MIB)
    spool = home.path / "attempts" / job / "1" / "node-0" / "spool"
    until(lambda: b'"disk_full"' in spool.read_bytes(), "the supervisor to notice")
    go.touch()
    make_room(home)
    assert home.until_over(job) == "succeeded", home.show(job)
    assert stops(home, job) == ["disk_full", "completed"]
    assert home.log(job, attempt=2) == b"end\n"
    home.until_still()
    home.end_checks()


def test_a_disk_that_fills_while_code_is_laid_out_delays_the_job_and_says_so(home):
    tree = home.folder / "work"
    (tree / "large.bin").write_bytes(os.urandom(8 * MIB))
    home.start()
    body = b"name: t\ncommand: ls large.bin\n"
    query = {"source": str(tree), "hold": True}
    fill(home, KEPT_FREE + 10 * MIB)
    job = str(home.client.post("/v1/jobs", body, **query)["id"])
    home.client.post(f"/v1/jobs/{job}/release")
    until(lambda: "no space left" in home.log_text(), "the full disk to be noticed")
    assert home.state(job) == "preparing"
    make_room(home)
    assert home.until_over(job, 90) == "succeeded", home.show(job)
    assert stops(home, job) == ["completed"]
    home.until_still()
    home.end_checks()


def test_a_disk_that_fills_while_code_is_copied_for_an_attempt_ends_that_with_the_reason(home):
    tree = home.folder / "work"
    (tree / "large.bin").write_bytes(os.urandom(8 * MIB))
    home.start()
    body = b"name: t\ncommand: ls large.bin\n"
    fill(home, KEPT_FREE + 18 * MIB)
    job = str(home.client.post("/v1/jobs", body, source=str(tree))["id"])
    until(lambda: "disk_full" in stops(home, job), "the end of the first attempt")
    make_room(home)
    assert home.until_over(job, 90) == "succeeded", home.show(job)
    assert set(stops(home, job)[:-1]) == {"disk_full"}
    home.until_still()
    home.end_checks()


def test_a_disk_that_fills_before_the_result_is_sealed_delays_it_and_loses_nothing(home):
    home.start()
    ready, go = home.folder / "ready", home.folder / "go"
    job = home.submit(
        f"head -c {8 * MIB} /dev/urandom > outputs/weights; touch {ready}; "
        f"while [ ! -e {go} ]; do sleep 0.05; done"
    )
    until(ready.exists, "the output")
    fill(home, 2 * MIB)
    go.touch()
    home.until_over(job)
    until(lambda: "sealing delayed" in home.log_text(), "the full disk to be noticed")
    make_room(home)
    until(lambda: (home.show(job)["result"] or {}).get("state") == "sealed", "the result")
    entries = home.client.get(f"/v1/jobs/{job}/result")["entries"]
    assert [(e["path"], e["size_bytes"]) for e in entries] == [("weights", 8 * MIB)]
    home.until_still()
    home.end_checks()


def test_a_disk_without_any_room_refuses_commands_with_the_cause_and_the_daemon_lives(home):
    daemon = home.start()
    before = home.submit("echo before")
    home.until_over(before)
    home.until_still()
    fill(home, 0)
    refused: list[Failure] = []
    for number in range(300):
        try:
            home.submit("echo during", key=f"during-{number}", name="n" * 100)
        except Failure as failure:
            refused.append(failure)
            break
    assert refused, "the log of the database took everything"
    assert refused[0].exit_code == 75
    assert "space" in refused[0].hint, (refused[0].message, refused[0].hint)
    assert daemon.alive()
    assert home.state(before) == "succeeded"
    assert home.client.health()["ok"] in (True, False)
    make_room(home)
    after = home.submit("echo after")
    assert home.until_over(after) == "succeeded"
    home.until_still()
    home.end_checks()


def test_an_end_that_cannot_be_recorded_is_told_once_and_by_health_until_there_is_room(home):
    home.start()
    go = home.folder / "go"
    job = home.submit(f"until [ -e {go} ]; do sleep 0.05; done")
    home.until_state(job, "running")
    fill(home, 0)
    go.touch()
    told = until(lambda: home.client.health()["problems"][:-1], "health to say so")
    assert "nothing that happens is recorded" in told[0]
    assert "full" in told[0]
    doctor = checks.daemon(str(home.path))
    assert (doctor.verdict, told[0] in doctor.text) == (checks.Verdict.WARN, True)
    threading.Event().wait(2.5)
    make_room(home)
    assert home.until_over(job) == "succeeded"
    until(lambda: home.client.health()["problems"] == [], "health to be well again")
    lines = [json.loads(line) for line in home.log_text().splitlines()]
    spoken = [line for line in lines if line["room"].endswith("controller")]
    assert [line["text"].partition(" ")[2].partition(" ")[0] for line in spoken] == [
        "waits",
        "goes",
    ]
    assert [line for line in lines if "trace" in line] == []
    # once a second, not as fast as it can
    assert int(spoken[1]["text"].rpartition("=")[2]) < 20
    home.until_still()
    home.end_checks()


def test_a_daemon_is_not_started_on_a_full_disk_silently(home):
    fill(home, 0)
    daemon = home.begin(fresh=True)
    said = daemon.wait_ready()
    assert "space" in said["error"]["hint"] or "full" in said["error"]["message"], said
    daemon.gone()
    make_room(home)
    home.start()
    assert home.until_over(home.submit("echo hi")) == "succeeded"
    home.until_still()
    home.end_checks()
