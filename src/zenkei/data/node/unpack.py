"""A private copy of a version: its tree written out from packs that lie in the cache.

Called by `ladder` where nothing can be mounted. The copy appears whole or not at all; whoever gets
it may write into it, and nobody else sees that. Never hard links: they would let a job change what
others read. Cost: 15 to 30 µs a small file and process; large ones by the kernel's own copy, which
shares blocks where the file system can.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from zenkei.data import disk
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.model.errors import Conflict, Unavailable

_SMALL_BYTES: Final = 1 << 18
_ROWS_A_PROCESS: Final = 2_000
_BYTES_A_PROCESS: Final = 1 << 24
_OVERHEAD_BYTES: Final = 4096


class PackGone(Exception):
    """A pack was evicted meanwhile."""


def unpack(table: VersionTable, packs: Sequence[Path], to: Path, *, processes: int = 0) -> None:
    """Make the directory `to`, or fill it if it is there and empty. Raises PackGone."""
    part = to.with_name(to.name + ".part")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Conflict(
            "not-empty",
            f"{to} is there and not empty",
            hint="name a directory that is empty or absent",
        )
    with disk.disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        _check_room(table, to)
        if part.exists():
            shutil.rmtree(part)
        # the modes are the version's, whatever the caller's mask
        mask = os.umask(0o022)
        try:
            _write(table, packs, os.fsencode(part), processes)
            part.rename(to)
        finally:
            os.umask(mask)
            shutil.rmtree(part, ignore_errors=True)


def _check_room(table: VersionTable, to: Path) -> None:
    needed = table.size_bytes + _OVERHEAD_BYTES // 2 * len(table)
    free = disk.free_bytes(to)
    if needed > free:
        raise Unavailable(
            "disk-full",
            f"a copy of {len(table)} files needs {needed} bytes, {free} are free where {to} lies",
            hint="free some space there, or run on a node that can mount datasets",
            details={"path": str(to), "free_bytes": free, "needed_bytes": needed},
        )


def _write(table: VersionTable, packs: Sequence[Path], part: bytes, processes: int) -> None:
    """Directories, then files, then links: nothing is ever written through a link."""
    os.mkdir(part, 0o755)
    folders = [part + b"/" + path for path in table.directories]
    folders[0] = part
    for folder in folders[1:]:
        os.mkdir(folder, 0o755)
    ranges = _ranges(table, processes or os.cpu_count() or 1)
    if len(ranges) <= 1:
        _Writer(table, packs, folders).write(0, len(table))
    else:
        _in_processes(_Writer(table, packs, folders), ranges)
    for row, target in table.targets.items():
        os.symlink(target, folders[int(table.parents[row])] + b"/" + table.name(row))


def _ranges(table: VersionTable, processes: int) -> list[tuple[int, int]]:
    """Rows for each process, about as many bytes and files for each."""
    worth = max(len(table) // _ROWS_A_PROCESS, table.size_bytes // _BYTES_A_PROCESS) + 1
    processes = min(processes, worth)
    work = np.cumsum(table.sizes.astype(np.float64) + 32_768.0)
    cuts = np.searchsorted(work, np.linspace(0, work[-1] if len(work) else 0, processes + 1)[1:-1])
    ends = [0, *cuts.tolist(), len(table)]
    return [(begin, end) for begin, end in itertools.pairwise(ends) if end > begin]


def _in_processes(writer: _Writer, ranges: list[tuple[int, int]]) -> None:
    context = multiprocessing.get_context("fork")
    children = []
    try:
        for each in ranges:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(writer, each, theirs), daemon=True)
            child.start()
            theirs.close()
            children.append((child, ours))
        for child, ours in children:
            try:
                failure = ours.recv()
            except EOFError:
                failure = RuntimeError(f"a process that wrote files ended with {child.exitcode}")
            if failure is not None:
                raise failure
    finally:
        for child, ours in children:
            child.terminate()
            child.join()
            ours.close()


def _child(writer: _Writer, rows: tuple[int, int], told: object) -> None:
    failure: BaseException | None = None
    try:
        writer.write(*rows)
    except BaseException as error:  # noqa: BLE001 -- raised again in the parent
        failure = error
    with contextlib.suppress(BrokenPipeError):
        told.send(failure)  # type: ignore[attr-defined]


class _Writer:
    """Writes a range of rows; keeps the packs it met open."""

    def __init__(
        self, table: VersionTable, packs: Sequence[Path], folders: Sequence[bytes]
    ) -> None:
        self._table = table
        self._packs = packs
        self._folders = folders
        self._open: tuple[int, int] = (-1, -1)

    def write(self, begin: int, end: int) -> None:
        table = self._table
        owners = table.pieces["row"]
        first, last = np.searchsorted(owners, [begin, end]).tolist()
        pieces = table.pieces[first:last].tolist()
        starts: list[int] = table.name_starts[begin : end + 1].tolist()
        rows = zip(
            range(begin, end),
            table.parents[begin:end].tolist(),
            table.kinds[begin:end].tolist(),
            table.modes[begin:end].tolist(),
            itertools.pairwise(starts),
            strict=True,
        )
        at = 0
        try:
            for row, parent, kind, mode, (name, name_end) in rows:
                if kind != Kind.FILE:
                    continue
                after = at
                while after < len(pieces) and pieces[after][0] == row:
                    after += 1
                path = self._folders[parent] + b"/" + table.name_data[name:name_end]
                self._file(path, mode, pieces[at:after])
                at = after
        finally:
            self._close()

    def _file(self, path: bytes, mode: int, pieces: list[tuple[int, int, int, int]]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, mode)
        try:
            for _, pack, offset, size in pieces:
                source = self._pack(pack)
                if size <= _SMALL_BYTES:
                    content = os.pread(source, size, offset)
                    if len(content) != size:
                        raise _short()
                    disk.write_all(descriptor, content)
                    continue
                _copy(source, offset, descriptor, size)
        finally:
            os.close(descriptor)

    def _pack(self, number: int) -> int:
        if self._open[0] != number:
            self._close()
            try:
                descriptor = os.open(self._packs[number], os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise PackGone(self._packs[number].name) from None
            self._open = (number, descriptor)
        return self._open[1]

    def _close(self) -> None:
        if self._open[1] >= 0:
            os.close(self._open[1])
        self._open = (-1, -1)


def _short() -> OSError:
    return OSError(errno.EIO, "a pack is shorter than it was")


def _copy(source: int, offset: int, target: int, size: int) -> None:
    while size:
        try:
            count = os.copy_file_range(source, target, size, offset_src=offset)
        except OSError:
            count = os.write(target, os.pread(source, min(size, 1 << 20), offset))
        if not count:
            raise _short()
        offset += count
        size -= count
