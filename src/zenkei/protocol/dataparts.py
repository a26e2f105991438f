"""Which rows of a dataset version each part of a split has: a file for jobs, a digest for records.

Written by `data.versions.jobindex` (or `encode`), once for each version and split; read by
`sdk.data`. Its BLAKE2b-256, as `b2:` and 64 digits, is what a record keeps of the split: equal
digests mean the same files in the same parts, on every machine. Little endian:

    header  8s magic, u32 version, u32 parts, i64 seed, u64 rows of all parts together,
            32s digest of the dataset version, 8s `file` or `group`, zeros behind it
    parts   64s name (UTF-8, zeros behind it), u64 its rows, f64 its fraction
    rows    u32 each, numbers of rows of the version's index; part after part, ascending
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import sys
from array import array
from typing import Any, Sequence

from zenkei.protocol.dataindex import Buffer
from zenkei.protocol.splits import Split, check

MAGIC = b"zk-parts"
VERSION = 1
HEADER = struct.Struct("<8sIIqQ32s8s")
PART = struct.Struct("<64sQd")


def encode(digest: bytes, split: Split, rows: Sequence[Any]) -> bytes:
    """rows: of each part, an array of unsigned 32-bit integers in this machine's order."""
    total = sum(map(len, rows))
    head = (MAGIC, VERSION, len(rows), split.seed, total, digest, split.by.encode())
    table = [
        PART.pack(name.encode(), len(part), fraction)
        for (name, fraction), part in zip(split.parts, rows)
    ]
    return b"".join([HEADER.pack(*head), *table, *map(_little, rows)])


def digest_of(content: Buffer) -> str:
    return "b2:" + hashlib.blake2b(content, digest_size=32).hexdigest()


class Parts:
    """digest: 32 bytes, of the dataset version. rows: by part, a view of the file."""

    def __init__(self, data: Buffer) -> None:
        self.digest, self.split, counts = _head(data)
        view = memoryview(data)
        at = HEADER.size + PART.size * len(counts)
        self.rows: dict[str, Sequence[int]] = {}
        for (name, _), count in zip(self.split.parts, counts):
            self.rows[name] = _native(view[at : at + 4 * count])
            at += 4 * count

    @classmethod
    def open(cls, path: str, digest: str = "") -> Parts:
        """digest: of the file, if it shall be compared. Raises OSError, ValueError."""
        with open(path, "rb") as file:
            try:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if digest and digest_of(data) != digest:
                    raise ValueError("these parts are not those of the record")
                return cls(data)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error


def _head(data: Buffer) -> tuple[bytes, Split, list[int]]:
    if len(data) < HEADER.size:
        raise ValueError(f"parts of {len(data)} bytes are cut off")
    magic, version, count, seed, total, digest, by = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"no parts of version {VERSION}")
    if len(data) != HEADER.size + PART.size * count + 4 * total:
        raise ValueError(f"parts of {len(data)} bytes are cut off or too long")
    table = [PART.unpack_from(data, HEADER.size + PART.size * n) for n in range(count)]
    counts = [rows for _, rows, _ in table]
    parts = tuple((name.rstrip(b"\0").decode(), fraction) for name, _, fraction in table)
    if sum(counts) != total:
        raise ValueError("the parts have other sums than their rows")
    return digest, check(Split(parts, seed, by.rstrip(b"\0").decode("ascii", "replace"))), counts


def _little(rows: Any) -> bytes:
    if sys.byteorder == "big":
        rows = array("I", rows)
        rows.byteswap()
    content: bytes = rows.tobytes()
    return content


def _native(view: memoryview) -> Sequence[int]:
    if sys.byteorder == "little" and len(view):  # what is empty cannot be cast
        return view.cast("I")
    swapped = array("I", bytes(view))
    swapped.byteswap()
    return swapped
