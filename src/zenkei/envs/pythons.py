"""The Python interpreters of this machine; never downloads one.

Called by `builder`. Looks at zenkei's own base interpreter, PATH, pyenv's and uv's folders and the
system's. A version is believed only when the interpreter itself says it; answers are kept while the
file stays the same. Cost: 15 ms for each interpreter asked the first time; only those whose name
could match are asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from zenkei.model.errors import InvalidInput

OLDEST: Final = (3, 8)
_WISH: Final = re.compile(r"3\.\d{1,3}(\.\d{1,3})?")
_FILE: Final = re.compile(r"python(3(?:\.\d+)?)?")
_FOLDER: Final = re.compile(r"(?:cpython-)?(3\.\d+\.\d+)(?:-.*)?")
_ASK: Final = (
    "import sys,sysconfig as c;"
    "print(sys.implementation.name,'%d.%d.%d'%sys.version_info[:3],sys.version_info[3],"
    "int(bool(c.get_config_var('Py_GIL_DISABLED'))),getattr(sys,'_base_executable',sys.executable))"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Python:
    """path: the base interpreter's own file, no virtual environment, no symbolic link."""

    version: str
    path: str

    @property
    def minor(self) -> str:
        return self.version.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: str
    hint: str  # what its name says of its version: "3.11.7", "3.11", "3", ""


class Pythons:
    """environ: of the daemon: PATH, PYENV_ROOT, HOME, UV_PYTHON_INSTALL_DIR. own: zenkei's."""

    def __init__(self, environ: Mapping[str, str], own: Python | None = None) -> None:
        self._environ = environ
        self._own = own or _own()
        self._known: dict[tuple[str, int, int], Python | None] = {}
        self._chosen: dict[str, Python] = {}
        self._lock = Lock()

    def choose(self, wish: str) -> Python:
        """`wish`: "", "3.11" or "3.11.7". Raises InvalidInput that lists what was found."""
        if not wish:
            return self._own
        if not _WISH.fullmatch(wish):
            raise InvalidInput(
                "bad-python",
                f"`{wish[:40]}` is not a Python version",
                hint='write "3.11" or "3.11.7"',
            )
        if tuple(int(part) for part in wish.split(".")[:2]) < OLDEST:
            raise InvalidInput(
                "python-too-old",
                f"Python {wish} is asked for; jobs need 3.8 or newer",
                hint='set `env.python: "3.8"` or a newer one',
            )
        if _matches(self._own.version, wish):
            return self._own
        chosen = self._chosen.get(wish)
        if chosen and os.path.exists(chosen.path):
            return chosen
        found = [python for python in self._search(wish) if _matches(python.version, wish)]
        if not found:
            raise self._missing(wish)
        self._chosen[wish] = max(found, key=lambda python: _order(python.version))
        return self._chosen[wish]

    def like(self, version: str, *, exact: bool) -> Python:
        """For a lock: the very version, else (unless `exact`) another patch of the same minor."""
        if self._own.version == version:
            return self._own
        minor = version.rpartition(".")[0]
        chosen = self._chosen.get(minor)
        if chosen and chosen.version == version and os.path.exists(chosen.path):
            return chosen
        found = [python for python in self._search(minor) if python.minor == minor]
        same = [python for python in found if python.version == version]
        if same:
            return same[0]
        if exact or not (found or self._own.minor == minor):
            raise self._missing(version)
        return self.choose(minor)

    def found(self) -> tuple[Python, ...]:
        """All of this machine, newest first, one of each version."""
        every = {self._own.version: self._own}
        for python in self._search(""):
            every.setdefault(python.version, python)
        return tuple(sorted(every.values(), key=lambda p: _order(p.version), reverse=True))

    def _missing(self, wish: str) -> InvalidInput:
        versions = [python.version for python in self.found()]
        return InvalidInput(
            "no-such-python",
            f"Python {wish} is asked for; this machine has {', '.join(versions)}",
            hint=f'set `env.python: "{_nearest(wish, versions)}"`, or install Python {wish} '
            "(pyenv's and uv's folders and PATH are searched; zenkei downloads none)",
            details={"found": list(versions)},
        )

    def _search(self, wish: str) -> Iterator[Python]:
        """Interpreters whose name does not rule `wish` out, each once; `choose` looks closer."""
        seen = set()
        for candidate in self._candidates():
            if wish and not _possible(candidate.hint, wish):
                continue
            python = self._ask(candidate.path)
            if python and python.path not in seen:
                seen.add(python.path)
                yield python

    def _candidates(self) -> Iterator[_Candidate]:
        environ = self._environ
        home = environ.get("HOME", "")
        folders = [f for f in environ.get("PATH", "").split(":") if os.path.isabs(f)]
        for folder in dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", f"{home}/.local/bin"]):
            for name in _names(folder):
                match = _FILE.fullmatch(name)
                if match:
                    yield _Candidate(f"{folder}/{name}", match[1] or "")
        data = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
        for root in (
            (environ.get("PYENV_ROOT") or f"{home}/.pyenv") + "/versions",
            environ.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python",
        ):
            for name in _names(root):
                match = _FOLDER.fullmatch(name)
                if match:
                    yield _Candidate(f"{root}/{name}/bin/python3", match[1])

    def _ask(self, path: str) -> Python | None:
        """None for what is no usable CPython: pyenv's shims, PyPy, free-threaded builds."""
        try:
            real = os.path.realpath(path)
            status = os.stat(real)
            with open(real, "rb") as file:
                if file.read(4) != b"\x7fELF":
                    return None
        except OSError:
            return None
        # a virtual environment is told by the path, not by the file it leads to
        key = (path, status.st_size, status.st_mtime_ns)
        with self._lock:
            if key in self._known:
                return self._known[key]
        python = _interview(path)
        with self._lock:
            self._known[key] = python
        return python


def _own() -> Python:
    """The interpreter under zenkei's virtual environment."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    base = getattr(sys, "_base_executable", sys.executable)
    return Python(version=version, path=os.path.realpath(base))


def _interview(path: str) -> Python | None:
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _ASK],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=True,
        ).stdout.decode("utf-8", "surrogateescape")
        name, version, level, free, base = answer.rstrip("\n").split(" ", 4)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if name != "cpython" or level != "final" or free != "0":
        return None
    if _order(version)[:2] < OLDEST:
        return None
    return Python(version=version, path=os.path.realpath(base))


def _names(folder: str | Path) -> list[str]:
    try:
        return sorted(os.listdir(folder), reverse=True)
    except OSError:
        return []


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _matches(version: str, wish: str) -> bool:
    return version == wish or version.startswith(f"{wish}.")


def _possible(hint: str, wish: str) -> bool:
    return not hint or _matches(hint, wish) or _matches(wish, hint)


def _nearest(wish: str, versions: list[str]) -> str:
    """Of the same minor if there is one, else the next newer, else the newest."""
    same = [v for v in versions if _order(v)[:2] == _order(wish)[:2]]
    newer = [v for v in versions if _order(v) > _order(wish)]
    best = (same or newer[-1:] or versions)[0]
    return best if same else best.rpartition(".")[0]
