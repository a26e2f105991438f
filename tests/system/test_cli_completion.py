"""One TAB: a real shell asks, jobs come from the daemon, and little is imported for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_runs import Place, a_place
from tests.testbeds.shells import STARTS, Shell, installed, started

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


@pytest.fixture(scope="module", params=sorted(STARTS))
def shell(request, place) -> Iterator[Shell]:
    """One of each kind, at a terminal, in a folder with files; one begins like `zsh`."""
    if not installed(request.param):
        pytest.skip(f"{request.param} is not here and cannot be installed")
    folder = place.home.parent / request.param
    folder.mkdir(exist_ok=True)
    for name in ("a-file.yaml", "zoo.yaml"):
        (folder / name).write_text("")
    path = f"{Path(sys.executable).parent}:{place.environ['PATH']}"
    with started(request.param, folder, {**place.environ, "PATH": path}) as found:
        yield found


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("zenkei exp", "zenkei explain "),
        ("zenkei secret l", "zenkei secret ls "),
        ("zenkei logs --ta", "zenkei logs --tail "),
        ("zenkei logs --tail 3 1", "zenkei logs --tail 3 1 "),
        ("zenkei release 2.1", "zenkei release 2.1 "),
        ("zenkei result fetch 1", "zenkei result fetch 1 "),
        ("zenkei run a-f", "zenkei run a-file.yaml "),
        ("zenkei completion z", "zenkei completion zsh "),
    ],
)
def test_a_tab_in_a_real_shell_completes_verbs_actions_flags_jobs_and_files(shell, typed, line):
    assert shell.typed(typed) == line


@pytest.mark.parametrize("shell", ["zsh"], indirect=True)
def test_several_tabs_in_zsh_go_through_the_jobs_newest_first(shell):
    lines = [shell.typed("zenkei show ", tabs=n) for n in (1, 2, 3, 4)]
    assert [line.split()[2] for line in lines] == ["2.1", "2.0", "1", "-"]


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
