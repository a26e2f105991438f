"""At a terminal: a secret is typed unseen, and what cannot be undone is asked first."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.cli_runs import Place, a_place


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        found.ok("run", "--", "true")
        yield found


def typed(place: Place, *argv: str, prompt: str, answer: str) -> tuple[int, str]:
    """Exit code, and all that the terminal has shown; `answer` is typed after `prompt`."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zenkei.cli.entry", *argv],
        cwd=place.work,
        env={**place.environ, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    with process:
        while prompt.encode() not in shown:
            piece = os.read(leader, 4096)
            assert piece, shown
            shown += piece
        os.write(leader, answer.encode() + b"\n")
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:
            pass  # the other side of the terminal is closed
    os.close(leader)
    return process.returncode, shown.decode()


def test_a_secret_is_typed_without_being_shown(place):
    code, shown = typed(
        place, "secret", "set", "TYPED", prompt="(not shown)", answer="hunter2secret"
    )
    assert code == 0, shown
    assert "hunter2secret" not in shown
    kept = place.home / "secrets" / "default" / "TYPED"
    assert kept.read_bytes() == b"hunter2secret"
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe"])
def test_nothing_is_pruned_without_a_yes(place, answer):
    code, shown = typed(place, "prune", "--older-than", "0", prompt="go on? [y/N]", answer=answer)
    assert code == 1
    assert "nothing was removed" in shown
    assert place.run("show", "1").code == 0


def test_a_yes_prunes(place):
    job = place.ok("submit", "--json", "--", "true").json()["id"]
    place.run("wait", job)
    code, shown = typed(place, "prune", "--older-than", "0", prompt="go on? [y/N]", answer="y")
    assert code == 0, shown
    assert "forgotten" in shown
    assert place.run("show", job).code == 4
