"""Append-only records: what a supervisor reports (spool) and what it is told (inbox).

One record is one line: eight hexadecimal digits (CRC-32 of the rest), a space, a JSON object with
`v`, `seq` (from 1, without gaps), `attempt`, `node` (its rank), `kind`, `at_us` and the kind's own
fields. A file is made with room to spare (zero bytes), so that a full disk cannot stop a report or
an order; a reader stops at the first byte that is not a whole, sound record. Writers hold the file
alone (a supervisor by flock on its spool, which also tells whether it lives).

Spool, in order: `claimed` (pid, start, boot_id: from here on nobody else starts it), `started`
(env: whether the environment is shown read-only), `exited` (reason, code, signal, rank, detail,
cause_us: when that was decided, 0 if unknown, by_rank: whether a rank's end decided, ranks: of
the whole attempt, symptom, matched: what its output tells, tail: its last lines, saved: step of the
checkpoint that an order to stop waited for, -1: there was none in time, -2: none was expected of
this node, absent: there was no such order), `released` (proof). In between `failed` (reason, rank:
the first of this node to fail, told before the others are stopped), any number of `resumed` (rank,
step), `saved` (step, paths: all ranks of the node that must say so have saved it; first: only rank
0 must; stop, grace_s: reason and grace of an order to stop that waits for all nodes), `notice`
(notice, rank, detail), `stuck` (ready, ranks, silent_s, usual_s, grace_s, ends: what a silent node
of several sees, no ranks: they move again), `share` (ranks, spins: how they spend their time; both
read by `hangs`), `left` (detail: what was killed and is not gone, told once).

Inbox: `stop` (reason, grace_s, checkpoint_s: first ask for a checkpoint and wait so long for it),
`ask` (deadline_s: for a checkpoint), `dump` (the stacks of all ranks), `hung`
(rank, detail, grace_s: the gang hangs because of this node).
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any, Dict

from zenkei.protocol import VERSION

CLAIMED = "claimed"
STARTED = "started"
FAILED = "failed"
EXITED = "exited"
RELEASED = "released"
LEFT = "left"
RESUMED = "resumed"
SAVED = "saved"
NOTICE = "notice"
STUCK = "stuck"
SHARE = "share"
STOP = "stop"
ASK = "ask"
DUMP = "dump"
HUNG = "hung"

ROOM_BYTES = 8192
Record = Dict[str, Any]


def encode(record: Record) -> bytes:
    """One line. Raises ValueError for what JSON cannot hold."""
    body = json.dumps(record, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(data: bytes) -> list[Record]:
    """The sound records at the start of `data`; stops at a torn or foreign line."""
    return _scan(data)[0]


def _scan(data: bytes, before: int = 0) -> tuple[list[Record], int]:
    """Sound records that follow so many others, and how many bytes they take."""
    found: list[Record] = []
    end = 0
    for line in data.split(b"\0", 1)[0].splitlines(keepends=True):
        record = _record(line)
        if record is None or record["seq"] != before + len(found) + 1:
            break
        found.append(record)
        end += len(line)
    return found, end


def _record(line: bytes) -> Record | None:
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(body):
        return None
    record = json.loads(body)
    return record if isinstance(record, dict) and "seq" in record and "kind" in record else None


def make(path: str) -> None:
    """Create the file with its room. Raises FileExistsError, OSError (disk full)."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"\0" * ROOM_BYTES)
    finally:
        os.close(fd)


def read(path: str) -> list[Record]:
    """All sound records of a file; none if there is no file."""
    try:
        with open(path, "rb") as file:
            return decode(file.read())
    except FileNotFoundError:
        return []


class Reader:
    """Reads a file as it grows. What was sound once stays as it is: it is not read again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._end = 0
        self._count = 0

    def more(self) -> list[Record]:
        """Sound records that were added since the last call; none if there is no file."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            data = os.pread(fd, max(0, os.fstat(fd).st_size - self._end), self._end)
        finally:
            os.close(fd)
        found, size = _scan(data, self._count)
        self._end += size
        self._count += len(found)
        return found


class Journal:
    """Writer of one file. The caller sees to it that it is the only one."""

    def __init__(self, path: str, *, attempt: str, node: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._attempt = attempt
        self._node = node
        self.records: list[Record] = []
        self._end = 0
        self.refresh()

    def refresh(self) -> None:
        """Read again what is in the file, for one who has just become its only writer."""
        size = os.fstat(self._fd).st_size
        self.records, self._end = _scan(os.pread(self._fd, size, 0))

    def fileno(self) -> int:
        return self._fd

    def append(self, kind: str, *, at_us: int, sync: bool = True, **fields: Any) -> Record:
        """Write one record. sync: it has reached the disk on return. Raises OSError."""
        record: Record = {
            "v": VERSION,
            "seq": len(self.records) + 1,
            "attempt": self._attempt,
            "node": self._node,
            "kind": kind,
            "at_us": at_us,
            **fields,
        }
        line = encode(record)
        written = 0
        while written < len(line):
            written += os.pwrite(self._fd, line[written:], self._end + written)
        if sync:
            os.fdatasync(self._fd)
        self._end += len(line)
        self.records.append(record)
        return record

    def last(self, kind: str) -> Record | None:
        """The newest record of a kind."""
        for record in reversed(self.records):
            if record["kind"] == kind:
                return record
        return None

    def close(self) -> None:
        os.close(self._fd)
