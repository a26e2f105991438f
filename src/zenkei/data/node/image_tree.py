"""Directory entries of an EROFS image: a version's rows and directories, merged in byte order.

Called by `image`. Pure. Cost: 0.3 s for a million files in NumPy; Python touches only directories
and blocks.
Source: the EROFS on-disk format of the Linux kernel, `fs/erofs/erofs_fs.h`: a block holds entries
of 12 bytes, then their names; within a directory entries are sorted by bytes, "." and ".." too, for
lookup is a binary search.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenkei.data.versions.table import Kind, VersionTable

ENTRY_BYTES = 12
TYPE_FILE, TYPE_DIRECTORY, TYPE_LINK = 1, 2, 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """e entries of d directories (sorted by path, the root first), as they follow on the disk.

    rows: the table's rows that are files or links, in its order. lengths, cuts: bytes of each
    entry's name, (e,), and their running sum, (e + 1,). names: those bytes. row_at: (rows,)
    position of each row's entry. folder_at, folder_of: positions of the other entries and the
    directory each of them leads to. starts: (d + 1,) first entry of each directory.
    """

    directories: tuple[bytes, ...]
    rows: NDArray[np.int64]
    names: bytes
    lengths: NDArray[np.int64]
    cuts: NDArray[np.int64]
    row_at: NDArray[np.int64]
    folder_at: NDArray[np.int64]
    folder_of: NDArray[np.int64]
    starts: NDArray[np.int64]
    subdirectories: NDArray[np.int64]


def tree_of(table: VersionTable) -> Tree:
    """Raises ValueError for a row whose directory is missing or unsorted."""
    directories, rows, parents = _without_directory_rows(table)
    index = {path: number for number, path in enumerate(directories)}
    if len(rows) and (np.any(np.diff(parents) < 0) or int(parents[-1]) >= len(directories)):
        raise ValueError("the rows are not sorted by their directory")
    ends = np.searchsorted(parents, np.arange(len(directories)), side="right")
    extras = [[(b".", own)] for own in range(len(directories))]
    extras[0].append((b"..", 0))
    for own, path in enumerate(directories[1:], start=1):
        above, _, name = path.rpartition(b"/")
        parent = index[above]
        extras[own].append((b"..", parent))
        extras[parent].append((name, own))
    names = _RowNames(table, rows)
    positions, leads, texts = [], [], []
    begin = 0
    for own, end in enumerate(ends.tolist()):
        for text, to in sorted(extras[own]):
            positions.append(bisect_left(names, text, begin, end))
            leads.append(to)
            texts.append(text)
        begin = end
    at = np.array(positions, dtype=np.int64)
    counts = np.array([len(each) for each in extras], dtype=np.int64)
    row_at = np.arange(len(rows)) + np.searchsorted(at, np.arange(len(rows)), side="right")
    folder_at = at + np.arange(len(at))
    lengths = np.empty(len(rows) + len(at), dtype=np.int64)
    lengths[row_at] = names.lengths
    lengths[folder_at] = [len(text) for text in texts]
    return Tree(
        directories=directories,
        rows=rows,
        names=_merged(names, positions, texts),
        lengths=lengths,
        cuts=np.concatenate([[0], np.cumsum(lengths)]),
        row_at=row_at,
        folder_at=folder_at,
        folder_of=np.array(leads, dtype=np.int64),
        starts=np.concatenate([[0], ends + np.cumsum(counts)]),
        subdirectories=counts - 2,
    )


class _RowNames:
    """Names of the rows as a sequence, so that `bisect` can look into it."""

    def __init__(self, table: VersionTable, rows: NDArray[np.int64]) -> None:
        starts = table.name_starts.astype(np.int64)
        self.lengths = starts[rows + 1] - starts[rows]
        if len(rows) == len(table):
            self.data = table.name_data[int(starts[0]) : int(starts[-1])]
        else:
            kept = np.zeros(len(table), dtype=bool)
            kept[rows] = True
            letters = np.frombuffer(table.name_data, dtype=np.uint8)[int(starts[0]) :]
            self.data = letters[np.repeat(kept, np.diff(starts))].tobytes()
        self.cuts: list[int] = np.concatenate([[0], np.cumsum(self.lengths)]).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> bytes:
        return self.data[self.cuts[row] : self.cuts[row + 1]]


def _without_directory_rows(
    table: VersionTable,
) -> tuple[tuple[bytes, ...], NDArray[np.int64], NDArray[np.int64]]:
    """An empty directory may have a row, a place among the directories, or both: it becomes one."""
    empty = np.flatnonzero(table.kinds == Kind.DIRECTORY)
    parents = table.parents.astype(np.int64)
    if not len(empty):
        return table.directories, np.arange(len(table)), parents
    rows = np.flatnonzero(table.kinds != Kind.DIRECTORY)
    known = set(table.directories) | {table.path(int(row)) for row in empty}
    directories = tuple(sorted(known))
    moved = {path: number for number, path in enumerate(directories)}
    renumbered = np.array([moved[path] for path in table.directories], dtype=np.int64)
    return directories, rows, renumbered[parents[rows]]


def _merged(names: _RowNames, positions: list[int], texts: list[bytes]) -> bytes:
    parts: list[bytes] = []
    before = 0
    for position, text in zip(positions, texts, strict=True):
        if position > before:
            parts.append(names.data[names.cuts[before] : names.cuts[position]])
            before = position
        parts.append(text)
    parts.append(names.data[names.cuts[before] :])
    return b"".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """firsts: (b + 1,) first entry of each block. folder_blocks: (d + 1,) first block of each."""

    firsts: NDArray[np.int64]
    folder_blocks: NDArray[np.int64]
    sizes: NDArray[np.int64]


def blocks_of(tree: Tree, block: int) -> Blocks:
    """Which entries share a block: as many as fit, in order; a directory begins a block."""
    costs: list[int] = (tree.cuts + ENTRY_BYTES * np.arange(len(tree.cuts))).tolist()
    firsts: list[int] = []
    folder_blocks = [0]
    sizes = []
    starts: list[int] = tree.starts.tolist()
    for begin, end in itertools.pairwise(starts):
        at = last = begin
        while at < end:
            firsts.append(at)
            last, at = at, bisect_right(costs, costs[at] + block, at, end + 1) - 1
        sizes.append((len(firsts) - 1 - folder_blocks[-1]) * block + costs[end] - costs[last])
        folder_blocks.append(len(firsts))
    firsts.append(starts[-1])
    return Blocks(
        firsts=np.array(firsts, dtype=np.int64),
        folder_blocks=np.array(folder_blocks, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
    )


def entry_data(
    tree: Tree, blocks: Blocks, nids: NDArray[np.uint64], types: NDArray[np.uint8], block: int
) -> bytearray:
    """The blocks' bytes. nids, types: (e,) by entry."""
    firsts, counts = blocks.firsts[:-1], np.diff(blocks.firsts)
    of = np.repeat(np.arange(len(counts)), counts)
    data = np.zeros(len(counts) * block // 4, dtype="<u4")
    place = (of * block + ENTRY_BYTES * (np.arange(len(of)) - firsts[of])) // 4
    name_offsets = ENTRY_BYTES * counts[of] + tree.cuts[:-1] - tree.cuts[firsts][of]
    data[place] = nids & np.uint64(0xFFFFFFFF)
    data[place + 1] = nids >> np.uint64(32)
    data[place + 2] = name_offsets | (types.astype(np.int64) << 16)
    content = bytearray(data.view(np.uint8))
    cuts = tree.cuts[blocks.firsts].tolist()
    for number, count in enumerate(counts.tolist()):
        begin = number * block + ENTRY_BYTES * count
        text = tree.names[cuts[number] : cuts[number + 1]]
        content[begin : begin + len(text)] = text
    return content
