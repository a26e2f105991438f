"""Neighbouring versions: daemon, supervisors and command line of different ages live together.

The neighbour is this program's source with the changes that a neighbour would have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults_home import Home, a_home
from tests.testbeds.local_place import until

LOOP = "echo begun; until [ -e {go} ]; do sleep 0.05; done; echo done; exit 3"


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as found:
        yield found


def neighbour(home: Home, repo: Path, name: str, *changes: tuple[str, str, str]) -> dict[str, str]:
    """Variables under which the program is the neighbour. changes: file, text, text instead."""
    root = home.folder / name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repo / "src" / "zenkei", root / "zenkei", ignore=ignored)
    for file, text, instead in changes:
        path = root / "zenkei" / file
        before = path.read_text()
        assert text in before, (file, text)
        path.write_text(before.replace(text, instead))
    paths = [str(root), *(p for p in sys.path if p and not p.startswith(str(repo / "src")))]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def older(home: Home, repo: Path) -> dict[str, str]:
    """Its records lack what came later."""
    return neighbour(
        home,
        repo,
        "older",
        ("protocol/__init__.py", "VERSION = 1", "VERSION = 0"),
        ("agent/attempt.py", 'fields["by_rank"] =', "_ ="),
        ("agent/attempt.py", 'fields["cause_us"] = fields.pop("at_us")', 'fields.pop("at_us")'),
        ("agent/supervisor.py", ", env=env, cpus=cpus)", ")"),
    )


def newer_protocol(home: Home, repo: Path) -> dict[str, str]:
    return neighbour(
        home,
        repo,
        "newer",
        ("api/version.py", "PROTOCOL = 1", "PROTOCOL = 2"),
        ("api/version.py", "OLDEST_CLIENT = 1", "OLDEST_CLIENT = 2"),
        ("api/version.py", "OLDEST_DAEMON = 1", "OLDEST_DAEMON = 2"),
    )


def begun(home: Home, go: Path) -> str:
    job = home.submit(LOOP.format(go=go))
    home.until_state(job, "running")
    until(lambda: b"begun" in home.log(job), "the job to print")
    return job


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_jobs_go_on_when_the_daemon_changes_its_version_under_them(home, repo, direction):
    other = older(home, repo)
    first, second = (other, {}) if direction == "upgrade" else ({}, other)
    home.start(fresh=True, **first)
    go = home.folder / "go"
    job, waiting = begun(home, go), home.submit("echo cancelled; sleep 1000")
    home.until_state(waiting, "running")
    home.newest.kill()
    home.start(fresh=True, **second)
    assert home.state(job) == "running"
    # orders reach supervisors of the other version
    home.client.post(f"/v1/jobs/{waiting}/cancel", {"grace_s": 0.2})
    assert home.until_over(waiting) == "cancelled"
    go.touch()
    assert home.until_over(job) == "failed"
    assert home.show(job)["attempts"][0]["rank_exit"]["code"] == 3
    assert home.log(job) == b"begun\ndone\n"
    new = home.submit("echo new")
    assert home.until_over(new) == "succeeded"
    home.until_still()
    home.end_checks()


def zenkei(home: Home, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "zenkei.cli.entry", *argv],
        cwd=home.folder / "work",
        env={**home.environ, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_newer_command_line_is_told_to_restart_the_daemon_and_can(home, repo):
    newer = newer_protocol(home, repo)
    home.start()
    go = home.folder / "go"
    job = begun(home, go)
    refused = zenkei(home, "ps", **newer)
    assert refused.returncode == 6, refused.stderr
    assert "zenkei down && zenkei up" in refused.stderr
    down = zenkei(home, "down", **newer)
    assert down.returncode == 0, down.stderr
    home.newest.gone()
    home.start(fresh=True, **newer)
    shown = zenkei(home, "show", "--json", job, **newer)
    assert '"running"' in shown.stdout, shown.stderr
    go.touch()
    waited = zenkei(home, "wait", job, **newer)
    assert waited.returncode == 3, waited.stderr


def test_an_older_command_line_is_told_to_be_upgraded(home, repo):
    home.start(fresh=True, **newer_protocol(home, repo))
    refused = zenkei(home, "ps")
    assert refused.returncode == 6, refused.stderr
    assert "upgrade zenkei" in refused.stderr
    assert home.newest.alive()
