"""Walking a hostile directory: by descriptors, never through a link, with bounded depth.

Called by `scan` (code) and `tree` (results), which say what to leave out. Only names and stats are
read here; `Reader` reads contents later, through the same kind of descriptors, so a directory that
is swapped for a link in between leads nowhere. Cost: about 5 µs a file.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from zenkei.data import reasons
from zenkei.data.manifest import path_text
from zenkei.ports.trees import LeftOut

MAX_DEPTH: Final = 200
OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

SPECIAL: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(slots=True)
class Found:
    """What a walk saw. files: path and its stat; links: path and target; empty: directories."""

    files: list[tuple[str, os.stat_result]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    size_bytes: int = 0


class Choice(Protocol):
    """What a walk asks. Paths are relative; those of directories have no final `/`."""

    def enter(self, path: str, descriptor: int, names: list[str]) -> bool:
        """Whether to look into the directory at `path` ("" is the root), which has `names`."""

    def leave(self, path: str) -> None:
        """The directory that was entered is done."""

    def take(self, path: str, name: str) -> bool:
        """Whether a file or link travels."""

    def counted(self, found: Found) -> None:
        """After each directory; raises when it is too much."""


class Everything:
    """A Choice that leaves nothing out."""

    def enter(self, path: str, descriptor: int, names: list[str]) -> bool:
        return True

    def leave(self, path: str) -> None:
        return

    def take(self, path: str, name: str) -> bool:
        return True

    def counted(self, found: Found) -> None:
        return


def open_root(root: Path, *, follow: bool) -> int:
    """A descriptor of the directory. Raises InvalidInput."""
    try:
        return os.open(root, OPEN_DIRECTORY & ~(os.O_NOFOLLOW if follow else 0))
    except (NotADirectoryError, FileNotFoundError) as error:
        raise reasons.not_a_directory(str(root)) from error
    except OSError as error:
        if os.path.islink(root):
            raise reasons.not_a_directory(str(root)) from error
        raise reasons.cannot_read(str(root), error) from error


def walk(root: int, choice: Choice) -> Found:
    """Everything below the directory open as `root` that `choice` wants."""
    found = Found()
    if choice.enter("", root, _names(root)):
        _directory(root, "", choice, found, 0)
        choice.leave("")
    return found


def _names(descriptor: int) -> list[str]:
    return os.listdir(descriptor)


def _directory(descriptor: int, prefix: str, choice: Choice, found: Found, depth: int) -> None:
    subdirectories: list[str] = []
    with os.scandir(descriptor) as listing:
        for entry in listing:
            name = entry.name
            path = prefix + path_text(os.fsencode(name))
            if entry.is_dir(follow_symlinks=False):
                subdirectories.append(name)
            elif choice.take(path, name):
                try:
                    _leaf(descriptor, entry, path, found)
                except FileNotFoundError:
                    continue  # gone between listing and looking: it was never there
    choice.counted(found)
    for name in subdirectories:
        _subdirectory(descriptor, name, prefix, choice, found, depth)


def _leaf(descriptor: int, entry: os.DirEntry[str], path: str, found: Found) -> None:
    info = entry.stat(follow_symlinks=False)
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG:
        found.files.append((path, info))
        found.size_bytes += info.st_size
    elif kind == stat.S_IFLNK:
        target = os.readlink(os.fsencode(entry.name), dir_fd=descriptor)
        found.links.append((path, path_text(target)))
    elif kind in SPECIAL:
        found.left_out.append(LeftOut(path=path, why=SPECIAL[kind]))


def _subdirectory(
    parent: int, name: str, prefix: str, choice: Choice, found: Found, depth: int
) -> None:
    path = prefix + path_text(os.fsencode(name))
    if depth >= MAX_DEPTH:
        raise reasons.too_deep(path, MAX_DEPTH)
    try:
        descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return  # gone, or no longer a directory
    except OSError as error:
        raise reasons.cannot_read(path, error) from error
    try:
        names = _names(descriptor)
        if not choice.enter(path, descriptor, names):
            return
        if not names:
            found.empty.append(path)
        _directory(descriptor, path + "/", choice, found, depth + 1)
        choice.leave(path)
    finally:
        os.close(descriptor)


class Chain:
    """Descriptors of the directories down to the one in use; for paths that come in sorted order.

    make: create what is missing (for checkouts).
    """

    def __init__(self, root: int, *, make: bool = False) -> None:
        self._root = root
        self._make = make
        self._names: list[str] = []
        self._open: list[int] = []

    def at(self, directory: str) -> int:
        """A descriptor of `directory` ("" is the root), valid until the next call."""
        parts = directory.split("/") if directory else []
        common = 0
        for mine, wanted in zip(self._names, parts, strict=False):
            if mine != wanted:
                break
            common += 1
        self._shorten(common)
        for part in parts[common:]:
            parent = self._open[-1] if self._open else self._root
            name = part.encode("utf-8", "surrogateescape")
            made = False
            if self._make:
                made = _make_directory(parent, name)
            self._open.append(os.open(name, OPEN_DIRECTORY, dir_fd=parent))
            self._names.append(part)
            if made:
                os.fchmod(self._open[-1], 0o755)  # the umask has no say
        return self._open[-1] if self._open else self._root

    def close(self) -> None:
        self._shorten(0)

    def _shorten(self, length: int) -> None:
        while len(self._open) > length:
            os.close(self._open.pop())
            self._names.pop()


def _make_directory(parent: int, name: bytes) -> bool:
    """False if there is something of that name already."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True
