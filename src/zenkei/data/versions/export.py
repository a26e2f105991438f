"""A version's tree into a person's directory, every byte verified. Called by `__main__`.

Everything is made in a directory beside the target and renamed at the end, so an export is complete
or changes nothing, except that with `overwrite` the renames into an existing directory are one by
one. Workers take a pack each: read once, cut into files. Cost: 40 µs a small file and core; a pack
of memory a worker.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenkei.data import disk
from zenkei.data.depots.depot import Depot, no_object
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.data.depots.opening import open_depot
from zenkei.data.fill import CREATE
from zenkei.data.manifest import path_bytes, path_text, shown
from zenkei.data.pack import CUT_BYTES
from zenkei.data.versions.checks import refused
from zenkei.data.versions.commit import Said
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.data.versions.workers import Workers, usual
from zenkei.data.walk import OPEN_DIRECTORY, Chain, open_root
from zenkei.model.errors import Conflict, InvalidInput, NotFound, Unavailable

SUFFIX: Final = ".exporting"
DENSE: Final = 0.5
"""A pack of which less is wanted is read in parts."""
MAX_TASK_FILES: Final = 16_384
STEP_BYTES: Final = 256 << 10
"""Of what is near: twice as fast as with pieces that the processor's cache cannot hold."""
AHEAD: Final = 2
"""Pieces of a large file that are read, or waiting, while one is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    files: int
    size_bytes: int
    links: int


def export(
    table: VersionTable,
    depot: str,
    to: Path,
    said: Said,
    *,
    only: tuple[str, ...] = (),
    overwrite: bool = False,
    jobs: int = 0,
) -> Exported:
    """only: paths of files or directories, as text. Raises Conflict, before anything is written,

    if something is at `to` and `overwrite` is False; NotFound for an `only` that is not there;
    Unavailable for content that is gone or damaged.
    """
    if table.mtimes_ns is not None:
        raise InvalidInput(
            "by-reference",
            "this version has no content: it was imported by reference",
            hint=f"its files lie below {shown(path_text(table.origin))}",
        )
    wanted = selected(table, only)
    to = to.absolute()
    _refuse(to, overwrite=overwrite)
    with disk.disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(to)
        working = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=SUFFIX, dir=to.parent))
        hold = os.open(working, OPEN_DIRECTORY)
        try:
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(table, depot, wanted, hold, said, jobs or usual())
            working.chmod(0o755)
            if to.is_dir() and os.listdir(to):
                _merge(table, wanted, hold, to)
            else:
                os.rename(working, to)
        finally:
            os.close(hold)
            shutil.rmtree(working, ignore_errors=True)
    rows = np.flatnonzero(wanted)
    is_file = table.kinds[rows] == Kind.FILE
    return Exported(
        files=int(is_file.sum()),
        size_bytes=int(table.sizes[rows].sum()),
        links=int((table.kinds[rows] == Kind.LINK).sum()),
    )


def selected(table: VersionTable, only: tuple[str, ...]) -> NDArray[np.bool_]:
    """Rows at or below the paths; all without any."""
    if not only:
        return np.ones(len(table), np.bool_)
    wanted = np.zeros(len(table), np.bool_)
    index = {path: at for at, path in enumerate(table.directories)}
    for text in only:
        path = path_bytes(text.strip("/"))
        if path in index:
            below = [
                at for at, folder in enumerate(table.directories)
                if not path or folder == path or folder.startswith(path + b"/")
            ]  # fmt: skip
            rows = np.isin(table.parents, below)
            if not rows.any() and path:
                rows[_row(table, index, path)] = True  # an empty directory
            wanted |= rows
            continue
        row = _row(table, index, path)
        if row < 0:
            raise _nothing_at(text)
        wanted[row] = True
    return wanted


def row_at(table: VersionTable, path: str) -> int:
    """Raises NotFound."""
    index = {folder: at for at, folder in enumerate(table.directories)}
    row = _row(table, index, path_bytes(path))
    if row < 0:
        raise _nothing_at(path)
    return row


def _row(table: VersionTable, index: dict[bytes, int], path: bytes) -> int:
    folder, _, name = path.rpartition(b"/")
    if folder not in index:
        return -1
    bounds = np.searchsorted(table.parents, [index[folder], index[folder] + 1]).tolist()
    return next((row for row in range(*bounds) if table.name(row) == name), -1)


def _nothing_at(path: str) -> NotFound:
    return NotFound(
        "no-such-path",
        f"the version has nothing at `{shown(path)}`",
        hint="`zenkei dataset show` lists what it has",
    )


def _refuse(to: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(to) or (to.is_dir() and (overwrite or not os.listdir(to))):
        return
    raise Conflict(
        "file-exists",
        f"{shown(str(to))} is there already, and is not an empty directory",
        hint="export to a new directory, or say that files may be overwritten",
        details={"path": str(to)},
    )


def _remove_stale(to: Path) -> None:
    """What an export left that was killed; one that goes on holds a lock."""
    for path in to.parent.iterdir():
        if not (path.name.startswith(f".{to.name}.") and path.name.endswith(SUFFIX)):
            continue
        try:
            hold = os.open(path, OPEN_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(hold)


# --- writing ---


def _fill(
    table: VersionTable, depot: str, wanted: NDArray[np.bool_], root: int, said: Said, jobs: int
) -> None:
    """Directories and links first, then files by workers."""
    chain = Chain(root, make=True)
    try:
        for at in np.unique(table.parents[wanted]).tolist():
            chain.at(path_text(table.directories[at]))
        for row in np.flatnonzero(wanted & (table.kinds == Kind.DIRECTORY)).tolist():
            chain.at(path_text(table.path(row)))
        for row in np.flatnonzero(wanted & (table.kinds == Kind.LINK)).tolist():
            folder = chain.at(path_text(table.directories[int(table.parents[row])]))
            os.symlink(table.targets[row], table.name(row), dir_fd=folder)
    finally:
        chain.close()
    tasks = deque(_tasks(table, wanted))
    total = int((wanted & (table.kinds == Kind.FILE)).sum())
    files, size = 0, 0

    def prepare() -> _Writer:
        return _Writer(table, root, open_depot(depot))

    with Workers(min(jobs, max(1, len(tasks))), prepare) as workers:
        for done, written in workers.run(tasks):
            files, size = files + done, size + written
            said("write", files, total, size)


def _tasks(table: VersionTable, wanted: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows that a worker writes together: those of one pack, one large file, or empty ones."""
    pieces = table.pieces
    counts = np.bincount(pieces["row"], minlength=len(table)) if len(pieces) else None
    first = np.searchsorted(pieces["row"], np.arange(len(table)))
    rows = np.flatnonzero(wanted & (table.kinds == Kind.FILE))
    if counts is None:
        return _portions(rows)
    tasks = [np.array([row]) for row in rows[counts[rows] > 1].tolist()]
    tasks += _portions(rows[counts[rows] == 0])
    small = rows[counts[rows] == 1]
    packs = pieces["pack"][first[small]]
    order = np.argsort(packs, kind="stable")
    cuts = np.flatnonzero(np.diff(packs[order])) + 1
    for group in np.split(small[order], cuts):
        tasks += _portions(group)
    return tasks


def _portions(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[at : at + MAX_TASK_FILES] for at in range(0, len(rows), MAX_TASK_FILES)]


class _Writer:
    """In a worker."""

    def __init__(self, table: VersionTable, root: int, depot: Depot) -> None:
        self._table = table
        self._chain = Chain(root)
        self._depot = depot
        self._starts = np.searchsorted(table.pieces["row"], np.arange(len(table) + 1))
        self._is_near = isinstance(depot, DirectoryDepot)
        self._parent, self._folder = -1, -1
        self._buffer = np.zeros(CUT_BYTES, np.uint8).data  # pages that are used, not all
        os.umask(0)  # modes are those of the version

    def __call__(self, rows: NDArray[np.int64]) -> tuple[int, int]:
        sizes = self._table.sizes[rows]
        first = int(self._starts[rows[0]])
        if int(self._starts[rows[0] + 1]) - first > 1:
            self._large(int(rows[0]))
        else:
            self._small(rows, sizes)
        return len(rows), int(sizes.sum())

    def _small(self, rows: NDArray[np.int64], sizes: NDArray[np.uint64]) -> None:
        """Files of one pack, or empty ones."""
        if not int(sizes[0]):
            for row in rows.tolist():
                self._write(row, (b"",))
            return
        pieces = self._table.pieces[self._starts[rows]]
        order = np.argsort(pieces["offset"], kind="stable")
        rows, pieces = rows[order], pieces[order]
        pack = self._table.packs[int(pieces["pack"][0])]
        begin = int(pieces["offset"].min())
        end = int((pieces["offset"] + pieces["size"]).max())
        dense = int(pieces["size"].sum()) >= DENSE * (end - begin)
        step = STEP_BYTES if self._is_near else end - begin
        window, start = memoryview(b""), begin
        columns = (rows.tolist(), pieces["offset"].tolist(), pieces["size"].tolist())
        for row, offset, length in zip(*columns, strict=True):
            if not start <= offset <= offset + length <= start + len(window):
                ahead = max(length, min(step, end - offset)) if dense else length
                window, start = self._span(pack, offset, ahead), offset
            self._write(row, (window[offset - start : offset - start + length],))

    def _large(self, row: int) -> None:
        pieces = self._table.pieces[self._starts[row] : self._starts[row + 1]]
        self._write(row, self._streamed(pieces) if self._is_near else self._ahead(pieces))

    def _streamed(self, pieces: NDArray[np.void]) -> Iterator[memoryview]:
        """From a disk, through so little memory that the processor's cache has it."""
        for piece in pieces:
            name, start = self._table.packs[int(piece["pack"])], int(piece["offset"])
            end = start + int(piece["size"])
            for at in range(start, end, STEP_BYTES):
                yield self._span(name, at, min(STEP_BYTES, end - at))

    def _ahead(self, pieces: NDArray[np.void]) -> Iterator[memoryview]:
        """Pieces in their order; the next ones are read while one is written."""
        names = [self._table.packs[pack] for pack in pieces["pack"].tolist()]
        todo = deque(zip(names, pieces["offset"].tolist(), pieces["size"].tolist(), strict=True))
        coming: deque[Future[memoryview]] = deque()
        with ThreadPoolExecutor(AHEAD) as pool:
            while todo or coming:
                while todo and len(coming) < AHEAD:
                    coming.append(pool.submit(self._read, *todo.popleft()))
                yield coming.popleft().result()

    def _span(self, pack: str, start: int, size: int) -> memoryview:
        """As `_read`, but good only until the next one."""
        if not isinstance(self._depot, DirectoryDepot) or size > len(self._buffer):
            return self._read(pack, start, size)
        try:
            descriptor = os.open(self._depot.path(f"packs/{pack}"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise no_object(f"packs/{pack}") from None
        target = self._buffer[:size]
        got = 0
        try:
            while got < size:
                more = os.preadv(descriptor, [target[got:]], start + got)
                if not more:
                    raise damaged(pack, "it is shorter than it was")
                got += more
        finally:
            os.close(descriptor)
        return target

    def _read(self, pack: str, start: int, size: int) -> memoryview:
        content = self._depot.read(f"packs/{pack}", start, size)
        if len(content) != size:
            raise damaged(pack, "it is shorter than it was")
        return memoryview(content)

    def _write(self, row: int, parts: Iterable[bytes | memoryview]) -> None:
        table = self._table
        parent = int(table.parents[row])
        if parent != self._parent:
            self._folder = self._chain.at(path_text(table.directories[parent]))
            self._parent = parent
        mode = int(table.modes[row])
        descriptor = os.open(table.name(row), CREATE, mode, dir_fd=self._folder)
        whole = blake3()
        try:
            for part in parts:
                whole.update(part)
                disk.write_all(descriptor, part)
        finally:
            os.close(descriptor)
        if whole.digest() == table.digests[row].tobytes():
            return
        if not int(table.sizes[row]):
            raise refused("an empty file does not have the digest of nothing")
        pack = table.packs[int(table.pieces[self._starts[row]]["pack"])]
        raise damaged(pack, f"`{shown(path_text(table.path(row)))}` does not have its digest")


def damaged(pack: str, why: str) -> Unavailable:
    return Unavailable(
        "content-damaged",
        f"the pack {pack[:16]}… of the dataset store is damaged: {why}",
        hint="`zenkei dataset verify` says which files are lost; if you have all of that pack, "
        "remove it from the store and commit them again: what is missing is stored anew",
        details={"object": f"packs/{pack}"},
    )


def _merge(table: VersionTable, wanted: NDArray[np.bool_], working: int, to: Path) -> None:
    """Each file or link whole, one after another; directories are never replaced."""
    target_root = open_root(to, follow=True)
    sources, targets = Chain(working), Chain(target_root, make=True)
    try:
        for row in np.flatnonzero(wanted).tolist():
            if table.kinds[row] == Kind.DIRECTORY:
                targets.at(path_text(table.path(row)))
                continue
            folder, name = path_text(table.directories[int(table.parents[row])]), table.name(row)
            source, target = sources.at(folder), targets.at(folder)
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except (NotADirectoryError, IsADirectoryError) as error:
        raise Conflict(
            "file-exists",
            f"a directory of {shown(str(to))} is where a file must be, or the other way round",
            hint="export to a new directory",
            details={"path": str(to)},
        ) from error
    finally:
        sources.close()
        targets.close()
        os.close(target_root)
