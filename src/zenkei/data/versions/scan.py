"""Names and stats of a whole tree, as columns. Called by `commit`.

Workers walk portions of it (directories to look into, until enough entries are seen) by descriptors
and never through a link; no content is read. Cost: 3 µs a file and worker.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zenkei.data import reasons
from zenkei.data.ignore import Rules
from zenkei.data.manifest import leaves_tree, path_text
from zenkei.data.versions.checks import MAX_NAME_BYTES, MAX_PATH_BYTES
from zenkei.data.versions.table import Kind
from zenkei.data.versions.workers import Workers
from zenkei.data.walk import MAX_DEPTH, SPECIAL, Chain, open_root
from zenkei.ports.trees import LeftOut

ENTRIES: Final = 8_192
"""After so many a worker answers, so that another one gets a part of what is left."""
STAT: Final = ("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
MODE, INODE, SIZE, MTIME, CTIME = range(len(STAT))
LEAVES: Final = "a link that leads out of the dataset"
STORE: Final = "the dataset store itself"
_INT64: Final = (1 << 63) - 1

_look = methodcaller("stat", follow_symlinks=False)
_columns = attrgetter(*STAT)


@dataclass(kw_only=True, slots=True)
class Scan:
    """Of n rows as in VersionTable. stats: (n, 5) int64, columns as in STAT. 0 for directories."""

    directories: tuple[bytes, ...]
    parents: NDArray[np.uint32]
    name_data: bytes
    name_starts: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    stats: NDArray[np.int64]
    targets: dict[int, bytes]
    left_out: list[LeftOut] = field(default_factory=list)

    def name(self, row: int) -> bytes:
        return self.name_data[int(self.name_starts[row]) : int(self.name_starts[row + 1])]

    def path(self, row: int) -> bytes:
        folder = self.directories[int(self.parents[row])]
        return folder + b"/" + self.name(row) if folder else self.name(row)


@dataclass(slots=True)
class _Folder:
    """What one directory has, names sorted, as bytes: a million of these must travel and fit.

    data: all names; lengths: uint16 each; stats: int64, as in STAT; kinds: one byte each.
    targets: by index.
    """

    path: bytes
    data: bytes
    lengths: bytes
    stats: bytes
    kinds: bytes
    targets: dict[int, bytes] = field(default_factory=dict)
    has_directories: bool = False
    has_row: bool = False

    def __len__(self) -> int:
        return len(self.kinds)

    def names(self) -> list[bytes]:
        ends = np.cumsum(np.frombuffer(self.lengths, np.uint16), dtype=np.int64).tolist()
        return [self.data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def keep(self, names: list[bytes], rows: list[int]) -> None:
        """These names, with the stats and kinds that stood at `rows`; -1: an empty directory."""
        stats = np.frombuffer(self.stats, np.int64).reshape(-1, len(STAT))
        empty = np.zeros((1, len(STAT)), np.int64)
        self.targets = {
            new: self.targets[old] for new, old in enumerate(rows) if old in self.targets
        }
        self.stats = np.concatenate([stats, empty])[rows].tobytes()
        self.kinds = bytes((self.kinds + bytes([Kind.DIRECTORY]))[row] for row in rows)
        self.data, self.lengths = b"".join(names), _lengths(names)


def _lengths(names: list[bytes]) -> bytes:
    return np.fromiter(map(len, names), np.uint16, len(names)).tobytes()


def scan(
    root: Path,
    *,
    jobs: int,
    exclude: tuple[str, ...] = (),
    store: Path | None = None,
    said: Callable[[int], None],
) -> Scan:
    """store: a directory that is left out if it lies below. said: told how many entries were seen.

    Raises InvalidInput naming a path.
    """
    top = open_root(root, follow=True)
    inside = _relative(store, root) if store else None
    folders: list[_Folder] = []
    left_out: list[LeftOut] = []
    seen = 0
    try:
        with Workers(jobs, lambda: _Walker(top, exclude, inside).walk) as workers:
            tasks: deque[list[bytes]] = deque([[b""]])
            for found, left, more in workers.run(tasks):
                folders += found
                left_out += left
                tasks.extend(more)
                seen += sum(map(len, found))
                said(seen)
    finally:
        os.close(top)
    folders.sort(key=lambda folder: folder.path)
    return _joined(folders, left_out)


def _relative(store: Path, root: Path) -> bytes | None:
    place, top = os.path.realpath(store), os.path.realpath(root)
    return os.fsencode(os.path.relpath(place, top)) if place.startswith(f"{top}/") else None


def _joined(folders: list[_Folder], left_out: list[LeftOut]) -> Scan:
    """All folders as one; an empty one gets a row in the one above it."""
    _add_empty(folders)
    _drop_leaving(folders, left_out)
    lengths = np.frombuffer(b"".join(folder.lengths for folder in folders), np.uint16)
    if lengths.size and lengths.max() > MAX_NAME_BYTES:
        long = max((name for folder in folders for name in folder.names()), key=len)
        raise reasons.not_a_file(path_text(long), f"a name of more than {MAX_NAME_BYTES} bytes")
    starts = np.zeros(len(lengths) + 1, np.uint64)
    np.cumsum(lengths, out=starts[1:])
    first = 0
    targets: dict[int, bytes] = {}
    for folder in folders:
        targets.update({first + index: target for index, target in folder.targets.items()})
        first += len(folder)
    counts = [len(folder) for folder in folders]
    # into a bytearray, as readers correct what has changed meanwhile
    stats = np.frombuffer(bytearray().join([folder.stats for folder in folders]), np.int64)
    return Scan(
        directories=tuple(folder.path for folder in folders),
        parents=np.repeat(np.arange(len(folders), dtype=np.uint32), counts),
        name_data=b"".join([folder.data for folder in folders]),
        name_starts=starts,
        kinds=np.frombuffer(b"".join([folder.kinds for folder in folders]), np.uint8),
        stats=stats.reshape(-1, len(STAT)),
        targets=targets,
        left_out=left_out,
    )


def _add_empty(folders: list[_Folder]) -> None:
    """An empty directory is a row of the one above it; may be called again."""
    index = {folder.path: folder for folder in folders}
    added: dict[bytes, list[bytes]] = {}
    for folder in folders[1:]:
        if not len(folder) and not folder.has_directories and not folder.has_row:
            folder.has_row = True
            parent, _, name = folder.path.rpartition(b"/")
            added.setdefault(parent, []).append(name)
    for parent, names in added.items():
        above = index[parent]
        rows = [*range(len(above)), *[-1] * len(names)]
        every = sorted(zip([*above.names(), *names], rows, strict=True))
        above.keep([name for name, _ in every], [row for _, row in every])


def _drop_leaving(folders: list[_Folder], left_out: list[LeftOut]) -> None:
    """Links that lead out of the tree do not travel: elsewhere they lead to something else."""
    linking = [folder for folder in folders if folder.targets]
    while True:
        links: dict[str, str] = {}
        places: dict[str, tuple[_Folder, int]] = {}
        for folder in linking:
            names = folder.names()
            for index, target in folder.targets.items():
                path = path_text(_below(folder.path, names[index]))
                links[path], places[path] = path_text(target), (folder, index)
        leaving = sorted(path for path in links if leaves_tree(path, links))
        if not leaving:
            return
        left_out += [LeftOut(path=path, why=LEAVES) for path in leaving]
        gone: dict[bytes, set[int]] = {}
        for path in leaving:
            folder, index = places[path]
            gone.setdefault(folder.path, set()).add(index)
        for folder in linking:
            names = folder.names()
            rows = [row for row in range(len(names)) if row not in gone.get(folder.path, ())]
            folder.keep([names[row] for row in rows], rows)
        _add_empty(folders)


def _below(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


class _Walker:
    """In a worker: what lies in the directories it is given."""

    def __init__(self, root: int, exclude: tuple[str, ...], store: bytes | None) -> None:
        self._store = store
        self._chain = Chain(root)
        self._rules = Rules(exclude)
        self._left_out: list[LeftOut] = []

    def walk(self, todo: list[bytes]) -> tuple[list[_Folder], list[LeftOut], list[list[bytes]]]:
        """Folders, what was left out of them, and portions of what is still to be looked into."""
        folders: list[_Folder] = []
        self._left_out = []
        seen = 0
        while todo and seen < ENTRIES:
            path = todo.pop()
            found = self._folder(path, todo)
            if found is not None:
                folders.append(found)
                seen += len(found) + 8
        half = len(todo) // 2
        return folders, self._left_out, [part for part in (todo[:half], todo[half:]) if part]

    def _folder(self, path: bytes, todo: list[bytes]) -> _Folder | None:
        if path.count(b"/") >= MAX_DEPTH:
            raise reasons.too_deep(path_text(path), MAX_DEPTH)
        try:
            descriptor = self._chain.at(path_text(path))
            with os.scandir(descriptor) as listing:
                entries = list(listing)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not path:
                raise reasons.cannot_read("", error) from error
            return None  # gone, or no longer a directory: it was never there
        except OSError as error:
            raise reasons.cannot_read(path_text(path) or ".", error) from error
        if self._rules:
            entries = [entry for entry in entries if not self._excluded(path, entry)]
        entries.sort(key=_name)
        try:
            stats, entries = _stats(entries)
        except PermissionError as error:  # it may be listed, and not entered
            raise reasons.cannot_read(path_text(path) or ".", error) from error
        kind = stats[:, MODE] & 0o170000
        if (kind == stat.S_IFREG).all():
            names = [os.fsencode(entry.name) for entry in entries]
            kinds = bytes(len(names))
            return _Folder(path, b"".join(names), _lengths(names), stats.tobytes(), kinds)
        return self._mixed(path, descriptor, entries, stats, todo)

    def _mixed(
        self,
        path: bytes,
        descriptor: int,
        entries: list[os.DirEntry[str]],
        stats: NDArray[np.int64],
        todo: list[bytes],
    ) -> _Folder:
        """A directory that has something else than files."""
        kept: list[int] = []
        names: list[bytes] = []
        kinds: list[int] = []
        targets: dict[int, bytes] = {}
        has_directories = False
        for index, entry in enumerate(entries):
            name = os.fsencode(entry.name)
            mode = stat.S_IFMT(int(stats[index, MODE]))
            if mode == stat.S_IFDIR:
                if self._enter(below := _below(path, name)):
                    todo.append(below)
                    has_directories = True
                continue
            if mode in SPECIAL:
                text = path_text(_below(path, name))
                self._left_out.append(LeftOut(path=text, why=SPECIAL[mode]))
                continue
            if mode == stat.S_IFLNK:
                try:
                    targets[len(names)] = os.readlink(name, dir_fd=descriptor)
                except OSError:
                    continue  # no longer there, or no longer a link
            kept.append(index)
            names.append(name)
            kinds.append(Kind.LINK if mode == stat.S_IFLNK else Kind.FILE)
        return _Folder(
            path, b"".join(names), _lengths(names), stats[kept].tobytes(), bytes(kinds),
            targets, has_directories,
        )  # fmt: skip

    def _enter(self, path: bytes) -> bool:
        if len(path) > MAX_PATH_BYTES:
            raise reasons.too_deep(path_text(path), MAX_DEPTH)
        if path == self._store:
            self._left_out.append(LeftOut(path=path_text(path), why=STORE))
            return False
        return True

    def _excluded(self, folder: bytes, entry: os.DirEntry[str]) -> bool:
        path = path_text(_below(folder, os.fsencode(entry.name)))
        return bool(self._rules.says(path + "/" * entry.is_dir(follow_symlinks=False)))


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _stats(entries: list[os.DirEntry[str]]) -> tuple[NDArray[np.int64], list[os.DirEntry[str]]]:
    """Without what has gone meanwhile."""
    try:
        numbers: Any = chain.from_iterable(map(_columns, map(_look, entries)))
        table = np.fromiter(numbers, np.int64, len(STAT) * len(entries))
    except (FileNotFoundError, OverflowError):
        there = []
        rows = []
        for entry in entries:
            try:
                rows.append([value & _INT64 for value in _columns(_look(entry))])
            except FileNotFoundError:
                continue
            there.append(entry)
        return np.array(rows, np.int64).reshape(-1, len(STAT)), there
    return table.reshape(-1, len(STAT)), entries
