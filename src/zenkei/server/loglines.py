"""Output of an attempt, joined from the logs of its nodes in the order of time.

Called by `follow` on worker threads. Reads records of `protocol.logs` through `Queries.read`, keeps
a buffer of one read for each node, and hands out whole batches; `offsets` is where to resume. The
last lines are looked for from the end, through the index of each log. Cost: a k-way merge,
O(log nodes) a chunk.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from zenkei.control.queries import Queries
from zenkei.model.access import Principal
from zenkei.model.ids import AttemptId
from zenkei.model.wording import count
from zenkei.protocol import logs

READ_BYTES = 256 << 10
BATCH_BYTES = 128 << 10
BATCH_CHUNKS = 500
END = 1 << 63
"""An offset behind every log."""

Read = Callable[[int, int, int], bytes]
"""(node, offset, limit) to bytes of that node's log."""
Index = Callable[[int], list[logs.Entry]]
"""Entries of a node's log, in order; none where an engine keeps no index."""
Keep = Callable[[logs.Chunk], bool]


def attempt_logs(queries: Queries, who: Principal, attempt: AttemptId) -> tuple[Read, Index]:
    """The logs of an attempt, for one who may see them."""

    def read(node: int, offset: int, limit: int) -> bytes:
        return queries.read(who, attempt, f"log/{node}", offset, limit)

    def index(node: int) -> list[logs.Entry]:
        found = b""
        while data := queries.read(who, attempt, f"log/{node}/index", len(found), READ_BYTES):
            found += data
        return logs.parse_index(found)

    return read, index


def _no_index(_node: int) -> list[logs.Entry]:
    return []


class Line(NamedTuple):
    """A chunk for display. rank -1: a remark of zenkei. stream, flags: of `protocol.logs`."""

    at_us: int
    rank: int
    stream: int
    flags: int
    text: str


class LogTail:
    """One attempt's output from `offsets` on."""

    def __init__(
        self, read: Read, nodes: int, offsets: tuple[int, ...] = (), *, index: Index = _no_index
    ) -> None:
        self._read = read
        self._index = index
        self.offsets = list(offsets) if len(offsets) == nodes else [0] * nodes
        self._reach = list(self.offsets)
        self._buffers: list[deque[tuple[logs.Chunk, int]]] = [deque() for _ in range(nodes)]

    def batch(self) -> list[logs.Chunk]:
        """The next chunks in time order; empty if there is nothing new."""
        taken: list[logs.Chunk] = []
        size = 0
        for node in range(len(self._buffers)):
            self._fill(node)
        while size < BATCH_BYTES and len(taken) < BATCH_CHUNKS:
            heads = [(buffer[0][0].at_us, k) for k, buffer in enumerate(self._buffers) if buffer]
            if not heads:
                break
            _at_us, node = min(heads)
            chunk, after = self._buffers[node].popleft()
            self.offsets[node] = after
            taken.append(chunk)
            size += len(chunk.data)
            self._fill(node)
        return taken

    def rest(self) -> Iterator[list[logs.Chunk]]:
        """Batches until nothing more is there."""
        while batch := self.batch():
            yield batch

    def last(self, count: int, keep: Keep) -> list[logs.Chunk]:
        """Before anything is read: chunks with the last `count` of the lines that `keep` takes.

        O(these lines), not O(log): of each node only its own last lines can be among them.
        """
        for node in range(len(self._buffers)):
            read = partial(self._read, node)
            start = _start_of_last(read, self._index(node), count, keep)
            self.offsets[node] = self._reach[node] = start
        kept = ([chunk for chunk in batch if keep(chunk)] for batch in self.rest())
        return last_lines(kept, count)

    def _fill(self, node: int) -> None:
        if self._buffers[node]:
            return
        start = self._reach[node]
        data = self._read(node, start, READ_BYTES)
        if not data:
            return
        try:
            chunks, reach = logs.decode(data, start)
        except ValueError as damage:
            # what cannot be read is said once, and what follows it is lost
            text = f"the log of node {node} cannot be read further: {damage}".encode()
            chunk = logs.Chunk(0, logs.NO_RANK, logs.SYSTEM, 0, text)
            self._buffers[node].append((chunk, start + len(data)))
            self._reach[node] = start + len(data)
            return
        at = start
        for chunk in chunks:
            at += logs.HEADER.size + len(chunk.data)
            self._buffers[node].append((chunk, reach if chunk.stream == logs.GAP else at))
        self._reach[node] = reach


class Texts:
    """Chunks to text. Bytes that are no UTF-8 come out as `\\xff`; nothing is dropped."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def line(self, chunk: logs.Chunk) -> Line:
        if chunk.stream == logs.GAP:
            gap = logs.gap_of(chunk)
            size = count(gap.dropped_bytes, "byte")
            were = "was" if gap.dropped_lines == 1 else "were"
            text = f"{count(gap.dropped_lines, 'line')} ({size}) {were} not kept"
            return Line(chunk.at_us, -1, logs.SYSTEM, 0, text + "\n")
        rank = -1 if chunk.rank == logs.NO_RANK else chunk.rank
        key = (chunk.rank, chunk.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
            self._decoders[key] = decoder
        whole = not chunk.flags & logs.PARTIAL
        text = decoder.decode(chunk.data, final=whole)
        return Line(chunk.at_us, rank, chunk.stream, chunk.flags, text)


def wanted(chunk: logs.Chunk, ranks: frozenset[int], since_us: int) -> bool:
    """ranks: empty means all. Remarks of zenkei are always wanted."""
    if chunk.at_us < since_us:
        return False
    return not ranks or chunk.rank in ranks or chunk.rank == logs.NO_RANK


def last_lines(batches: Iterator[list[logs.Chunk]], count: int) -> list[logs.Chunk]:
    """The chunks that hold the last `count` lines. O(all chunks) time, O(count lines) space."""
    kept: deque[logs.Chunk] = deque()
    lines = 0
    for batch in batches:
        for chunk in batch:
            kept.append(chunk)
            lines += _lines_in(chunk)
            while kept and lines - _lines_in(kept[0]) >= count:
                lines -= _lines_in(kept.popleft())
    if kept and lines > count:
        kept[0] = kept[0]._replace(data=_after_lines(kept[0].data, lines - count))
    return list(kept) if count else []


def _after_lines(data: bytes, drop: int) -> bytes:
    for _ in range(drop):
        data = data.partition(b"\n")[2]
    return data


def _lines_in(chunk: logs.Chunk) -> int:
    """Line ends; the body of a gap is numbers, not text."""
    return 0 if chunk.stream == logs.GAP else chunk.data.count(b"\n")


def _start_of_last(
    read: Callable[[int, int], bytes], entries: list[logs.Entry], count: int, keep: Keep
) -> int:
    """Offset of a record of one log after which `count` lines that `keep` takes follow; else 0.

    Goes back from the end in stretches that double, so what is read is at most twice what is
    needed. A start in a gap does no harm: the lines are behind it, and it is not shown.
    """
    places = sorted({0, *(entry.offset for entry in entries)})
    found, until = 0, END
    at, stretch = len(places), 1
    while (at := max(0, at - stretch)) > 0:
        stretch *= 2
        try:
            found += _lines_between(read, places[at], until, keep)
        except ValueError:
            return 0  # damaged: what can be read of it is told on the way from the start
        until = places[at]
        if found >= count:
            return until
    return 0


def _lines_between(read: Callable[[int, int], bytes], start: int, until: int, keep: Keep) -> int:
    """How many lines that `keep` takes are written from offset `start` to `until`."""
    lines, here = 0, start
    for chunk, after in logs.walk(read, start, READ_BYTES):
        if here >= until:
            break
        lines += _lines_in(chunk) if keep(chunk) else 0
        here = after
    return lines
