"""`zenkei show` says which commit a job's code was, and gives back what was changed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.cli_runs import Place, a_place

WHO = ("-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "commit.gpgsign=false")


def git(place: Place, *argv: str, given: bytes = b"") -> str:
    done = subprocess.run(
        ["git", *WHO, *argv],
        cwd=place.work,
        env=place.environ,
        input=given,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Job 1 ran as committed, job 2 changed; the tree is as committed again."""
    with a_place() as found:
        found.write("train.py", "print(1)\n")
        git(found, "init", "-q", "-b", "trunk")
        git(found, "add", ".")
        git(found, "commit", "-q", "-m", "first")
        git(found, "remote", "add", "origin", "https://me:secret@host/path")
        found.ok("run", "--", "true")
        found.write("train.py", "print(2)\n")
        found.ok("run", "--", "true")
        git(found, "checkout", "-q", "--", "train.py")
        yield found


def test_show_names_commit_branch_and_remote(place: Place) -> None:
    text = place.ok("show", "1").stdout
    commit = git(place, "rev-parse", "HEAD")
    assert re.search(rf"^  git +{commit}, branch trunk, unchanged$", text, re.M)
    assert re.search(r"^  remote +https://host/path$", text, re.M)
    assert "secret" not in text


def test_show_and_the_record_say_that_the_code_was_changed(place: Place) -> None:
    assert re.search(r", changed, \d+ B of diff$", place.ok("show", "2").stdout, re.M)
    shown = place.ok("show", "--json", "2").json()["git"]
    assert shown["dirty"] is True
    place.ok("wait", "2")
    assert place.ok("result", "record", "2").json()["git"] == shown


def test_the_diff_makes_the_same_changes_again(place: Place) -> None:
    diff = place.ok("show", "--diff", "2").stdout
    git(place, "apply", given=diff.encode())
    assert (place.work / "train.py").read_text() == "print(2)\n"


def test_a_job_without_changes_has_no_diff(place: Place) -> None:
    done = place.run("show", "--diff", "1")
    assert (done.code, done.stdout) == (4, "")
    assert "no diff is kept with job 1" in done.stderr
    assert place.run("show", "--diff", "--json", "2").code == 2
