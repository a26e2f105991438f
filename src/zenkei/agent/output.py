"""One pipe of a rank becomes chunks: cut at line ends, or after 100 ms without one.

Called by the supervisor's loop. A progress bar (a line that returns to its start with carriage
returns) is kept as its last state: one a second while it moves, and one when the line ends. A line
with a NUL in it is data, not a progress bar, and is kept as it is.
"""

from __future__ import annotations

from collections import deque
from typing import Callable

from zenkei.agent.masking import ESCAPE, Masker, plain
from zenkei.protocol import logs

PATIENCE_US = 100_000
PROGRESS_EVERY_US = 1_000_000
MAX_DETAIL = 500
TAIL_BYTES = 64 << 10
_NOTHING = bytes(range(33)) + b"-=*_#~+|. \x7f"
"""A line of these only, such as a rule below a message, is not what somebody said last."""


class Tail:
    """The last output of one rank, its streams in the order in which they came: secrets masked, and

    without colours, which many a program gives to its errors. Nothing is copied until `text` is
    asked for: a chunk costs an append. Holds TAIL_BYTES and at most one chunk more.
    """

    def __init__(self, secrets: list[bytes]) -> None:
        self._secrets = secrets
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._held = 0
        self._gone = 0
        self._mark = -1

    def add(self, stream: int, data: bytes) -> None:
        chunks = self._chunks
        chunks.append((stream, data))
        self._held += len(data)
        while self._held - len(chunks[0][1]) >= TAIL_BYTES:
            dropped = len(chunks.popleft()[1])
            self._held -= dropped
            self._gone += dropped

    def mark(self) -> None:
        """What comes from here on may be due to the rank's being stopped. The first mark stays."""
        if self._mark < 0:
            self._mark = self._gone + self._held

    def text(self, *, marked: bool = False) -> bytes:
        """The last TAIL_BYTES at most. marked: only what came before the mark."""
        left = self._mark - self._gone if marked and self._mark >= 0 else self._held
        parts = []
        before = b""
        of = -1
        for stream, data in self._chunks:
            if left <= 0:
                break
            if before and stream != of and not before.endswith(b"\n"):
                # a line of the other stream begins in the middle of this one's
                parts.append(b"\n")
            before, of = data[:left], stream
            parts.append(before)
            left -= len(data)
        return plain(b"".join(parts)[-TAIL_BYTES:], self._secrets)


class Output:
    """sink gets every chunk. Times are microseconds of the wall clock, given by the caller."""

    def __init__(
        self,
        rank: int,
        stream: int,
        secrets: list[bytes],
        sink: Callable[[logs.Chunk], None],
        tail: Tail | None = None,
    ) -> None:
        self.rank = rank
        self.stream = stream
        self._tail = tail
        self.last_line = b""
        self._secrets = secrets
        self.deadline_us = 0
        self._sink = sink
        self._masker = Masker(secrets)
        self._pending = b""
        self._shown_us = 0
        self._fresh = False

    def feed(self, data: bytes, now_us: int) -> None:
        """Bytes as read from the pipe."""
        self._take(self._masker.feed(data), now_us)

    def close(self, now_us: int) -> None:
        """The pipe has ended: nothing is held back any more."""
        self._take(self._masker.close(), now_us)
        if self._pending and (self._fresh or not self._is_progress()):
            self._emit(_last_state(self._pending), logs.PARTIAL, now_us)
        self._pending = b""
        self.deadline_us = 0

    def flush(self, now_us: int) -> None:
        """Show an unfinished line whose time has come."""
        # a deadline that is far away was set before somebody put the clock back
        if self.deadline_us - 2 * PROGRESS_EVERY_US < now_us < self.deadline_us:
            return
        if not self.deadline_us:
            return
        self.deadline_us = 0
        if not self._is_progress():
            self._emit(self._pending, logs.PARTIAL, now_us)
            self._pending = b""
            return
        wait_until = self._shown_us + PROGRESS_EVERY_US
        if self._shown_us and self._shown_us <= now_us < wait_until:
            self.deadline_us = wait_until
            return
        self._pending = _last_state(self._pending)
        self._shown_us = now_us
        self._fresh = False
        self._emit(self._pending, logs.PARTIAL | logs.PROGRESS, now_us)

    def _take(self, data: bytes, now_us: int) -> None:
        if not data:
            return
        lines, newline, rest = data.rpartition(b"\n")
        if newline:
            whole = self._pending + lines + newline
            if b"\r" in whole:
                whole = b"".join(_collapse(line + b"\n") for line in whole[:-1].split(b"\n"))
            self._emit(whole, 0, now_us)
            self._pending = b""
            self._shown_us = 0
            self.deadline_us = 0
        self._pending += rest
        self._fresh = True
        if len(self._pending) >= logs.MAX_PAYLOAD:
            self._emit(self._pending, logs.PARTIAL, now_us)
            self._pending = b""
            self.deadline_us = 0
        elif self._pending and not self.deadline_us:
            self.deadline_us = now_us + PATIENCE_US

    def _is_progress(self) -> bool:
        return b"\r" in self._pending and b"\0" not in self._pending

    def _emit(self, data: bytes, flags: int, now_us: int) -> None:
        last = data[-4 * MAX_DETAIL :]
        if ESCAPE in last:
            last = plain(last, self._secrets)
        for line in reversed(last.splitlines()):
            if line.strip(_NOTHING):
                self.last_line = line[-MAX_DETAIL:]
                break
        if self._tail is not None and not flags & logs.PROGRESS:
            self._tail.add(self.stream, data)
        self._sink(logs.Chunk(now_us, self.rank, self.stream, flags, data))


def _collapse(line: bytes) -> bytes:
    """A finished line as its last state."""
    if b"\r" not in line or b"\0" in line:
        return line
    body = line.rstrip(b"\r\n")
    return _last_state(body) + line[len(body) :]


def _last_state(line: bytes) -> bytes:
    """From the last carriage return on that something follows; the return stays with it."""
    if b"\0" in line:
        return line
    return line[max(0, line.rfind(b"\r", 0, len(line.rstrip(b"\r")))) :]
