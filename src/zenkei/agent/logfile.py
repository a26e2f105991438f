"""Writer of one log (format: `protocol.logs`); called by the supervisor, its only writer.

Keeps the first `head_bytes` and the newest `tail_bytes`, in whole segments. Cost: a write a chunk.
"""

from __future__ import annotations

import os

from zenkei.protocol import logs

MAX_SEGMENT_BYTES = 16 << 20
MIN_SEGMENT_BYTES = 64 << 10


class LogFile:
    """Makes its directory at the first chunk: most short jobs print nothing."""

    def __init__(self, directory: str, *, head_bytes: int, tail_bytes: int) -> None:
        self._directory = directory
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        quarter = min(head_bytes, tail_bytes) // 4
        self._segment_bytes = max(MIN_SEGMENT_BYTES, min(MAX_SEGMENT_BYTES, quarter))
        self._segment = -1
        self._index = -1
        self._start = 0
        self._offset = 0
        self._indexed = 0
        self._bytes = 0
        self._lines = 0
        self._tail: list[int] = []

    def append(self, chunk: logs.Chunk) -> None:
        """Write a chunk, cutting it if it is long.

        Raises OSError (disk full); nothing of the failing record stays.
        """
        data = chunk.data
        at = 0
        while len(data) - at > logs.MAX_PAYLOAD:
            end = data.rfind(b"\n", at, at + logs.MAX_PAYLOAD) + 1
            whole = end > at
            end = end if whole else at + logs.MAX_PAYLOAD
            flags = 0 if whole else logs.PARTIAL
            self._append(chunk._replace(data=data[at:end], flags=flags))
            at = end
        self._append(chunk._replace(data=data[at:]) if at else chunk)

    def _append(self, chunk: logs.Chunk) -> None:
        full = self._offset - self._start >= self._segment_bytes
        if self._segment < 0 or full:
            self._next_segment(chunk.at_us)
        elif self._offset - self._indexed >= logs.INDEX_EVERY:
            self._enter(chunk.at_us)
        record = logs.encode(chunk)
        done = 0
        try:
            while done < len(record):
                done += os.write(self._segment, record[done:])
        except OSError:
            os.ftruncate(self._segment, self._offset - self._start)
            os.lseek(self._segment, 0, os.SEEK_END)
            raise
        self._offset += len(record)
        self._bytes += len(chunk.data)
        self._lines += chunk.data.count(b"\n")

    def _next_segment(self, at_us: int) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        if self._index < 0:
            self._index = os.open(os.path.join(self._directory, logs.INDEX_FILE), flags, 0o600)
        name = os.path.join(self._directory, logs.segment_name(self._offset))
        fd = os.open(name, flags | os.O_TRUNC, 0o600)
        if self._segment >= 0:
            os.close(self._segment)
        self._segment = fd
        self._start = self._offset
        self._enter(at_us)
        if self._start >= self._head_bytes:
            self._tail.append(self._start)
            self._drop()

    def _drop(self) -> None:
        """Remove the oldest segments of the tail until what is left fits."""
        while len(self._tail) > 1 and self._offset - self._tail[1] >= self._tail_bytes:
            oldest = self._tail.pop(0)
            os.unlink(os.path.join(self._directory, logs.segment_name(oldest)))

    def _enter(self, at_us: int) -> None:
        os.write(self._index, logs.ENTRY.pack(self._offset, at_us, self._bytes, self._lines))
        self._indexed = self._offset

    def close(self, *, sync: bool) -> None:
        """sync: what was written has reached the disk on return."""
        for fd in (self._segment, self._index):
            if fd >= 0:
                if sync:
                    os.fdatasync(fd)
                os.close(fd)
        self._segment = self._index = -1
