"""A dataset version in memory: columns, because a million rows as objects cost a second and 1 GB.

Called by everything that reads or writes versions. Rows are sorted by the bytes of their directory,
then by those of their name. Memory: about 95 bytes a row and its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.model.data import Digest

PIECE: Final = np.dtype(
    [("row", "<u4"), ("pack", "<u4"), ("offset", "<u8"), ("size", "<u8")], align=False
)
"""Where a part of a file lies: index of its row, index into `packs`, bytes."""


class Kind(IntEnum):
    """What a row is. A directory has a row of its own only when nothing is in it."""

    FILE = 0
    LINK = 1
    DIRECTORY = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VersionTable:
    """n rows, d directories, m pieces. Paths are bytes, `/`-separated, relative.

    directories: every directory of the tree, sorted by bytes; the first is the root, `b""`. An
    empty one stands here too, besides its row.
    parents: (n,) uint32 into `directories`. name_data, name_starts: row i is named
    name_data[name_starts[i]:name_starts[i + 1]]; (n + 1,) uint64.
    kinds: (n,) uint8. modes: (n,) uint16, 0o644 or 0o755 for files, 0o777 for links, 0o755 for
    directories. sizes: (n,) uint64 bytes, 0 for links and directories.
    digests: (n, 32) uint8, BLAKE3 of the whole file; zeros for links and directories.
    targets: by row, of links. packs: names in the depot (64 hexadecimal digits, BLAKE3 of the bytes
    of the pack); pack_sizes: (p,) uint64. pieces: (m,) PIECE, sorted by row, then as the file goes
    on: one for a small file, several for one larger than a pack, none for an empty one.
    mtimes_ns: (n,) int64, only of a version that is stored by reference: it has no digests, no
    pieces, and its content lies below the directory `origin`.
    """

    digest: Digest
    directories: tuple[bytes, ...]
    parents: NDArray[np.uint32]
    name_data: bytes
    name_starts: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    modes: NDArray[np.uint16]
    sizes: NDArray[np.uint64]
    digests: NDArray[np.uint8]
    targets: dict[int, bytes]
    packs: tuple[str, ...]
    pack_sizes: NDArray[np.uint64]
    pieces: NDArray[np.void]
    mtimes_ns: NDArray[np.int64] | None = None
    origin: bytes = b""

    def __len__(self) -> int:
        return len(self.kinds)

    def name(self, row: int) -> bytes:
        return self.name_data[int(self.name_starts[row]) : int(self.name_starts[row + 1])]

    def path(self, row: int) -> bytes:
        folder = self.directories[int(self.parents[row])]
        return folder + b"/" + self.name(row) if folder else self.name(row)

    @property
    def size_bytes(self) -> int:
        """Of all files, as a reader sees them."""
        return int(self.sizes.sum())
