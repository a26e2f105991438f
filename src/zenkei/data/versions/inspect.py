"""Looks for what is missing or damaged in a depot. Called by `__main__` (`verify`).

Nothing is repaired and nothing is changed here: the answer names each object that is not what it
must be, and the files that it holds. Deep: every byte of every pack is read, its digest compared,
and that of every file in it; otherwise only names and sizes are looked at. Of versions by reference
size and time of each file are looked at where it lies.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenkei.data.depots.depot import Depot
from zenkei.data.depots.opening import open_depot
from zenkei.data.manifest import path_text, shown
from zenkei.data.versions import container
from zenkei.data.versions.commit import Said
from zenkei.data.versions.keeper import version_name
from zenkei.data.versions.pairing import paired
from zenkei.data.versions.scan import MTIME, SIZE, scan
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.data.versions.workers import Workers, usual
from zenkei.model.errors import InvalidInput, NotFound

SHOWN_FILES: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """An object that is not what it must be. files: the first paths that need it, of `count`."""

    object: str
    why: str
    versions: tuple[str, ...]
    files: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    packs: int
    size_bytes: int
    faults: tuple[Fault, ...]


def verify(
    depot: str, digests: Iterable[str], said: Said, *, deep: bool, jobs: int = 0
) -> Verified:
    """Raises Unavailable for a depot that does not answer."""
    names = sorted(set(digests))
    tables, faults = _tables(depot, names)
    sizes: dict[str, int] = {}
    for table in tables:
        sizes.update(zip(table.packs, table.pack_sizes.tolist(), strict=True))
    faults += [fault for table in tables for fault in _origin(table, jobs or usual())]
    tasks: deque[Any] = deque(sizes)
    if deep:
        tasks.extend((at, row) for at, table in enumerate(tables) for row in _large_rows(table))

    def prepare() -> _Inspector:
        return _Inspector(open_depot(depot), tables, sizes, deep=deep)

    looked, total = 0, 0
    with Workers(min(jobs or usual(), max(1, len(tasks))), prepare) as workers:
        for found in workers.run(tasks):
            if isinstance(found.of, str):
                looked, total = looked + 1, total + sizes[found.of]
                said("verify", looked, len(sizes), total)
            if found.why:
                faults.append(_fault(found, tables))
    return Verified(packs=len(sizes), size_bytes=total, faults=tuple(faults))


def _tables(depot: str, names: list[str]) -> tuple[list[VersionTable], list[Fault]]:
    """Those that can be read, and what is wrong with the others."""

    def prepare() -> Callable[[str], tuple[str, bytes]]:
        opened = open_depot(depot)
        return lambda digest: (digest, _version(opened, digest))

    faults: list[Fault] = []
    contents: dict[str, bytes] = {}
    with Workers(1, prepare) as workers:
        contents.update(workers.run(deque(names)))
    tables = []
    for digest in names:
        table, why = _believed(digest, contents[digest])
        if table is None:
            faults.append(Fault(object=version_name(digest), why=why, versions=(digest,)))
        else:
            tables.append(table)
    return tables, faults


def _believed(digest: str, content: bytes) -> tuple[VersionTable | None, str]:
    if not content:
        return None, "it is missing"
    try:
        table = container.read(content)
    except InvalidInput as error:
        return None, error.message
    return (table, "") if table.digest == digest else (None, "it does not have its digest")


def _version(depot: Depot, digest: str) -> bytes:
    try:
        return depot.read(version_name(digest))
    except NotFound:
        return b""


def _origin(table: VersionTable, jobs: int) -> list[Fault]:
    """Of a version by reference: files that are not there any more as they were."""
    if table.mtimes_ns is None:
        return []
    name, where = version_name(table.digest), shown(path_text(table.origin))
    is_file = table.kinds == Kind.FILE
    why = f"files below {where} are not what they were"
    try:
        now = scan(Path(os.fsdecode(table.origin)), jobs=jobs, said=lambda files: None)
        rows = paired(table, now)
        same = (rows >= 0) & (now.kinds[rows] == Kind.FILE) if len(now.kinds) else rows >= 0
        if same.any():
            stats = now.stats[rows]
            same &= (stats[:, SIZE] == table.sizes) & (stats[:, MTIME] == table.mtimes_ns)
        hurt = np.flatnonzero(is_file & ~same)
    except InvalidInput as error:
        hurt, why = np.flatnonzero(is_file), error.message
    if not len(hurt):
        return []
    paths = tuple(path_text(table.path(row)) for row in hurt[:SHOWN_FILES].tolist())
    return [Fault(object=name, why=why, versions=(table.digest,), files=paths, count=len(hurt))]


@dataclass(frozen=True, slots=True)
class _Found:
    """of: a pack's name, or (table, row) of a large file. rows: hurt ones, by table."""

    of: str | tuple[int, int]
    why: str
    rows: dict[int, NDArray[np.int64]]


def _fault(found: _Found, tables: list[VersionTable]) -> Fault:
    paths = [
        path_text(tables[at].path(row)) for at, rows in found.rows.items() for row in rows.tolist()
    ]
    unique = sorted(set(paths))
    if isinstance(found.of, str):
        name = f"packs/{found.of}"
    else:
        name = version_name(tables[found.of[0]].digest)
    return Fault(
        object=name,
        why=found.why,
        versions=tuple(tables[at].digest for at in found.rows),
        files=tuple(unique[:SHOWN_FILES]),
        count=len(unique),
    )


def _large_rows(table: VersionTable) -> list[int]:
    counts = np.bincount(table.pieces["row"], minlength=len(table))
    return [int(row) for row in np.flatnonzero(counts > 1)]


class _Inspector:
    """In a worker."""

    def __init__(
        self, depot: Depot, tables: list[VersionTable], sizes: dict[str, int], *, deep: bool
    ) -> None:
        self._depot = depot
        self._tables = tables
        self._sizes = sizes
        self._deep = deep

    def __call__(self, task: str | tuple[int, int]) -> _Found:
        return self._pack(task) if isinstance(task, str) else self._large(*task)

    def _pack(self, name: str) -> _Found:
        stored = self._depot.stat(f"packs/{name}")
        if stored is None:
            return _Found(name, "it is missing", self._members(name, None))
        if stored.size != self._sizes[name]:
            why = f"it has {stored.size} bytes instead of {self._sizes[name]}"
            content = self._depot.read(f"packs/{name}") if self._deep else b""
            return _Found(name, why, self._members(name, content if self._deep else None))
        if not self._deep:
            return _Found(name, "", {})
        content = self._depot.read(f"packs/{name}")
        hurt = self._members(name, content)
        if blake3(content).hexdigest() != name:
            return _Found(name, "it does not have its digest", hurt)
        if any(len(rows) for rows in hurt.values()):
            return _Found(name, "files in it do not have their digests", hurt)
        return _Found(name, "", {})

    def _members(self, name: str, content: bytes | None) -> dict[int, NDArray[np.int64]]:
        """Rows that lie in the pack, by table; with its content only those that are hurt."""
        found: dict[int, NDArray[np.int64]] = {}
        view = memoryview(content or b"")
        whole = content is not None and blake3(content).hexdigest() == name
        for at, table in enumerate(self._tables):
            if name not in table.packs:
                continue
            pieces = table.pieces[table.pieces["pack"] == table.packs.index(name)]
            if content is None:
                found[at] = np.unique(pieces["row"]).astype(np.int64)
                continue
            columns = (pieces["row"], pieces["offset"], pieces["size"])
            hurt = {
                row
                for row, offset, size in zip(*(c.tolist() for c in columns), strict=True)
                if _is_hurt(table, row, view[offset : offset + size], size, whole=whole)
            }
            found[at] = np.array(sorted(hurt), np.int64)
        return found

    def _large(self, at: int, row: int) -> _Found:
        """Whether the pieces make the file; packs that are gone have told so themselves."""
        table = self._tables[at]
        whole = blake3()
        for piece in table.pieces[table.pieces["row"] == row]:
            name = f"packs/{table.packs[int(piece['pack'])]}"
            try:
                whole.update(self._depot.read(name, int(piece["offset"]), int(piece["size"])))
            except NotFound:
                return _Found((at, row), "", {})
        same = whole.digest() == table.digests[row].tobytes()
        why = "" if same else "the pieces of a file are not the file"
        return _Found((at, row), why, {at: np.array([row], np.int64)})


def _is_hurt(table: VersionTable, row: int, member: memoryview, size: int, *, whole: bool) -> bool:
    """whole: the pack has its digest, so a part of a large file in it is what was put there."""
    if size != int(table.sizes[row]):
        return not whole
    return bool(blake3(member).digest() != table.digests[row].tobytes())
