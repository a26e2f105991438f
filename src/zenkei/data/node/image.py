"""A version as an EROFS image: names and inodes only, the contents stay in the packs.

Called by `cache.Cache.image`. The packs are the image's extra devices, so a mount needs neither
a copy nor an unpacked file. Promise: the same table gives the same bytes. Cost: about 1 s and
97 MB for a million files.
Source: the EROFS on-disk format of the Linux kernel, `fs/erofs/erofs_fs.h`. All numbers are little
endian. Departures: every inode has the chunk layout, for a flat one on an extra device is misread
by readers outside the kernel; blocks have 512 bytes, for that is how members of a pack are aligned.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.data.node.image_tree import (
    TYPE_DIRECTORY,
    TYPE_FILE,
    TYPE_LINK,
    Blocks,
    Tree,
    blocks_of,
    entry_data,
    tree_of,
)
from zenkei.data.versions.table import Kind, VersionTable

FORMAT: Final = 1
"""Rises when the same table would give other bytes: images of an older one are made again."""
BLOCK_BITS: Final = 9
BLOCK: Final = 1 << BLOCK_BITS
MAX_PACKS: Final = 0xFFFF
EPOCH_S: Final = 315_532_800
"""The time that all files have: 1980, for archives know no earlier one."""

_MAGIC = 0xE0F5E1E2
_CHUNKED, _DEVICE_TABLE = 0x4, 0x8
_ROOT_AT = 1152
_DEVICES_AT = 1280
_COMPACT_CHUNKS, _EXTENDED_CHUNKS, _COMPACT_PLAIN, _COMPACT_INLINE = 8, 9, 0, 4
_INDEXED = 0x20
_SLOT = 64
_LONGEST_CHUNK_BITS = 31


class NoImage(Exception):
    """This version cannot be one image; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Byte offsets of inodes: of rows (in the tree's order) and directories; where data begin."""

    rows: NDArray[np.int64]
    directories: NDArray[np.int64]
    directory_data: int
    link_data: int
    end: int


def write_image(table: VersionTable, to: Path) -> int:
    """Make the new file `to`; its bytes. Raises NoImage."""
    if len(table.packs) > MAX_PACKS:
        raise NoImage(f"it has {len(table.packs)} packs, an EROFS image takes {MAX_PACKS}")
    tree = tree_of(table)
    blocks = blocks_of(tree, BLOCK)
    files = _files(table, tree)
    places = _place(table, tree, blocks, files)
    if places.end >> BLOCK_BITS >= 1 << 32:
        raise NoImage("its names need more than 2 TiB")
    image = np.zeros(places.directory_data, dtype=np.uint8)
    image[1024:_ROOT_AT] = np.frombuffer(_superblock(table, tree, places), dtype=np.uint8)
    _write_devices(image, table)
    _write_directories(image, tree, blocks, places)
    _write_small(image, table, tree, files, places)
    _write_large(image, table, tree, files, places)
    long_links = _write_links(image, table, tree, places)
    nids, types = _targets(table, tree, places)
    with to.open("xb") as file:
        file.write(image.data)
        file.write(entry_data(tree, blocks, nids, types, BLOCK))
        file.write(long_links)
        file.truncate(places.end)
    return places.end


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """By row of the tree: bytes, first piece, how many; bits of a chunk, how many chunks."""

    sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    pieces: NDArray[np.int64]
    bits: NDArray[np.int64]
    chunks: NDArray[np.int64]


def _files(table: VersionTable, tree: Tree) -> _Files:
    rows = tree.rows
    owners = table.pieces["row"].astype(np.int64)
    first = np.searchsorted(owners, rows, side="left")
    pieces = np.searchsorted(owners, rows, side="right") - first
    sizes = np.where(table.kinds[rows] == Kind.FILE, table.sizes[rows], 0).astype(np.int64)
    if np.any((sizes > 0) & (pieces == 0)):
        raise NoImage("it holds files whose content is not in the store")
    # one chunk that is as large as the file; 4 KiB at least, a page
    bits = np.maximum(np.frexp(np.maximum(sizes - 1, 0))[1].astype(np.int64) - BLOCK_BITS, 3)
    for row in np.flatnonzero(pieces > 1).tolist():
        inner = table.pieces["size"][first[row] : first[row] + pieces[row] - 1].astype(np.int64)
        common = int(np.gcd.reduce(inner))
        bits[row] = (common & -common).bit_length() - 1 - BLOCK_BITS
    if np.any(bits < 0) or np.any(table.pieces["offset"] % np.uint64(BLOCK)):
        raise NoImage(f"its pieces do not begin at multiples of {BLOCK} bytes")
    bits = np.minimum(bits, _LONGEST_CHUNK_BITS)
    chunks = -(-sizes >> (bits + BLOCK_BITS))
    return _Files(sizes=sizes, first=first, pieces=pieces, bits=bits, chunks=chunks)


def _place(table: VersionTable, tree: Tree, blocks: Blocks, files: _Files) -> _Places:
    """Slots of 64 bytes in the order of rows; those of longer links must not cross a block."""
    extended = files.sizes >= 1 << 32
    slots = np.where(extended, 64, 32) + 8 * np.maximum(files.chunks, 1)
    slots = -(-slots // _SLOT) * _SLOT
    last: dict[int, list[int]] = {128: [], 256: [], 512: []}
    for at in np.flatnonzero(table.kinds[tree.rows] == Kind.LINK).tolist():
        length = len(table.targets[int(tree.rows[at])])
        slot = max(_SLOT, 1 << (31 + length).bit_length())
        slots[at] = _SLOT
        if slot in last and length <= BLOCK - 32:
            slots[at] = 0
            last[slot].append(at)
    at = _aligned(_DEVICES_AT + 128 * len(table.packs), BLOCK)
    rows = at + np.concatenate([[0], np.cumsum(slots)])
    at, rows = int(rows[-1]), rows[:-1]
    for slot, which in last.items():
        at = _aligned(at, slot)
        rows[which] = at + slot * np.arange(len(which))
        at += slot * len(which)
    at = _aligned(at, BLOCK)
    directories = at + 32 * np.arange(-1, len(tree.directories) - 1)
    directories[0] = _ROOT_AT
    data = _aligned(at + 32 * len(tree.directories), BLOCK)
    links = data + BLOCK * int(blocks.folder_blocks[-1])
    long_bytes = sum(
        _aligned(len(target), BLOCK)
        for target in table.targets.values()
        if len(target) > BLOCK - 32
    )
    return _Places(
        rows=rows,
        directories=directories,
        directory_data=data,
        link_data=links,
        end=_aligned(links + long_bytes, 4096),
    )


def _aligned(offset: int, to: int) -> int:
    return -(-offset // to) * to


def _superblock(table: VersionTable, tree: Tree, places: _Places) -> bytes:
    block = bytearray(128)
    struct.pack_into("<I", block, 0, _MAGIC)
    inodes = len(tree.rows) + len(tree.directories)
    struct.pack_into("<BBHQQ", block, 12, BLOCK_BITS, 0, _ROOT_AT // 32, inodes, EPOCH_S)
    struct.pack_into("<I", block, 36, places.end >> BLOCK_BITS)
    block[48:64] = bytes.fromhex(table.digest.removeprefix("b3:"))[:16]
    incompatible = _CHUNKED | (_DEVICE_TABLE if table.packs else 0)
    struct.pack_into("<I", block, 80, incompatible)
    struct.pack_into("<HH", block, 86, len(table.packs), _DEVICES_AT // 128)
    return bytes(block)


def _write_devices(image: NDArray[np.uint8], table: VersionTable) -> None:
    """One slot a pack: its name as tag, its blocks."""
    if not table.packs:
        return
    slots = image[_DEVICES_AT : _DEVICES_AT + 128 * len(table.packs)].reshape(-1, 128)
    names = "".join(table.packs).encode("ascii")
    slots[:, :64] = np.frombuffer(names, dtype=np.uint8).reshape(-1, 64)
    blocks = -(-table.pack_sizes.astype(np.int64) // BLOCK)
    slots[:, 64:68] = blocks.astype("<u4").view(np.uint8).reshape(-1, 4)


def _compact(
    kind: int,
    modes: NDArray[np.int64] | int,
    sizes: NDArray[np.int64],
    place: NDArray[np.int64],
    layout: int,
) -> NDArray[np.uint8]:
    """(n, 32): inodes of 32 bytes. place: the field that says where the data lie."""
    halves = np.zeros((len(sizes), 16), dtype="<u2")
    words = halves.view("<u4")
    halves[:, 0] = layout
    halves[:, 2] = kind | modes
    halves[:, 3] = 1
    words[:, 2] = sizes
    words[:, 4] = place
    return halves.view(np.uint8)


def _put(image: NDArray[np.uint8], offsets: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
    """Write each row of `values` at its offset, a multiple of 8."""
    words = image[: len(image) // 8 * 8].view("<u8")
    wide = np.ascontiguousarray(values).view("<u8")
    for column in range(wide.shape[1]):
        words[offsets // 8 + column] = wide[:, column]


def _write_directories(
    image: NDArray[np.uint8], tree: Tree, blocks: Blocks, places: _Places
) -> None:
    start = places.directory_data // BLOCK + blocks.folder_blocks[:-1]
    inodes = _compact(stat.S_IFDIR, 0o755, blocks.sizes, start, _COMPACT_PLAIN)
    links = tree.subdirectories + 2
    # one means "not counted", as on other file systems with more than 16 bits of subdirectories
    inodes.view("<u2")[:, 3] = np.where(links > 0xFFFF, 1, links)
    inodes.view("<u4")[:, 5] = np.arange(1, len(links) + 1)
    _put(image, places.directories, inodes)


def _write_small(
    image: NDArray[np.uint8], table: VersionTable, tree: Tree, files: _Files, places: _Places
) -> None:
    """Files of one chunk or none: an inode and its index."""
    is_file = table.kinds[tree.rows] == Kind.FILE
    which = np.flatnonzero(is_file & (files.chunks <= 1) & (files.sizes < 1 << 32))
    sizes = files.sizes[which]
    inodes = np.zeros((len(which), 40), dtype=np.uint8)
    layout = _INDEXED | files.bits[which]
    inodes[:, :32] = _compact(
        stat.S_IFREG,
        table.modes[tree.rows[which]].astype(np.int64) & 0o777,
        sizes,
        layout,
        _COMPACT_CHUNKS,
    )
    inodes.view("<u4")[:, 5] = len(tree.directories) + 1 + which
    full = sizes > 0
    pieces = table.pieces[files.first[which[full]]]
    inodes.view("<u2")[full, 17] = pieces["pack"] + 1
    inodes.view("<u4")[full, 9] = pieces["offset"] >> np.uint64(BLOCK_BITS)
    # an empty file has no chunk at all: flat, without data
    inodes.view("<u2")[~full, 0] = _COMPACT_PLAIN
    inodes.view("<u4")[~full, 4] = 0
    _put(image, places.rows[which], inodes)


def _write_large(
    image: NDArray[np.uint8], table: VersionTable, tree: Tree, files: _Files, places: _Places
) -> None:
    """Files of several chunks, or too large for 32 bits: few, each in Python."""
    is_file = table.kinds[tree.rows] == Kind.FILE
    for at in np.flatnonzero(is_file & ((files.chunks > 1) | (files.sizes >= 1 << 32))).tolist():
        size, bits = int(files.sizes[at]), int(files.bits[at])
        mode = stat.S_IFREG | int(table.modes[tree.rows[at]]) & 0o777
        number = len(tree.directories) + 1 + at
        if size < 1 << 32:
            inode = struct.pack(
                "<HHHHIIIIHHI",
                _COMPACT_CHUNKS,
                0,
                mode,
                1,
                size,
                0,
                _INDEXED | bits,
                number,
                0,
                0,
                0,
            )
        else:
            inode = struct.pack(
                "<HHHHQIIIIQII16x",
                *(_EXTENDED_CHUNKS, 0, mode, 0, size, _INDEXED | bits, number, 0, 0),
                *(EPOCH_S, 0, 1),
            )
        pieces = table.pieces[files.first[at] : files.first[at] + files.pieces[at]]
        indexes = _indexes(pieces, 1 << (bits + BLOCK_BITS))
        content = np.frombuffer(inode + indexes.tobytes(), dtype=np.uint8)
        image[places.rows[at] : places.rows[at] + len(content)] = content


def _indexes(pieces: NDArray[np.void], chunk: int) -> NDArray[np.void]:
    """The chunks of a file whose pieces, but the last, are multiples of `chunk` bytes."""
    counts = -(-pieces["size"].astype(np.int64) // chunk)
    of = np.repeat(np.arange(len(pieces)), counts)
    within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    indexes = np.zeros(len(of), dtype=[("high", "<u2"), ("device", "<u2"), ("block", "<u4")])
    indexes["device"] = pieces["pack"][of] + 1
    indexes["block"] = (pieces["offset"][of].astype(np.int64) + within * chunk) >> BLOCK_BITS
    return indexes


def _write_links(
    image: NDArray[np.uint8], table: VersionTable, tree: Tree, places: _Places
) -> bytes:
    """Targets stand behind the inode; those longer than a block get blocks: their bytes."""
    long_links = bytearray()
    for at in np.flatnonzero(table.kinds[tree.rows] == Kind.LINK).tolist():
        target = table.targets[int(tree.rows[at])]
        inline = len(target) <= BLOCK - 32
        block = 0 if inline else (places.link_data + len(long_links)) // BLOCK
        inode = struct.pack(
            "<HHHHIIIIHHI",
            *(_COMPACT_INLINE if inline else _COMPACT_PLAIN, 0, stat.S_IFLNK | 0o777, 1),
            *(len(target), 0, block, len(tree.directories) + 1 + at, 0, 0, 0),
        )
        if inline:
            inode += target
        else:
            long_links += target.ljust(_aligned(len(target), BLOCK), b"\0")
        begin = int(places.rows[at])
        image[begin : begin + len(inode)] = np.frombuffer(inode, dtype=np.uint8)
    return bytes(long_links)


def _targets(
    table: VersionTable, tree: Tree, places: _Places
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """By entry: the inode's number (its offset in units of 32 bytes) and its type."""
    nids = np.empty(len(tree.lengths), dtype=np.uint64)
    nids[tree.row_at] = places.rows // 32
    nids[tree.folder_at] = places.directories[tree.folder_of] // 32
    types = np.full(len(tree.lengths), TYPE_DIRECTORY, dtype=np.uint8)
    types[tree.row_at] = np.where(table.kinds[tree.rows] == Kind.LINK, TYPE_LINK, TYPE_FILE)
    return nids, types
