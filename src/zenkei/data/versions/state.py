"""What the last commit of a directory saw, so that the next one reads only what has changed.

Called by `commit`. One file, given by the caller, replaced whole; damaged, foreign or absent is as
good as none. A file is unchanged if path, size, mtime, ctime and inode are those of the record:
ctime cannot be set by a user, so `touch -d` deceives nobody. Files changed less than 2 s before
their scan began are never believed: the next write might leave the same stamps. Devices are not
compared: their numbers change when a machine starts anew. A million rows: 120 MB, opened in 0.3 s.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenkei.data import disk
from zenkei.data.versions import container
from zenkei.data.versions.scan import CTIME, INODE, MTIME, SIZE, STAT, Scan
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.model.errors import InvalidInput

log = logging.getLogger("zenkei.data")

MAGIC: Final = b"zkstate1"
HEADER: Final = struct.Struct("<QQ32s")
RACY_NS: Final = 2_000_000_000
COMPARED: Final = (SIZE, MTIME, CTIME, INODE)
NEVER: Final = -1
"""In place of an inode: a row whose stamps are not to be believed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A version, and what stat said of its rows: (n, 5) as in `scan.STAT`."""

    table: VersionTable
    stats: NDArray[np.int64]


def load(path: Path, depot: str) -> Seen | None:
    """depot: its location; what was seen for another one says nothing about this one."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        start = len(MAGIC) + HEADER.size
        size, rows, digest = HEADER.unpack(content[len(MAGIC) : start])
        stats = content[start + size :]
        if bytes(content[: len(MAGIC)]) != MAGIC or digest != _digest(depot, content[start:]):
            raise ValueError("it does not have its digest")
        table = container.read(content[start : start + size])
        if len(table) != rows or len(stats) != 8 * rows * len(STAT):
            raise ValueError("it does not have its size")
    except (struct.error, ValueError, InvalidInput) as error:
        log.warning("state of a dataset's directory not used path=%s why=%s", path, error)
        return None
    return Seen(table, np.frombuffer(stats, "<i8").reshape(-1, len(STAT)))


def save(path: Path, depot: str, seen: Seen, began_ns: int) -> None:
    """What cannot be written costs time only; it is logged. began_ns: of the scan, by the clock."""
    stats = np.ascontiguousarray(seen.stats, "<i8").copy()
    racy = np.maximum(stats[:, MTIME], stats[:, CTIME]) > began_ns - RACY_NS
    stats[racy, INODE] = NEVER
    body = [*container.parts(seen.table, packed=False), stats.reshape(-1).view(np.uint8).data]
    size = sum(map(len, body[:-1]))
    head = MAGIC + HEADER.pack(size, len(seen.table), _digest(depot, *body))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = disk.Temporary(path.parent)
        try:
            for part in (head, *body):
                disk.write_all(file.descriptor, part)
            file.rename(path)
        finally:
            file.discard()
    except OSError as error:
        log.warning("state of a dataset's directory not written path=%s why=%s", path, error)


def unchanged(now: Scan, seen: Seen, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which files of `now` are what they were. rows: that of the same path in `seen`, or -1."""
    if not len(seen.table):
        return np.zeros(len(rows), np.bool_)
    old, new = seen.stats[rows], now.stats
    same: NDArray[np.bool_] = (
        (rows >= 0) & (now.kinds == Kind.FILE) & (seen.table.kinds[rows] == Kind.FILE)
    )
    for column in COMPARED:
        same &= old[:, column] == new[:, column]
    same &= new[:, INODE] != NEVER
    return same


def _digest(depot: str, *body: bytes | memoryview) -> bytes:
    whole = blake3(depot.encode("utf-8", "surrogateescape") + b"\0")
    for part in body:
        whole.update(part)
    return whole.digest()
