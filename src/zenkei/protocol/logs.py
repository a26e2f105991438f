"""Output of ranks as chunks in segment files, readable while it is written.

A log is a directory. Segment files, named by the 16-digit hexadecimal offset at which they start in
the endless stream of records, hold whole records: a 24-byte header (`HEADER`: magic, stream, flags,
rank, at_us, size, CRC-32) and `size` bytes of payload, at most MAX_PAYLOAD. The first segments (the
head) stay; of the later ones only the newest (the tail) stay, so that an endless program fills no
disk. `read` answers an offset that fell out with a gap record, which names the offset to
go on from and what is missing. File `index` has an entry (`ENTRY`: offset, at_us, bytes, lines
before it) for the start of every segment and about every INDEX_EVERY bytes: enough to start near
the last n lines or near an instant without reading the rest.

Chunks end at line ends; flag PARTIAL marks one that does not (100 ms without a line end, or a line
longer than a chunk): the line goes on in the next chunk of the same rank and stream. PROGRESS marks
a state of a progress bar (it starts with a carriage return, and the next one replaces it).
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Callable, Iterator, NamedTuple

HEADER = struct.Struct("<HBBIQII")
ENTRY = struct.Struct("<QQQQ")
GAP_BODY = struct.Struct("<QQQ")
MAGIC = 0x5A6B
MAX_PAYLOAD = 65536
INDEX_EVERY = 256 << 10
INDEX_FILE = "index"

SYSTEM = 0
STDOUT = 1
STDERR = 2
GAP = 255

PARTIAL = 1
PROGRESS = 2

NO_RANK = 0xFFFFFFFF


class Chunk(NamedTuple):
    """Payload bytes exactly as the rank wrote them (secret values masked).

    stream: STDOUT, STDERR, or SYSTEM (a remark of zenkei; rank NO_RANK), or GAP.
    """

    at_us: int
    rank: int
    stream: int
    flags: int
    data: bytes


class Gap(NamedTuple):
    """What a GAP chunk says: go on at `resume`; so many payload bytes and lines are not kept."""

    resume: int
    dropped_bytes: int
    dropped_lines: int


class Entry(NamedTuple):
    """A row of the index: when the record at `offset` was written, and what lies before it."""

    offset: int
    at_us: int
    bytes_before: int
    lines_before: int


def encode(chunk: Chunk) -> bytes:
    """One record. `data` is at most MAX_PAYLOAD bytes."""
    head = HEADER.pack(
        MAGIC,
        chunk.stream,
        chunk.flags,
        chunk.rank,
        chunk.at_us,
        len(chunk.data),
        zlib.crc32(chunk.data),
    )
    return head + chunk.data


def decode(data: bytes, offset: int) -> tuple[list[Chunk], int]:
    """Whole records at the start of `data` (read at `offset`), and the offset to read at next.

    Stops before a record that is cut. Raises ValueError for bytes that are no record.
    """
    chunks: list[Chunk] = []
    at = 0
    while at + HEADER.size <= len(data):
        magic, stream, flags, rank, at_us, size, crc = HEADER.unpack_from(data, at)
        if magic != MAGIC or size > MAX_PAYLOAD:
            raise ValueError(f"no log record at offset {offset + at}")
        body = data[at + HEADER.size : at + HEADER.size + size]
        if len(body) < size:
            break
        if zlib.crc32(body) != crc:
            raise ValueError(f"damaged log record at offset {offset + at}")
        chunk = Chunk(at_us, rank, stream, flags, body)
        chunks.append(chunk)
        if stream == GAP:
            return chunks, gap_of(chunk).resume
        at += HEADER.size + size
    return chunks, offset + at


def gap_of(chunk: Chunk) -> Gap:
    """What a chunk of stream GAP says."""
    return Gap(*GAP_BODY.unpack(chunk.data))


def walk(
    read_at: Callable[[int, int], bytes], offset: int = 0, limit: int = 1 << 20
) -> Iterator[tuple[Chunk, int]]:
    """All chunks from `offset` on, each with the offset after it, until nothing more is there yet.

    read_at(offset, limit): as `read`, or an engine's. limit: at least one record.
    """
    while True:
        chunks, after = decode(read_at(offset, limit), offset)
        for chunk in chunks:
            offset += HEADER.size + len(chunk.data)
            yield chunk, gap_of(chunk).resume if chunk.stream == GAP else offset
        if not chunks:
            return
        offset = after


def segment_name(start: int) -> str:
    return f"{start:016x}"


def segments(directory: str) -> list[int]:
    """Starts of the segments that are kept, in order; empty if there is no log."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(int(name, 16) for name in names if len(name) == 16)


def read(directory: str, offset: int, limit: int) -> bytes:
    """Up to `limit` bytes of records at `offset` (the start of a record), at least one record.

    Empty at the end. Never spans two segments; a gap record where the segment is gone.
    """
    limit = max(limit, HEADER.size + MAX_PAYLOAD)
    starts = segments(directory)
    later = [start for start in starts if start > offset]
    for start in reversed([start for start in starts if start <= offset]):
        try:
            with open(os.path.join(directory, segment_name(start)), "rb") as file:
                file.seek(offset - start)
                data = file.read(limit)
        except FileNotFoundError:
            # the writer dropped it between the listing and now
            return read(directory, offset, limit)
        if data or not later:
            return data
        break
    return _gap(directory, offset, later[0]) if later and later[0] > offset else b""


def _gap(directory: str, offset: int, resume: int) -> bytes:
    """A gap record from `offset` to the segment at `resume`; nothing if they touch."""
    entries = index(directory)
    before = _at(entries, offset)
    after = _at(entries, resume)
    body = GAP_BODY.pack(
        resume,
        max(0, after.bytes_before - before.bytes_before),
        max(0, after.lines_before - before.lines_before),
    )
    return encode(Chunk(after.at_us, NO_RANK, GAP, 0, body))


def _at(entries: list[Entry], offset: int) -> Entry:
    """The last entry at or before `offset`."""
    found = Entry(0, 0, 0, 0)
    for entry in entries:
        if entry.offset > offset:
            break
        found = entry
    return found


def index(directory: str) -> list[Entry]:
    """The whole index; 32 bytes for each 256 KiB of log."""
    try:
        with open(os.path.join(directory, INDEX_FILE), "rb") as file:
            data = file.read()
    except OSError:
        return []
    return parse_index(data)


def parse_index(data: bytes) -> list[Entry]:
    """Whole entries of an index file's bytes."""
    whole = len(data) // ENTRY.size * ENTRY.size
    return [Entry(*fields) for fields in ENTRY.iter_unpack(data[:whole])]


def start_for_tail(entries: list[Entry], lines: int, total_lines: int) -> int:
    """An offset from which at least the last `lines` of `total_lines` follow."""
    wanted = total_lines - lines
    found = 0
    for entry in entries:
        if entry.lines_before > wanted:
            break
        found = entry.offset
    return found


def start_for_since(entries: list[Entry], at_us: int) -> int:
    """An offset from which everything written at or after `at_us` follows."""
    found = 0
    for entry in entries:
        if entry.at_us >= at_us:
            break
        found = entry.offset
    return found
