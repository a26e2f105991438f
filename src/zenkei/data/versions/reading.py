"""Contents of a scanned directory into packs: read once, straight into the pack's buffer.

Called by `commit`, in its workers. Files are opened through directory descriptors, never through a
link; fstat before and after tells whether somebody wrote meanwhile. While one pack is written and
synced by a thread, the next one fills. Cost: 15 µs a small file, a pack of memory a buffer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenkei.data import reasons
from zenkei.data.contents import FLAGS, TRIES, stamp
from zenkei.data.depots.depot import Depot
from zenkei.data.manifest import path_text
from zenkei.data.pack import ALIGNMENT, CUT_BYTES
from zenkei.data.versions.scan import STAT, Scan
from zenkei.data.versions.table import PIECE, VersionTable
from zenkei.data.walk import Chain

MIN_UNIT_BYTES: Final = 16 << 20
UNIT_FILES: Final = 65_536
UNIT_PACKS: Final = 4
STEP_BYTES: Final = 256 << 10
Put = tuple[str, int, int]
"""Of a pack: its name, its size, how much of it the depot did not have."""


@dataclass(slots=True)
class Done:
    """A unit's outcome. rows: of the scan. stats: (k, 5), those that belong to the contents.

    pieces: as PIECE, `row` counts within `rows`, `pack` within `packs` (names and sizes).
    stored: bytes that the depot did not have.
    """

    rows: NDArray[np.int64]
    digests: bytes
    stats: NDArray[np.int64]
    packs: list[tuple[str, int]]
    pieces: NDArray[np.void]
    stored: int


class Known:
    """Contents that the depot has, by digest. Only those that lie in one piece; made by columns.

    Memory: 12 bytes a file beside the tables.
    """

    def __init__(self, tables: list[VersionTable], gone: set[str]) -> None:
        self._parts = [_Lookup(table, gone) for table in tables if len(table.pieces)]

    def find(self, raw: bytes, size: int) -> tuple[str, int, int] | None:
        """Pack, its size, offset."""
        for part in self._parts:
            if (place := part.find(raw, size)) is not None:
                return place
        return None


class _Lookup:
    def __init__(self, table: VersionTable, gone: set[str]) -> None:
        self._table = table
        pieces = table.pieces
        alive = np.array([name not in gone for name in table.packs], np.bool_)
        usable = (pieces["size"] == table.sizes[pieces["row"]]) & alive[pieces["pack"]]
        rows = np.flatnonzero(usable).astype(np.uint32)
        starts = _starts(table, rows)
        order = np.argsort(starts, kind="stable").astype(np.uint32)
        self._starts, self._pieces = starts[order], rows[order]

    def find(self, raw: bytes, size: int) -> tuple[str, int, int] | None:
        start = np.uint64(int.from_bytes(raw[:8], "little"))
        at = int(np.searchsorted(self._starts, start))
        if at == len(self._starts) or self._starts[at] != start:
            return None
        table = self._table
        place = table.pieces[int(self._pieces[at])]
        if table.digests[int(place["row"])].tobytes() != raw or int(place["size"]) != size:
            return None
        pack = int(place["pack"])
        return table.packs[pack], int(table.pack_sizes[pack]), int(place["offset"])


def _starts(table: VersionTable, pieces: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The first eight bytes of the digest of each piece's file."""
    words = np.ascontiguousarray(table.digests).view("<u8")[:, 0]
    return np.asarray(words[table.pieces["row"][pieces]], np.uint64)


def units(sizes: NDArray[np.int64], jobs: int) -> list[tuple[int, int]]:
    """Ranges of the files to read: a few packs, or one large file. Small works are shared."""
    aligned = (sizes + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT
    total = int(np.minimum(aligned, CUT_BYTES).sum())
    room = min(UNIT_PACKS * CUT_BYTES, max(MIN_UNIT_BYTES, -(-total // (2 * jobs))))
    ends = np.cumsum(aligned)
    found: list[tuple[int, int]] = []
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + room, side="right"))
        end = min(max(end, first + 1), first + UNIT_FILES)
        found.append((first, end))
        first = end
    # the largest first: nobody waits at the end for one who began late
    return sorted(found, key=lambda unit: -int(aligned[unit[0] : unit[1]].sum()))


@dataclass(slots=True)
class _Unit:
    digests: bytearray = field(default_factory=bytearray)
    stats: list[tuple[int, ...]] = field(default_factory=list)
    packs: dict[tuple[str, int], int] = field(default_factory=dict)
    pieces: list[tuple[int, int, int, int]] = field(default_factory=list)
    open: list[tuple[int, int, int]] = field(default_factory=list)
    seen: dict[bytes, int] = field(default_factory=dict)
    used: int = 0
    stored: int = 0
    packing: list[tuple[Future[Put], list[tuple[int, int, int]]]] = field(default_factory=list)

    def place(self, row: int, name: str, pack_size: int, offset: int, size: int) -> None:
        pack = self.packs.setdefault((name, pack_size), len(self.packs))
        self.pieces.append((row, pack, offset, size))


class Reader:
    """In a worker. buffers: packs in memory, of which all but one may be on their way."""

    def __init__(
        self,
        root: int,
        scan: Scan,
        rows: NDArray[np.int64],
        known: Known,
        depot: Depot,
        *,
        buffers: int,
    ) -> None:
        self._chain = Chain(root)
        self._scan = scan
        self._rows = rows
        self._known = known
        self._depot = depot
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(buffers):
            self._free.put(np.zeros(CUT_BYTES, np.uint8).data)  # pages that are used, not all
        self._buffer = self._free.get()
        self._pool = ThreadPoolExecutor(max(1, buffers - 1))
        self._pending: list[Future[Put]] = []
        self._spare = bytearray(1)
        self._unit = _Unit()

    def __call__(self, span: tuple[int, int]) -> Done:
        unit = self._unit = _Unit()
        rows = self._rows[span[0] : span[1]]
        folder, last = -1, -1
        for index, row in enumerate(rows.tolist()):
            parent = int(self._scan.parents[row])
            if parent != last:
                folder, last = self._folder(parent, row), parent
            if not self._file(index, row, folder):
                raise reasons.keeps_changing(path_text(self._scan.path(row)))
        self._flush()
        for packing, members in unit.packing:
            name, size, stored = packing.result()
            unit.stored += stored
            for index, offset, length in members:
                unit.place(index, name, size, offset, length)
        # a large file's members come later than those of small ones that follow it
        unit.pieces.sort(key=lambda piece: piece[0])
        pieces = np.array(unit.pieces, dtype=[(name, np.int64) for name in PIECE.names or ()])
        return Done(
            rows=rows,
            digests=bytes(unit.digests),
            stats=np.array(unit.stats, np.int64).reshape(-1, len(STAT)),
            packs=list(unit.packs),
            pieces=pieces.astype(PIECE),
            stored=unit.stored,
        )

    def _folder(self, parent: int, row: int) -> int:
        try:
            return self._chain.at(path_text(self._scan.directories[parent]))
        except OSError as error:
            raise _unread(path_text(self._scan.path(row)), error) from error

    def _file(self, index: int, row: int, folder: int) -> bool:
        """False if somebody always wrote meanwhile."""
        name = self._scan.name(row)
        for _ in range(TRIES):
            try:
                descriptor = os.open(name, FLAGS, dir_fd=folder)
                try:
                    before = os.fstat(descriptor)
                    if not stat.S_ISREG(before.st_mode):
                        continue
                    read = self._large if before.st_size > CUT_BYTES else self._small
                    put = read(descriptor, before)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise _unread(path_text(self._scan.path(row)), error) from error
            if put is None:
                continue
            self._unit.stats.append(
                (before.st_mode, before.st_ino & _INT64, before.st_size, before.st_mtime_ns,
                 before.st_ctime_ns)
            )  # fmt: skip
            put(index)
            return True
        return False

    def _small(self, descriptor: int, before: os.stat_result) -> Callable[[int], None] | None:
        size, unit = before.st_size, self._unit
        if unit.used + size > CUT_BYTES:
            self._flush()
        start = unit.used
        target = self._buffer[start : start + size]
        if not self._fill(descriptor, target) or stamp(os.fstat(descriptor)) != stamp(before):
            return None
        digest = blake3(target).digest()
        return lambda index: self._keep(index, digest, start, size)

    def _fill(self, descriptor: int, target: memoryview) -> bool:
        """Exactly that many bytes are there, and no more."""
        got = os.readv(descriptor, [target, self._spare])
        while 0 < got < len(target):
            more = os.readv(descriptor, [target[got:], self._spare])
            if not more:
                return False
            got += more
        return got == len(target)

    def _keep(self, index: int, digest: bytes, start: int, size: int) -> None:
        unit = self._unit
        unit.digests += digest
        if not size:
            return
        if (known := self._known.find(digest, size)) is not None:
            unit.place(index, known[0], known[1], known[2], size)
            return
        earlier = unit.seen.get(digest)
        if earlier is None:
            unit.seen[digest] = earlier = start
            end = start + size
            unit.used = min(end + -end % ALIGNMENT, CUT_BYTES)
            self._buffer[end : unit.used] = bytes(unit.used - end)
        unit.open.append((index, earlier, size))

    def _flush(self) -> None:
        """The buffer becomes a pack of the depot."""
        unit = self._unit
        if unit.open:
            unit.packing.append((self._put(unit.used), unit.open))
        unit.open, unit.seen, unit.used = [], {}, 0

    def _large(self, descriptor: int, before: os.stat_result) -> Callable[[int], None] | None:
        """A file that is larger than a pack: pieces, each of them a pack."""
        self._flush()
        whole = blake3()
        packs: list[Future[Put]] = []
        rest = before.st_size
        while rest:
            size = min(rest, CUT_BYTES)
            piece, got = blake3(), 0
            while got < size:
                step = self._buffer[got : min(got + STEP_BYTES, size)]
                more = os.readv(descriptor, [step])
                if not more:
                    return None
                whole.update(step[:more])  # both while the processor's cache has it
                piece.update(step[:more])
                got += more
            packs.append(self._put(size, piece.hexdigest()))
            rest -= size
        if os.read(descriptor, 1) or stamp(os.fstat(descriptor)) != stamp(before):
            return None

        def put(index: int) -> None:
            self._unit.digests += whole.digest()
            sizes = [
                min(CUT_BYTES, before.st_size - at) for at in range(0, before.st_size, CUT_BYTES)
            ]
            for pack, size in zip(packs, sizes, strict=True):
                self._unit.packing.append((pack, [(index, 0, size)]))

        return put

    def _put(self, size: int, name: str = "") -> Future[Put]:
        """The buffer's beginning into the depot, while another one fills. name: if it is known."""
        packing = self._pool.submit(self._stored, self._buffer, size, name)
        self._buffer = self._free.get()
        # a depot that is full is noticed before a whole file was read in vain
        self._pending = [other for other in self._pending if not _has_ended(other)]
        self._pending.append(packing)
        return packing

    def _stored(self, buffer: memoryview, size: int, name: str) -> Put:
        """What is there already (of a commit that was killed, say) is not written again."""
        content = buffer[:size]
        try:
            name = name or blake3(content).hexdigest()
            if self._depot.touch(f"packs/{name}"):
                return name, size, 0
            self._depot.put(f"packs/{name}", content)
            return name, size, size
        finally:
            self._free.put(buffer)


_INT64: Final = (1 << 63) - 1


def _has_ended(packing: Future[Put]) -> bool:
    """Raises what it raised."""
    return packing.done() and packing.result() is not None


def _unread(path: str, error: OSError) -> Any:
    return (
        reasons.disappeared(path)
        if isinstance(error, FileNotFoundError)
        else reasons.cannot_read(path, error)
    )
