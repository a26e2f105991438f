"""One TAB: a real shell asks, jobs come from the daemon, and little is imported for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_runs import Place, a_place

# of these the first costs 15 ms, others more; a TAB may cost five times `import argparse, json`
HEAVY = ("dataclasses", "pathlib", "zenkei.model", "zenkei.settings", "yaml", "pydantic", "fastapi")
IMPORTED = """
import sys
from zenkei.cli.entry import main
main(sys.argv[1:])
print(*[name for name in sys.modules if name.startswith(%r)], file=sys.stderr)
"""
TAB = """
eval "$(zenkei completion bash)"
COMP_WORDS=(zenkei "$@")
COMP_CWORD=$#
_zenkei
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        found.ok("run", "--", "true")
        found.ok("submit", "--hold", "--array", "2", "--", "true")
        yield found


def tab(place: Place, *words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    path = f"{Path(sys.executable).parent}:{place.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB, "bash", *words],
        cwd=place.work,
        env={**place.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_offers_verbs_actions_flags_and_jobs(place):
    assert tab(place, "exp") == ["explain"]
    assert tab(place, "secret", "") == ["set", "ls", "rm"]
    assert tab(place, "logs", "--ta") == ["--tail"]
    assert tab(place, "show", "") == ["2.1", "2.0", "1", "-"]
    assert tab(place, "release", "2") == ["2.1", "2.0"]
    assert tab(place, "result", "fetch", "1") == ["1"]
    assert tab(place, "run", "--", "py") == []


@pytest.mark.parametrize("argv", [("_complete", "show", ""), ("_complete", "p"), ("help",)])
def test_a_tab_and_the_help_import_little(place, argv):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED % (HEAVY,), *argv],
        cwd=place.work,
        env=place.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout
    assert done.stderr.split() == []
