"""Output of an attempt, joined from the logs of its nodes in the order of time.

Called by `follow` on worker threads. Reads records of `protocol.logs` through `Queries.read`, keeps
a buffer of one read for each node, and hands out whole batches. Never reads a byte twice; `offsets`
is where to resume. Cost: a k-way merge, O(log nodes) a chunk.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from zenkei.model.wording import count
from zenkei.protocol import logs

READ_BYTES = 256 << 10
BATCH_BYTES = 128 << 10
BATCH_CHUNKS = 500

Read = Callable[[int, int, int], bytes]
"""(node, offset, limit) to bytes of that node's log."""


class Line(NamedTuple):
    """A chunk for display. rank -1: a remark of zenkei. stream, flags: of `protocol.logs`."""

    at_us: int
    rank: int
    stream: int
    flags: int
    text: str


class LogTail:
    """One attempt's output from `offsets` on."""

    def __init__(self, read: Read, nodes: int, offsets: tuple[int, ...] = ()) -> None:
        self._read = read
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
            lines += chunk.data.count(b"\n")
            while kept and lines - kept[0].data.count(b"\n") >= count:
                lines -= kept.popleft().data.count(b"\n")
    if kept and lines > count:
        kept[0] = kept[0]._replace(data=_after_lines(kept[0].data, lines - count))
    return list(kept) if count else []


def _after_lines(data: bytes, drop: int) -> bytes:
    for _ in range(drop):
        data = data.partition(b"\n")[2]
    return data
