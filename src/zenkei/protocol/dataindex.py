"""The list of a dataset version's rows as a job reads it: mapped into memory, never parsed.

Written by `data.versions.jobindex` (or `encode`), once for each version and node; read by
`sdk.data`, and by anything that can map a file: `numpy.memmap(path, dtype, "r", offset, shape)`.
How a job learns where it lies: `protocol.datasets`. Little endian, parts one after another:

    header       128 bytes
    rows         64 bytes each: sorted by the bytes of their directory, then by those of their name
    directories  16 bytes each, sorted by their bytes; the first is the root, with an empty path
    names        paths of directories and names of rows, in no promised order

    header       8s magic, u32 version, u32 zero, u64 rows, u64 directories, u64 bytes of names,
                 u64 files, u64 bytes of all files, 32s digest of the version,
                 32s BLAKE2b-256 of all that follows the header, u32 zero, u32 CRC-32 of the rest
    row          32s BLAKE3 of the content (zeros: unknown, or no file), u64 bytes, u64 where in
                 names its name begins, u32 bytes of the name, u32 number of its directory,
                 u8 kind (0 file, 1 link, 2 empty directory), u8 1 if executable, 6 zeros
    directory    u64 where in names its path begins, u32 bytes of the path, u32 zero

A row's number is its place; it is the same wherever the version is read. `Index` looks at header
and size when it opens, at places when they are used; `verify` reads everything.
Cost: opening 20 µs; a row 2 µs; a million rows with short names are 80 MB.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from array import array
from typing import Any, Iterable, Iterator, NamedTuple, Sequence, Union

from zenkei.protocol import splits

MAGIC = b"zk-index"
VERSION = 1
HEADER = struct.Struct("<8sII5Q32s32sII")
ROW = struct.Struct("<32sQQIIBB6x")
DIRECTORY = struct.Struct("<QI4x")
FILE, LINK, EMPTY_DIRECTORY = 0, 1, 2
MAX_ROWS = (1 << 32) - 1
_PLACE = struct.Struct("<40xQII8x")
_WORDS = struct.Struct("<Q48xB7x")
_GROUPS = struct.Struct("<Q44xIB7x")
Buffer = Union[bytes, memoryview, mmap.mmap]


class Row(NamedTuple):
    """path: bytes, relative, `/` between its parts. digest: 32 bytes; zeros if there is none."""

    path: bytes
    digest: bytes = bytes(32)
    size: int = 0
    kind: int = FILE
    is_program: bool = False


class Sizes(NamedTuple):
    """What stands in the header. digest: 32 bytes, of the version."""

    digest: bytes
    rows: int
    directories: int
    names_bytes: int
    files: int
    size_bytes: int

    @property
    def directories_at(self) -> int:
        return HEADER.size + ROW.size * self.rows

    @property
    def names_at(self) -> int:
        return self.directories_at + DIRECTORY.size * self.directories

    @property
    def end(self) -> int:
        return self.names_at + self.names_bytes


def header(sizes: Sizes, body: bytes) -> bytes:
    """body: BLAKE2b-256 of what follows it."""
    fields = (sizes.rows, sizes.directories, sizes.names_bytes, sizes.files, sizes.size_bytes)
    text = HEADER.pack(MAGIC, VERSION, 0, *fields, sizes.digest, body, 0, 0)[:-4]
    return text + struct.pack("<I", zlib.crc32(text))


def encode(digest: bytes, rows: Iterable[Row]) -> bytes:
    """The whole file, for rows in any order. For small ones: 5 µs a row, all in memory."""
    folders: dict[bytes, int] = {b"": 0}
    placed = []
    for row in rows:
        folder, _, name = row.path.rpartition(b"/")
        while folder not in folders:
            folders[folder] = 0
            folder = folder.rpartition(b"/")[0]
        placed.append((row.path.rpartition(b"/")[0], name, row))
    placed.sort(key=lambda item: item[:2])
    names = bytearray()
    directories = bytearray()
    for number, path in enumerate(sorted(folders)):
        folders[path] = number
        directories += DIRECTORY.pack(len(names), len(path))
        names += path
    packed = bytearray()
    for folder, name, row in placed:
        place = (len(names), len(name), folders[folder])
        packed += ROW.pack(row.digest, row.size, *place, row.kind, row.is_program)
        names += name
    files = [row for _, _, row in placed if row.kind == FILE]
    total = sum(row.size for row in files)
    sizes = Sizes(digest, len(placed), len(folders), len(names), len(files), total)
    body = bytes(packed + directories + names)
    return header(sizes, blake2b(body)) + body


def blake2b(*parts: Any) -> bytes:
    """BLAKE2b-256 of buffers, one after another."""
    found = hashlib.blake2b(digest_size=32)
    for part in parts:
        found.update(part)
    return found.digest()


def read_header(data: Buffer) -> Sizes:
    """Raises ValueError if it is no index, of another version, or cut off."""
    if len(data) < HEADER.size:
        raise ValueError(f"an index of {len(data)} bytes is cut off")
    magic, version, _, rows, directories, names, files, size, digest, _, _, crc = (
        HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise ValueError("it does not begin as an index of a dataset does")
    if version != VERSION:
        raise ValueError(f"an index of version {version}, known is {VERSION}")
    if zlib.crc32(data[: HEADER.size - 4]) != crc:
        raise ValueError("the header of this index is damaged")
    sizes = Sizes(digest, rows, directories, names, files, size)
    if sizes.end != len(data) or rows > MAX_ROWS or directories < 1 or files > rows:
        raise ValueError(f"an index of {len(data)} bytes should have {sizes.end}")
    return sizes


class Index:
    """Rows by number. Any thread, any process that was forked; map it anew in a spawned one."""

    def __init__(self, data: Buffer) -> None:
        self.sizes = read_header(data)
        self._data = data
        self._names_at = self.sizes.names_at
        self._directories: dict[int, bytes] = {}
        self.digest = "b3:" + self.sizes.digest.hex()

    @classmethod
    def open(cls, path: str) -> Index:
        """Raises OSError, ValueError."""
        with open(path, "rb") as file:
            try:
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def __len__(self) -> int:
        return self.sizes.rows

    @property
    def buffer(self) -> Buffer:
        """The whole file, for those who read it by columns."""
        return self._data

    def __getitem__(self, number: int) -> Row:
        digest, size, _, _, _, kind, is_program = ROW.unpack_from(self._data, self._at(number))
        return Row(self.path(number), digest, size, kind, bool(is_program))

    def path(self, number: int) -> bytes:
        at, length, folder = _PLACE.unpack_from(self._data, self._at(number))
        directory = self._directories.get(folder)
        if directory is None:
            directory = self._directories[folder] = self.directory(folder)
        name = self._name(at, length)
        return directory + b"/" + name if directory else name

    def directory(self, number: int) -> bytes:
        """Path of a directory by its number; empty for the root."""
        if not 0 <= number < self.sizes.directories:
            raise ValueError(f"this index is damaged: it has no directory {number}")
        at = self.sizes.directories_at + DIRECTORY.size * number
        return self._name(*DIRECTORY.unpack_from(self._data, at))

    def files(self) -> Sequence[int]:
        """Numbers of the rows that are files, ascending."""
        if self.sizes.files == self.sizes.rows:
            return range(self.sizes.rows)
        rows = self._rows(_WORDS)
        found = array("I", (row for row, (_, kind) in enumerate(rows) if kind == FILE))
        if len(found) != self.sizes.files:
            raise ValueError("this index is damaged: it counts its files wrongly")
        return found

    def words(self, by: str) -> list[int]:
        """What a split divides: the word of each file's unit (`protocol.splits`), as in `files`."""
        if by == splits.BY_FILE:
            found = [word for word, kind in self._rows(_WORDS) if kind == FILE]
        else:
            groups = self.group_words()
            found = [
                groups[folder] or word for word, folder, kind in self._rows(_GROUPS) if kind == FILE
            ]
        if 0 in found:  # content that nobody has read: by its path
            files = self.files()
            for index, word in enumerate(found):
                if not word:
                    found[index] = splits.group_word(self.path(files[index]))
        return found

    def group_words(self) -> list[int]:
        """Of each directory; 0 for the root, whose files are in no group."""
        known: dict[bytes, int] = {b"": 0}
        found = []
        for number in range(self.sizes.directories):
            group = self.directory(number).partition(b"/")[0]
            if group not in known:
                known[group] = splits.group_word(group)
            found.append(known[group])
        return found

    def groups(self) -> tuple[list[bytes], list[int]]:
        """Names of the groups that have files, sorted, and by directory the number of its group.

        -1: the top, or no file is there.
        """
        used = {folder for _, folder, kind in self._rows(_GROUPS) if kind == FILE}
        tops = {folder: self.directory(folder).partition(b"/")[0] for folder in used}
        names = sorted({top for top in tops.values() if top})
        numbers = {name: number for number, name in enumerate(names)}
        found = [-1] * self.sizes.directories
        for folder, top in tops.items():
            found[folder] = numbers.get(top, -1)
        return names, found

    def verify(self) -> None:
        """Read all of it. Raises ValueError unless it is as it was written and makes sense."""
        if blake2b(memoryview(self._data)[HEADER.size :]) != HEADER.unpack_from(self._data)[9]:
            raise ValueError("this index is damaged: its content is not what was written")
        before: tuple[bytes, bytes] = (b"", b"")
        total = 0
        for number in range(len(self)):
            path, _, size, kind, _ = self[number]
            folder, _, name = path.rpartition(b"/")
            if not name or (folder, name) <= before or kind > EMPTY_DIRECTORY:
                raise ValueError(f"this index is damaged: row {number} cannot be")
            before = (folder, name)
            total += size if kind == FILE else 0
        if total != self.sizes.size_bytes or len(self.files()) != self.sizes.files:
            raise ValueError("this index is damaged: its sums are wrong")

    def _at(self, number: int) -> int:
        if not 0 <= number < self.sizes.rows:
            raise IndexError(f"row {number} of {self.sizes.rows}")
        return HEADER.size + ROW.size * number

    def _rows(self, form: struct.Struct) -> Iterator[tuple[Any, ...]]:
        return form.iter_unpack(memoryview(self._data)[HEADER.size : self.sizes.directories_at])

    def _name(self, at: int, length: int) -> bytes:
        if at + length > self.sizes.names_bytes:
            raise ValueError("this index is damaged: a name lies outside")
        start = self._names_at + at
        return bytes(self._data[start : start + length])
