"""Versions of datasets on their way into a capsule and out of it.

Called by `writing` and `taking`. A depot's packs hold what several versions share, perhaps of
datasets that the reader of a capsule may not read: so a version is packed anew, with nothing but
its own files, in the order of its paths. That way the same version has the same packs whatever the
depot. Coming in, each file is compared with its digest before the version is put: who names a
version must have its content. Memory: three packs, and 60 bytes a file beside the table.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from blake3 import blake3

from zenkei.data.capsules.archive import Archive, refused
from zenkei.data.depots.depot import Depot
from zenkei.data.digests import digest_of
from zenkei.data.manifest import path_text, shown
from zenkei.data.pack import ALIGNMENT, CUT_BYTES
from zenkei.data.versions import container
from zenkei.data.versions.keeper import Keeper
from zenkei.data.versions.table import PIECE, Kind, VersionTable
from zenkei.model.data import Digest
from zenkei.model.errors import Unavailable

Put = Callable[[str, bytes | bytearray], None]
"""A pack's name, its bytes."""
PACKS_IN_MEMORY: Final = 4
MOST_TRIES: Final = 3


def repacked(table: VersionTable, depot: Depot, put: Put) -> VersionTable:
    """The same version in packs of its own, each given to `put` once.

    Raises Unavailable for content that is damaged or gone.
    """
    packing = _Packing(put)
    members = _Members(table, depot)
    for row in np.flatnonzero((table.kinds == Kind.FILE) & (table.sizes > 0)).tolist():
        size, raw = int(table.sizes[row]), table.digests[row].tobytes()
        if size > CUT_BYTES:
            packing.flush()
            whole = blake3()
            for start in range(0, size, CUT_BYTES):
                content = members.read(row, start, min(CUT_BYTES, size - start))
                whole.update(content)
                packing.alone(row, content)
            _compare(table, row, whole.digest())
        elif not packing.again(row, raw, size):
            content = members.read(row, 0, size)
            _compare(table, row, blake3(content).digest())
            packing.add(row, raw, content)
    packing.flush()
    return packing.placed(table)


def _compare(table: VersionTable, row: int, digest: bytes) -> None:
    if digest != table.digests[row].tobytes():
        raise Unavailable(
            "content-damaged",
            f"`{shown(path_text(table.path(row)))}` of a dataset does not have its digest",
            hint="`zenkei dataset verify` says what is lost",
        )


class _Packing:
    def __init__(self, put: Put) -> None:
        self._put = put
        self._buffer = bytearray()
        self._seen: dict[bytes, int] = {}
        self._open: list[tuple[int, int, int]] = []
        self._packs: dict[str, int] = {}
        self._sizes: list[int] = []
        self._rows = array("Q")
        self._numbers = array("Q")
        self._offsets = array("Q")
        self._lengths = array("Q")

    def again(self, row: int, raw: bytes, size: int) -> bool:
        """Whether this content lies in the pack already; then it is placed."""
        start = self._seen.get(raw)
        if start is not None:
            self._open.append((row, start, size))
        return start is not None

    def add(self, row: int, raw: bytes, content: bytes) -> None:
        if len(self._buffer) + len(content) > CUT_BYTES:
            self.flush()
        self._seen[raw] = start = len(self._buffer)
        self._open.append((row, start, len(content)))
        self._buffer += content
        self._buffer += bytes(-len(content) % ALIGNMENT)

    def alone(self, row: int, content: bytes) -> None:
        """A piece of a large file is a pack."""
        self._buffer += content
        self._buffer += bytes(-len(content) % ALIGNMENT)
        self._open.append((row, 0, len(content)))
        self.flush()

    def flush(self) -> None:
        if not self._open:
            return
        name = blake3(self._buffer).hexdigest()
        if name not in self._packs:
            self._packs[name] = len(self._packs)
            self._sizes.append(len(self._buffer))
            self._put(name, self._buffer)
        number = self._packs[name]
        for row, start, size in self._open:
            self._rows.append(row)
            self._numbers.append(number)
            self._offsets.append(start)
            self._lengths.append(size)
        self._buffer, self._seen, self._open = bytearray(), {}, []

    def placed(self, table: VersionTable) -> VersionTable:
        pieces = np.zeros(len(self._rows), PIECE)
        columns = (self._rows, self._numbers, self._offsets, self._lengths)
        for name, column in zip(("row", "pack", "offset", "size"), columns, strict=True):
            pieces[name] = np.frombuffer(column, np.uint64) if len(column) else 0
        sizes = np.array(self._sizes, np.uint64)
        return replace(table, packs=tuple(self._packs), pack_sizes=sizes, pieces=pieces)


class _Members:
    """Contents by row. Of a store on the net whole packs are read, and a few of them kept."""

    def __init__(self, table: VersionTable, depot: Depot) -> None:
        self._table = table
        self._depot = depot
        self._is_near = depot.location.removeprefix("file:").startswith("/")
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._first = np.searchsorted(table.pieces["row"], np.arange(len(table) + 1))

    def read(self, row: int, start: int, size: int) -> bytes:
        """Bytes of a file, from its pieces."""
        parts, at = [], 0
        for piece in self._table.pieces[int(self._first[row]) : int(self._first[row + 1])]:
            length = int(piece["size"])
            low, high = max(start, at), min(start + size, at + length)
            if low < high:
                name = self._table.packs[int(piece["pack"])]
                parts.append(self._part(name, int(piece["offset"]) + low - at, high - low))
            at += length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, name: str, start: int, size: int) -> bytes:
        if self._is_near:
            return self._depot.read(f"packs/{name}", start, size)
        if name not in self._kept:
            while len(self._kept) >= PACKS_IN_MEMORY:
                self._kept.popitem(last=False)
            self._kept[name] = self._depot.read(f"packs/{name}")
        self._kept.move_to_end(name)
        return self._kept[name][start : start + size]


def read_version(
    archive: Archive, digest: str, listed: Mapping[str, tuple[int, Digest]]
) -> VersionTable:
    """Of a capsule, as its list has it; files are not looked at. Raises InvalidInput."""
    name = f"versions/{digest.removeprefix('b3:')}"
    content = archive.read(name, most=container.MAX_RAW_BYTES)
    if digest_of(content) != listed[name][1]:
        raise refused(f"`{name}` does not have its digest")
    # nothing in a capsule is compressed
    table = container.read(content, max_raw_bytes=len(content))
    if table.digest != digest:
        raise refused(f"`{name}` is another version")
    if table.mtimes_ns is not None:
        raise refused("it has a dataset by reference, which names files of another machine")
    _check_pieces(table)
    for pack, length in zip(table.packs, table.pack_sizes.tolist(), strict=True):
        entry = archive.entries.get(f"packs/{pack}")
        if entry is None or entry.size != length:
            raise refused(f"`packs/{pack}` is missing, or has another size than its version says")
    return table


def _check_pieces(table: VersionTable) -> None:
    """What `_checked` relies on: it goes through packs, not through files."""
    rows, packs = table.pieces["row"], table.pieces["pack"]
    if ((rows[1:] == rows[:-1]) & (packs[1:] < packs[:-1])).any():
        raise refused("the pieces of a file of a dataset do not lie in order")
    empty = (table.kinds == Kind.FILE) & (table.sizes == 0)
    nothing = np.frombuffer(blake3().digest(), np.uint8)
    if (table.digests[empty] != nothing).any():
        raise refused("an empty file of a dataset does not have its digest")


def take(archive: Archive, table: VersionTable, keeper: Keeper, depot: Depot) -> Iterator[int]:
    """Put a version with its packs; yields the bytes of each. Raises InvalidInput before the

    version is there if any file is not what it must be.
    """
    for _ in range(MOST_TRIES):
        gone = keeper.gone(set(table.packs))
        for name, content in _checked(archive, table):
            if name in gone:
                depot.put(f"packs/{name}", content)
            yield len(content)
        if keeper.put(table):
            return
    raise Unavailable(
        "content-collected",
        "the dataset store loses content while a capsule is imported",
        hint="is something else than zenkei removing files there? then import it again",
    )


def _checked(archive: Archive, table: VersionTable) -> Iterator[tuple[str, bytes]]:
    pieces = table.pieces[np.argsort(table.pieces["pack"], kind="stable")]
    bounds = np.searchsorted(pieces["pack"], np.arange(len(table.packs) + 1))
    large: dict[int, tuple[Any, int]] = {}
    for number, name in enumerate(table.packs):
        content = archive.read(f"packs/{name}", most=2 * CUT_BYTES)
        if blake3(content).hexdigest() != name:
            raise refused(f"`packs/{name}` does not have its digest")
        view = memoryview(content)
        for piece in pieces[int(bounds[number]) : int(bounds[number + 1])]:
            row, start, size = int(piece["row"]), int(piece["offset"]), int(piece["size"])
            whole, got = large.pop(row, (blake3(), 0))
            whole.update(view[start : start + size])
            if got + size < int(table.sizes[row]):
                large[row] = (whole, got + size)
            elif whole.digest() != table.digests[row].tobytes():
                raise refused(f"`{shown(path_text(table.path(row)))}` does not have its digest")
        yield name, content
