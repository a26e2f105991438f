"""The file of a capsule: a zip of one form only, so that the same entries have the same bytes.

Called by `writing` and `taking`. Nothing is deflated, every entry has sizes of 64 bits, the same
date and mode, no comment; entries follow each other without a gap, and so does the directory. Any
unzip reads it. The reader takes nothing else: what could be meant in two ways cannot be written
down in this form. It believes nothing before the whole directory and every local header are
checked: that costs 3 µs an entry, and no more memory than the names.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from blake3 import blake3

from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput, NotFound

CRATE: Final = "ro-crate-metadata.json"
INDEX: Final = "capsule.json"
NAME: Final = re.compile(
    r"(?:blobs|packs|versions)/[0-9a-f]{64}|" + re.escape(CRATE) + "|" + re.escape(INDEX)
)
MOST_ENTRIES: Final = 2_000_000
CHUNK_BYTES: Final = 1 << 20

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL_EXTRA: Final = struct.Struct("<HHQQ")
_CENTRAL_EXTRA: Final = struct.Struct("<HHQQQ")
_END_64: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END: Final = struct.Struct("<4sHHHHIIH")
_TAIL_BYTES: Final = _END_64.size + _LOCATOR.size + _END.size
_VERSION: Final = 45
_MADE_BY: Final = 3 << 8 | _VERSION
_DATE: Final = 0x21
"""1980-01-01, the first that zip can say."""
_MODE: Final = (stat.S_IFREG | 0o644) << 16
_FULL: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """at: where its local header begins."""

    name: str
    size: int
    crc: int
    at: int

    @property
    def body(self) -> int:
        return self.at + _LOCAL.size + len(self.name) + _LOCAL_EXTRA.size


def _local(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    start = _LOCAL.pack(
        b"PK\3\4", _VERSION, 0, 0, 0, _DATE, entry.crc, _FULL, _FULL, len(name), _LOCAL_EXTRA.size
    )
    return start + name + _LOCAL_EXTRA.pack(1, 16, entry.size, entry.size)


def _central(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    start = _CENTRAL.pack(
        b"PK\1\2", _MADE_BY, _VERSION, 0, 0, 0, _DATE, entry.crc, _FULL, _FULL,
        len(name), _CENTRAL_EXTRA.size, 0, 0, 0, _MODE, _FULL,
    )  # fmt: skip
    return start + name + _CENTRAL_EXTRA.pack(1, 24, entry.size, entry.size, entry.at)


def _tail(entries: int, at: int, size: int) -> bytes:
    """After the directory, which begins at `at`."""
    end_64 = _END_64.pack(
        b"PK\6\6", _END_64.size - 12, _MADE_BY, _VERSION, 0, 0, entries, entries, size, at
    )
    locator = _LOCATOR.pack(b"PK\6\7", 0, at + size, 1)
    return end_64 + locator + _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _FULL, _FULL, 0)


class ArchiveWriter:
    """Entries one after another into a file that can be sought in; `finish` ends it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self.entries: dict[str, Entry] = {}
        self.digests: dict[str, Digest] = {}

    def add(self, name: str, read: Callable[[int], bytes]) -> Digest:
        """A stream; its digest. Raises InvalidInput where there are too many entries."""
        if not NAME.fullmatch(name) or name in self.entries:
            raise ValueError(f"{name!r} cannot be an entry")
        if len(self.entries) >= MOST_ENTRIES:
            raise InvalidInput(
                "capsule-too-large",
                f"a capsule has at most {MOST_ENTRIES:,} contents",
                hint="let the job write fewer and larger files",
            )
        blank = Entry(name, 0, 0, self._at)
        self._file.seek(blank.body)
        whole, crc, size = blake3(), 0, 0
        while piece := read(CHUNK_BYTES):
            whole.update(piece)
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            self._file.write(piece)
        entry = Entry(name, size, crc, self._at)
        self._file.seek(self._at)
        self._file.write(_local(entry))
        self._at = entry.body + size
        self.entries[name] = entry
        self.digests[name] = Digest("b3:" + whole.hexdigest())
        return self.digests[name]

    def add_bytes(self, name: str, content: bytes | bytearray | memoryview) -> Digest:
        view, at = memoryview(content), 0

        def read(most: int) -> bytes:
            nonlocal at
            at += most
            return bytes(view[at - most : at])

        return self.add(name, read)

    def finish(self) -> None:
        """The directory; nothing can be added any more."""
        self._file.seek(self._at)
        size = 0
        for entry in self.entries.values():
            size += self._file.write(_central(entry))
        self._file.write(_tail(len(self.entries), self._at, size))


class Archive:
    """Opened and checked. Raises InvalidInput (`bad-capsule`) for any other form, NotFound."""

    def __init__(self, path: Path) -> None:
        try:
            # who names a pipe must not keep us waiting
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise NotFound(
                "no-such-capsule",
                f"`{path}` cannot be read: {os.strerror(error.errno or 0)}",
                hint="name the file that `zenkei result capsule` has written",
            ) from error
        self._descriptor = descriptor
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise refused("it is no regular file")
            self.size = info.st_size
            self.entries = {entry.name: entry for entry in self._directory()}
        except BaseException:
            os.close(descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def reader(self, name: str) -> Callable[[int], bytes]:
        """Of an entry, from its first byte on; empty at its end."""
        entry = self.entries[name]
        at, end = entry.body, entry.body + entry.size

        def read(most: int) -> bytes:
            nonlocal at
            piece = self._exactly(at, min(most, end - at))
            at += len(piece)
            return piece

        return read

    def read(self, name: str, *, most: int) -> bytes:
        """All of an entry. Raises InvalidInput if it is larger than `most`, or damaged: the list

        of all is not under any digest, and this finds what a copy has done to it.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise refused(f"`{name}` is missing")
        if entry.size > most:
            raise refused(f"`{name}` has {entry.size:,} bytes, more than what is allowed")
        content = self._exactly(entry.body, entry.size)
        if zlib.crc32(content) != entry.crc:
            raise refused(f"`{name}` is damaged")
        return content

    def _directory(self) -> Iterator[Entry]:
        start = self.size - _TAIL_BYTES
        if start < 0:
            raise refused("it is no zip, or it is cut off")
        tail = self._exactly(start, _TAIL_BYTES)
        fields = _END_64.unpack(tail[: _END_64.size])
        count, size, at = int(fields[7]), int(fields[8]), int(fields[9])
        if count > MOST_ENTRIES or at + size != start or tail != _tail(count, at, size):
            raise refused("its end is not as zenkei writes it: cut off, or not written by zenkei")
        if size > count * (_CENTRAL.size + _CENTRAL_EXTRA.size + 100):
            raise refused("its directory is larger than its entries")
        listing = memoryview(self._exactly(at, size))
        here, following, seen = 0, 0, set[str]()
        for _ in range(count):
            entry, length = _entry(listing, here)
            if entry.at != following:
                raise refused(f"`{entry.name}` does not begin where the entry before it ends")
            following = entry.body + entry.size
            if entry.name in seen:
                raise refused(f"`{entry.name}` stands in it twice")
            if following > at:
                raise refused(f"`{entry.name}` is longer than the file")
            expected = _local(entry)
            if self._exactly(entry.at, len(expected)) != expected:
                raise refused(f"`{entry.name}` is not what the directory says of it")
            seen.add(entry.name)
            here += length
            yield entry
        if here != size or following != at:
            raise refused("there is something in it that no entry names")

    def _exactly(self, at: int, size: int) -> bytes:
        parts, got = [], 0
        while got < size:
            part = os.pread(self._descriptor, min(size - got, 64 << 20), at + got)
            if not part:
                raise refused("it became shorter while it was read")
            parts.append(part)
            got += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _entry(listing: memoryview, at: int) -> tuple[Entry, int]:
    """The line of the directory at `at`, and its length: exactly as it would be written."""
    fixed = at + _CENTRAL.size
    if fixed > len(listing):
        raise refused("its directory is cut off")
    fields = _CENTRAL.unpack(listing[at:fixed])
    length = _CENTRAL.size + int(fields[10]) + _CENTRAL_EXTRA.size
    raw = bytes(listing[fixed : fixed + int(fields[10])])
    name = raw.decode("ascii", "backslashreplace")
    if not NAME.fullmatch(name):
        raise refused(f"`{name[:100]}` is no name of an entry")
    line = bytes(listing[at : at + length])
    if len(line) < length:
        raise refused("its directory is cut off")
    if fields[4]:
        raise refused(f"`{name}` is compressed")
    if fields[15] != _MODE:
        raise refused(f"`{name}` is no plain file (mode {fields[15] >> 16:o})")
    extra = _CENTRAL_EXTRA.unpack(line[-_CENTRAL_EXTRA.size :])
    entry = Entry(name, int(extra[2]), int(fields[7]), int(extra[4]))
    if line != _central(entry):
        raise refused(f"`{name}` is not written as zenkei writes it")
    return entry, length


def refused(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-capsule",
        f"this capsule is refused: {why}",
        hint="take the file as `zenkei result capsule` has written it: do not pack it anew; "
        "if it was copied, compare the sizes",
    )
