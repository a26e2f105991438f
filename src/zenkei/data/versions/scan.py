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
    """What one directory has: names sorted, stats of the same order; targets by index."""

    path: bytes
    names: list[bytes]
    stats: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    targets: dict[int, bytes]
    has_directories: bool
    has_row: bool = False


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
                seen += sum(len(folder.names) for folder in found)
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
    counts = [len(folder.names) for folder in folders]
    names = [b"".join(folder.names) for folder in folders]
    starts = np.zeros(sum(counts) + 1, np.uint64)
    lengths = np.fromiter(map(len, chain.from_iterable(f.names for f in folders)), np.uint64)
    if lengths.size and lengths.max() > MAX_NAME_BYTES:
        long = max(chain.from_iterable(folder.names for folder in folders), key=len)
        raise reasons.not_a_file(path_text(long), f"a name of more than {MAX_NAME_BYTES} bytes")
    np.cumsum(lengths, out=starts[1:])
    first = 0
    targets: dict[int, bytes] = {}
    for folder, count in zip(folders, counts, strict=True):
        targets.update({first + index: target for index, target in folder.targets.items()})
        first += count
    return Scan(
        directories=tuple(folder.path for folder in folders),
        parents=np.repeat(np.arange(len(folders), dtype=np.uint32), counts),
        name_data=b"".join(names),
        name_starts=starts,
        kinds=np.concatenate([folder.kinds for folder in folders]),
        stats=np.concatenate([folder.stats for folder in folders]),
        targets=targets,
        left_out=left_out,
    )


def _add_empty(folders: list[_Folder]) -> None:
    """An empty directory is a row of the one above it; may be called again."""
    index = {folder.path: folder for folder in folders}
    added: dict[bytes, list[bytes]] = {}
    for folder in folders[1:]:
        if not folder.names and not folder.has_directories and not folder.has_row:
            folder.has_row = True
            parent, _, name = folder.path.rpartition(b"/")
            added.setdefault(parent, []).append(name)
    for parent, names in added.items():
        above = index[parent]
        old = len(above.names)
        every = above.names + names
        order = sorted(range(len(every)), key=every.__getitem__)
        extra = np.zeros((len(names), len(STAT)), np.int64)
        above.names = [every[at] for at in order]
        above.stats = np.concatenate([above.stats, extra])[order]
        above.kinds = np.append(above.kinds, [np.uint8(Kind.DIRECTORY)] * len(names))[order]
        above.targets = {
            new: above.targets[at]
            for new, at in enumerate(order)
            if at < old and at in above.targets
        }


def _drop_leaving(folders: list[_Folder], left_out: list[LeftOut]) -> None:
    """Links that lead out of the tree do not travel: elsewhere they lead to something else."""
    while True:
        links = {
            path_text(_below(folder.path, folder.names[index])): path_text(target)
            for folder in folders
            for index, target in folder.targets.items()
        }
        leaving = {path for path in links if leaves_tree(path, links)}
        if not leaving:
            return
        left_out += [LeftOut(path=path, why=LEAVES) for path in sorted(leaving)]
        for folder in folders:
            gone = [
                index
                for index in folder.targets
                if path_text(_below(folder.path, folder.names[index])) in leaving
            ]
            if gone:
                _without(folder, gone)
        _add_empty(folders)


def _without(folder: _Folder, gone: list[int]) -> None:
    kept = [index for index in range(len(folder.names)) if index not in set(gone)]
    folder.targets = {
        new: folder.targets[old] for new, old in enumerate(kept) if old in folder.targets
    }
    folder.names = [folder.names[index] for index in kept]
    folder.stats, folder.kinds = folder.stats[kept], folder.kinds[kept]


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
                seen += len(found.names) + 8
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
        stats, entries = _stats(entries)
        kind = stats[:, MODE] & 0o170000
        if (kind == stat.S_IFREG).all():
            names = [os.fsencode(entry.name) for entry in entries]
            return _Folder(path, names, stats, np.zeros(len(names), np.uint8), {}, False)
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
            path, names, stats[kept], np.array(kinds, np.uint8), targets, has_directories
        )

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
