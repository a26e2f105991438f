"""The three commands of uv that are used, with all their options in one place.

Called by `locking` and `realising`. Every call works in a private folder, with a clean environment,
zenkei's own cache, wheels only unless allowed, and never downloads a Python.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from zenkei.envs import signature, uvtext
from zenkei.envs.child import Children
from zenkei.envs.person import Person
from zenkei.model.errors import Unavailable

POOL_ENTRIES: Final = 300
"""Below it starting workers costs more than they save."""
TESTS: Final = r"/tests?/"
"""Bytecode of packages' own tests would be a third of the files, and no job imports them."""


class Uv:
    """timeout_s: for each command. Failures are raised as errors for a person (see `uvtext`)."""

    def __init__(self, person: Person, children: Children, cache: Path, timeout_s: float) -> None:
        self._person = person
        self._children = children
        self._cache = cache
        self._timeout_s = timeout_s

    def compile(
        self,
        text: str,
        *,
        python: str,
        version: str,
        options: tuple[str, ...],
        build: bool,
        work: Path,
        say: Callable[[str], None],
    ) -> str:
        """Requirement lines to pinned lines with hashes, for this interpreter and platform."""
        (work / "requirements.in").write_text(text, "utf-8")
        self._run(
            ["pip", "compile", "requirements.in", "--output-file", "locked.txt"],
            ["--python", python, "--generate-hashes", "--no-annotate", "--no-header"],
            ["--no-emit-index-url", "--no-emit-find-links", "--no-sources", "--upgrade"],
            [*options, *self._person.options()],
            verb="resolved",
            version=version,
            build=build,
            work=work,
            say=say,
        )
        return (work / "locked.txt").read_text("utf-8")

    def venv(self, tree: Path, *, python: str, version: str, work: Path) -> None:
        self._run(
            ["venv", "--no-project", "--python", python, "--prompt", "zenkei", str(tree)],
            verb="built",
            version=version,
            build=None,
            work=work,
            say=lambda _line: None,
        )

    def sync(
        self,
        text: str,
        tree: Path,
        *,
        version: str,
        options: tuple[str, ...],
        build: bool,
        link_mode: str,
        work: Path,
        say: Callable[[str], None],
    ) -> None:
        """Install exactly the pinned lines; what arrives must have one of their hashes."""
        (work / "locked.txt").write_text(text, "utf-8")
        self._run(
            ["pip", "sync", "locked.txt", "--python", str(tree / "bin" / "python")],
            ["--require-hashes", "--link-mode", link_mode, "--no-sources"],
            [*options, *self._person.options()],
            verb="built",
            version=version,
            build=build,
            work=work,
            say=say,
        )

    def bytecode(self, tree: Path, *, work: Path) -> None:
        """Compile what was installed, so that no job has to write into the environment.

        A file that is no valid Python (templates) is not an error.
        """
        python = str(tree / "bin" / "python")
        entries, _ = signature.count(tree / "lib")
        workers = "-j0" if entries > POOL_ENTRIES else "-j1"
        self._children.run(
            [python, "-I", "-m", "compileall", "-q", workers, "-x", TESTS, str(tree / "lib")],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            cwd=work,
            timeout_s=self._timeout_s,
            mask=self._person.mask,
        )

    def _run(
        self,
        *argv: list[str],
        verb: str,
        version: str,
        build: bool | None,
        work: Path,
        say: Callable[[str], None],
    ) -> None:
        words = [word for part in argv for word in part]
        if build is False:
            words += ["--only-binary", ":all:"]
        words += ["--cache-dir", str(self._cache), "--no-python-downloads", "--color", "never"]
        outcome = self._children.run(
            [_find(), *words],
            env=self._person.environment(build=bool(build)),
            cwd=work,
            timeout_s=self._timeout_s,
            mask=self._person.mask,
            on_line=uvtext.follow(say),
        )
        if outcome.code != 0 or outcome.timed_out or outcome.too_long:
            raise uvtext.failure(outcome, verb, timeout_s=self._timeout_s, python=version)


def _find() -> str:
    """uv as installed beside zenkei, else on PATH; asked for when it is needed, not before."""
    beside = Path(sys.prefix) / "bin" / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise Unavailable("no-uv", "uv is not installed beside zenkei", hint="reinstall zenkei")
    return found
