"""A directory becomes a version in a depot: what is new is stored, the rest is known by its stat.

Called by `python -m zenkei.data.versions`, in a process of its own. The version's object is put
last, under a confirmed intent, so a commit that is killed at any instant has changed nothing that
anybody sees; its repeat finds the packs that are there and reads the rest. Measured on two cores:
10 µs a new file of 4 KB, 3 µs an unchanged one; about 400 bytes of memory a file.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.data.depots.opening import open_depot
from zenkei.data.versions import checks, container, state
from zenkei.data.versions.keeper import Keeper
from zenkei.data.versions.pairing import paired
from zenkei.data.versions.reading import Done, Known, Reader, units
from zenkei.data.versions.scan import INODE, MODE, MTIME, SIZE, Scan, scan
from zenkei.data.versions.state import Seen
from zenkei.data.versions.table import PIECE, Kind, VersionTable
from zenkei.data.versions.workers import Workers, usual
from zenkei.data.walk import open_root
from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput, Unavailable
from zenkei.ports.trees import LeftOut

Said = Callable[[str, int, int | None, int], None]
"""Told what is being done, how much of it, of how much, and bytes."""
OWNER_RUNS: Final = 0o100
TRIES: Final = 3
KEEP_S: Final = 60.0
ALONE, USUAL, FEW = 4, 2, 1
"""Packs in memory of a worker: of one that is alone, of several, of several where rows are many."""
MANY_FILES: Final = 300_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """stored_bytes: that the depot did not have. unchanged_files: known by their stat, not read."""

    digest: Digest
    files: int
    size_bytes: int
    stored_bytes: int
    new_files: int
    unchanged_files: int
    links: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """depot: location. state: file of what the last commit of this directory saw.

    against: versions that share content with this one, for a directory that has no such file yet.
    """

    depot: str
    source: Path
    state: Path | None = None
    reference: bool = False
    exclude: tuple[str, ...] = ()
    jobs: int = 0
    against: tuple[str, ...] = ()


@dataclass(slots=True)
class _Columns:
    """The version as it comes together. known: rows whose content is stored."""

    digests: NDArray[np.uint8]
    stats: NDArray[np.int64]
    known: NDArray[np.bool_]
    read: int = 0
    stored: int = 0
    packs: dict[str, int] = field(default_factory=dict)
    pack_sizes: list[int] = field(default_factory=list)
    pieces: list[NDArray[np.void]] = field(default_factory=list)

    def pack(self, name: str, size: int) -> int:
        if name not in self.packs:
            self.packs[name] = len(self.packs)
            self.pack_sizes.append(size)
        return self.packs[name]

    def add(
        self, pieces: NDArray[np.void], rows: NDArray[np.int64], packs: Iterable[tuple[str, int]]
    ) -> None:
        """rows: what the pieces' `row` means here, by number; packs likewise."""
        numbers = np.array([self.pack(name, size) for name, size in packs], np.uint32)
        if len(pieces):
            moved = pieces.copy()
            moved["row"] = rows[pieces["row"]]
            moved["pack"] = numbers[pieces["pack"]]
            self.pieces.append(moved)

    def take(self, part: Done) -> None:
        self.digests[part.rows] = np.frombuffer(part.digests, np.uint8).reshape(-1, 32)
        self.stats[part.rows] = part.stats
        self.known[part.rows] = True
        self.add(part.pieces, part.rows, part.packs)
        self.read += len(part.rows)
        self.stored += part.stored


def commit(request: Request, said: Said) -> Committed:
    """Raises InvalidInput naming a path that cannot be read, Unavailable for a full depot."""
    jobs = request.jobs or usual()
    keeper = Keeper(request.depot)
    try:
        with keeper:
            if request.reference:
                found = _scan(request, jobs, said)
                table = _referenced(found, request.source)
                keeper.put(table)
                return _committed(table, found, None)
            keeper.begin()
            for _ in range(TRIES):
                if (done := _commit(request, jobs, keeper, said)) is not None:
                    return done
    except InvalidInput as error:
        error.hint = error.hint.replace("in .zenkeiignore", "with `--exclude`")
        raise
    raise Unavailable(
        "content-collected",
        f"the dataset store loses content while it is committed ({TRIES} tries)",
        hint="is something else than zenkei removing files there? `zenkei dataset verify` tells "
        "what is lost",
    )


def _scan(request: Request, jobs: int, said: Said) -> Scan:
    store = request.depot.removeprefix("file:")
    return scan(
        request.source,
        jobs=jobs,
        exclude=request.exclude,
        store=Path(store) if store.startswith("/") else None,
        said=lambda files: said("scan", files, None, 0),
    )


def _commit(request: Request, jobs: int, keeper: Keeper, said: Said) -> Committed | None:
    """None if packs that it needs were removed meanwhile; the next try stores them again."""
    began_ns = time.time_ns()
    found = _scan(request, jobs, said)
    depot = keeper.location()
    seen = state.load(request.state, depot) if request.state else None
    tables = [seen.table] if seen else []
    for content in keeper.versions(request.against):
        with suppress(InvalidInput):  # a damaged one only shares nothing
            tables.append(container.read(content))
    gone = keeper.gone({name for table in tables for name in table.packs})
    columns = _Columns(
        digests=np.zeros((len(found.kinds), 32), np.uint8),
        stats=found.stats,
        known=found.kinds != Kind.FILE,
    )
    _take_unchanged(columns, found, seen, gone)
    known = Known(tables, gone)
    del seen, tables

    def keep(*, whole: bool = False) -> None:
        if request.state and (columns.read or whole):
            state.save(request.state, depot, _so_far(found, columns), began_ns)

    try:
        _read(request, jobs, found, columns, known, said, keep)
        del known  # memory: what comes now needs as much
        table = container.sealed(_table(found, columns))
        checks.check(table)  # what would be refused when it is read is never put
        if not keeper.put(table):
            return None
    except BaseException:
        keep()  # what was read need not be read again
        raise
    keep(whole=True)
    return _committed(table, found, columns)


def _so_far(found: Scan, columns: _Columns) -> Seen:
    """Perhaps not complete: what was not read yet is an empty file that nobody believes."""
    stats = columns.stats.copy()
    stats[~columns.known, SIZE] = 0
    stats[~columns.known, INODE] = state.NEVER
    return Seen(_table(found, replace(columns, stats=stats)), stats)


def _take_unchanged(columns: _Columns, found: Scan, seen: Seen | None, gone: set[str]) -> None:
    """Digests and places of what has not changed since, and is still in the depot."""
    if seen is None or not len(seen.table):
        return
    old = seen.table
    rows = paired(found, old)
    known = state.unchanged(found, seen, rows)
    lost = np.array([name in gone for name in old.packs], np.bool_)
    if lost.any():
        missing = np.zeros(len(old), np.bool_)
        missing[old.pieces["row"][lost[old.pieces["pack"]]]] = True
        known &= ~missing[rows]
    moved = np.full(len(old), -1, np.int64)
    moved[rows[known]] = np.flatnonzero(known)
    columns.digests[known] = old.digests[rows[known]]
    kept = old.pieces[moved[old.pieces["row"]] >= 0]
    used = np.unique(kept["pack"])
    number = np.zeros(len(old.packs), np.uint32)
    number[used] = np.arange(len(used), dtype=np.uint32)
    kept["pack"] = number[kept["pack"]]
    packs = [(old.packs[at], int(old.pack_sizes[at])) for at in used.tolist()]
    columns.add(kept, moved, packs)
    columns.known |= known


def _read(
    request: Request,
    jobs: int,
    found: Scan,
    columns: _Columns,
    known: Known,
    said: Said,
    keep: Callable[[], None],
) -> None:
    """All that is not known yet. keep: called now and then, lest a long work is done twice."""
    rows = np.flatnonzero(~columns.known)
    spans = deque(units(found.stats[rows, SIZE], jobs))
    if not spans:
        return
    total, size = len(rows), 0
    root = open_root(request.source, follow=True)
    count = min(jobs, len(spans))
    buffers = ALONE if count == 1 else FEW if len(found.kinds) > MANY_FILES else USUAL

    def prepare() -> Reader:
        depot = open_depot(request.depot)
        return Reader(root, found, rows, known, depot, buffers=buffers)

    kept_s = time.monotonic()
    try:
        with Workers(count, prepare) as workers:
            for part in workers.run(spans):
                columns.take(part)
                size += int(part.stats[:, SIZE].sum())
                said("read", columns.read, total, size)
                if time.monotonic() - kept_s > KEEP_S:
                    keep()
                    kept_s = time.monotonic()
    finally:
        os.close(root)


def _table(found: Scan, columns: _Columns) -> VersionTable:
    pieces = np.concatenate(columns.pieces) if columns.pieces else np.zeros(0, PIECE)
    pieces = pieces[np.argsort(pieces["row"], kind="stable")]
    return VersionTable(
        digest=Digest(""),
        directories=found.directories,
        parents=found.parents,
        name_data=found.name_data,
        name_starts=found.name_starts,
        kinds=found.kinds,
        modes=_modes(found.kinds, columns.stats),
        sizes=_sizes(found.kinds, columns.stats),
        digests=columns.digests,
        targets=found.targets,
        packs=tuple(columns.packs),
        pack_sizes=np.array(columns.pack_sizes, np.uint64),
        pieces=pieces,
    )


def _referenced(found: Scan, source: Path) -> VersionTable:
    """By reference nothing is read: what stat says stands for the content."""
    is_file = found.kinds == Kind.FILE
    nothing = np.zeros((len(is_file), 32), np.uint8)
    empty = _Columns(digests=nothing, stats=found.stats, known=~is_file)
    times = np.where(is_file, found.stats[:, MTIME], 0).astype(np.int64)
    table = _table(found, empty)
    origin = os.fsencode(os.path.realpath(source))
    return container.sealed(replace(table, mtimes_ns=times, origin=origin))


def _modes(kinds: NDArray[np.uint8], stats: NDArray[np.int64]) -> NDArray[np.uint16]:
    """As git keeps them: of a file, whether its owner may run it."""
    runs = (stats[:, MODE] & OWNER_RUNS) != 0
    files = np.where(runs, 0o755, 0o644)
    return np.choose(kinds, [files, 0o777, 0o755]).astype(np.uint16)


def _sizes(kinds: NDArray[np.uint8], stats: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.where(kinds == Kind.FILE, stats[:, SIZE], 0).astype(np.uint64)


def _committed(table: VersionTable, found: Scan, columns: _Columns | None) -> Committed:
    """columns: None if it is by reference."""
    files = int((table.kinds == Kind.FILE).sum())
    return Committed(
        digest=table.digest,
        files=files,
        size_bytes=table.size_bytes,
        stored_bytes=columns.stored if columns else 0,
        new_files=columns.read if columns else 0,
        unchanged_files=files - columns.read if columns else 0,
        links=len(table.targets),
        left_out=tuple(found.left_out),
    )
