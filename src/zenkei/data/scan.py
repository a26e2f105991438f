"""What of a working tree travels: a walk that asks the ignore rules and keeps secrets at home.

Called by `tree.snapshot`. Reads ignore files and stats, no contents.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from zenkei.data import ignore, reasons
from zenkei.data.ignore import Level, Rules, Selection
from zenkei.data.manifest import path_text, shown
from zenkei.data.walk import Found
from zenkei.model.errors import InvalidInput
from zenkei.model.job import CodeRequest
from zenkei.ports.trees import LeftOut

MAX_IGNORE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a working tree may be; a larger one is usually a mistake (data, checkpoints)."""

    files: int = 200_000
    size_bytes: int = 2 << 30


class CodeChoice:
    """Implements walk.Choice. homes: (device, inode) of directories that never travel.

    wanted: paths that .zenkeiignore asked for by name, so that even a key travels.
    """

    def __init__(
        self, root: Path, request: CodeRequest, limits: Limits, homes: frozenset[tuple[int, int]]
    ) -> None:
        self._selection = Selection(include=request.include, exclude=request.exclude)
        self._levels: list[Level] = levels_above(root)
        self._current: tuple[Level, ...] = tuple(self._levels)
        self._pushed: list[bool] = []
        self._limits = limits
        self._homes = homes
        self.left_out: list[LeftOut] = []
        self.wanted: set[str] = set()
        self._bytecode = False

    def enter(self, path: str, descriptor: int, names: list[str]) -> bool:
        if path and not self._enters(path, descriptor, names):
            return False
        found = [name for name in ignore.IGNORE_FILES if name in names]
        if found:
            git, own = (_rules(descriptor, name, name in found) for name in ignore.IGNORE_FILES)
            self._levels.append(Level(path + "/" if path else "", git, own))
            self._current = tuple(self._levels)
        self._pushed.append(bool(found))
        return True

    def leave(self, path: str) -> None:
        if self._pushed.pop():
            self._levels.pop()
            self._current = tuple(self._levels)

    def take(self, path: str, name: str) -> bool:
        asked = self._selection.asked_out(path, self._current)
        if asked or not self._selection.included(path):
            return False
        why = ignore.file_left_out(name)
        if why and asked is None:
            self.left_out.append(LeftOut(path=path, why=why))
            return False
        if asked is False:
            self.wanted.add(path)
        return True

    def counted(self, found: Found) -> None:
        if len(found.files) > self._limits.files:
            raise _too_many(found, self._limits.files)

    def finish(self, found: Found) -> None:
        """After the walk, when the largest files are known."""
        if found.size_bytes > self._limits.size_bytes:
            raise _too_large(found, self._limits.size_bytes)

    def _enters(self, path: str, descriptor: int, names: list[str]) -> bool:
        asked = self._selection.asked_out(path + "/", self._current)
        if asked is not None:
            return not asked
        name = path.rpartition("/")[2]
        why = ignore.directory_left_out(name)
        if not why and any(mark in names for mark in ignore.ENVIRONMENT_MARKS):
            why = "a virtual environment; say what it needs in `env`"
        if not why:
            info = os.fstat(descriptor)
            is_home = all(mark in names for mark in ignore.HOME_MARKS)
            if is_home or (info.st_dev, info.st_ino) in self._homes:
                why = "zenkei's own state"
        if not why:
            return True
        if name != ignore.BYTECODE:
            usual = name in ignore.USUAL
            self.left_out.append(LeftOut(path=path, why=why, usual=usual))
        elif not self._bytecode:
            self._bytecode = True
            self.left_out.append(LeftOut(path=ignore.BYTECODE, why=why, usual=True))
        return False


def levels_above(root: Path) -> list[Level]:
    """Rules of the git repository that the tree is a part of, from its top to the root's parent."""
    top = repository_top(root)
    if top is None:
        return []
    levels: list[Level] = []
    folder = top
    if (top / ".git" / "info" / "exclude").is_file():
        above = _way_down(top, root)
        levels.append(Level("", _read(top / ".git" / "info" / "exclude"), Rules(()), above))
    while folder != root:
        levels.append(Level("", _read(folder / ".gitignore"), Rules(()), _way_down(folder, root)))
        folder /= root.relative_to(folder).parts[0]
    return [level for level in levels if level.git]


def repository_top(root: Path) -> Path | None:
    """The nearest directory at or above `root` (absolute, resolved) that has a `.git`."""
    for folder in (root, *root.parents):
        if os.path.lexists(folder / ".git"):
            return folder
    return None


def _way_down(folder: Path, root: Path) -> str:
    way = root.relative_to(folder).as_posix()
    return "" if way == "." else path_text(os.fsencode(way)) + "/"


def _read(path: Path) -> Rules:
    try:
        with path.open("rb") as file:
            return Rules(path_text(file.read(MAX_IGNORE_BYTES)).splitlines())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Rules(())
    except OSError as error:
        raise reasons.cannot_read(str(path), error) from error


def _rules(descriptor: int, name: str, present: bool) -> Rules:
    if not present:
        return Rules(())
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        opened = os.open(name, flags, dir_fd=descriptor)
    except OSError as error:
        raise reasons.cannot_read(name, error) from error
    with os.fdopen(opened, "rb") as file:
        return Rules(path_text(file.read(MAX_IGNORE_BYTES)).splitlines())


def _too_many(found: Found, limit: int) -> InvalidInput:
    tops = Counter(path.partition("/")[0] for path, _ in found.files).most_common(3)
    text = ", ".join(f"{shown(top)} ({count:,})" for top, count in tops)
    return InvalidInput(
        "too-many-files",
        f"the working tree has more than {limit:,} files; most of them in {text}",
        hint="leave them out in .zenkeiignore (data belong into datasets, not into code), or raise "
        "`max_code_files` in the settings",
        details={"limit": limit, "top": [shown(top) for top, _ in tops]},
    )


def _too_large(found: Found, limit: int) -> InvalidInput:
    tops = largest(found, 3)
    text = ", ".join(f"{shown(path)} ({size / 2**20:,.0f} MiB)" for path, size in tops)
    return InvalidInput(
        "tree-too-large",
        f"the working tree has {found.size_bytes / 2**20:,.0f} MiB, more than "
        f"{limit / 2**20:,.0f} MiB; the largest files: {text}",
        hint="leave them out in .zenkeiignore (data belong into datasets, not into code), or raise "
        "`max_code_bytes` in the settings",
        details={"limit": limit, "bytes": found.size_bytes, "largest": [shown(p) for p, _ in tops]},
    )


def largest(found: Found, count: int) -> tuple[tuple[str, int], ...]:
    """The largest files: path and bytes."""
    files = heapq.nlargest(count, found.files, key=lambda file: file[1].st_size)
    return tuple((path, info.st_size) for path, info in files)
