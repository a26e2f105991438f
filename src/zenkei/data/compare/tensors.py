"""safetensors: a header of JSON, then the tensors' bytes; numbers are compared as such.

Everything that the header says is checked against the file before it is used. bfloat16 is widened;
8-bit floats are compared by their bits, for NumPy has none.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from zenkei.data.compare.arrays import CHUNK_BYTES, element
from zenkei.data.compare.documents import no_key_twice
from zenkei.data.compare.tally import Array, Tally, Unreadable
from zenkei.model.verdict import Finding

MOST_HEADER = 100_000_000
"""As the format itself says."""
KINDS = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2",
    "F8_E4M3": "<u1", "F8_E5M2": "<u1", "C64": "<c8",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """start: of its bytes in the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


def compare_safetensors(a: IO[bytes], b: IO[bytes], tolerance: float) -> Finding:
    """In the order of names. Raises Unreadable."""
    tally = Tally(tolerance)
    (left, more_left), (right, more_right) = read_header(a), read_header(b)
    for name in sorted(left.keys() | right.keys()):
        x, y = left.get(name), right.get(name)
        if x is None or y is None:
            tally.differs(name, f"a tensor that only the {'first' if x else 'second'} has")
        elif (x.kind, x.shape) != (y.kind, y.shape):
            tally.differs(name, "type and shape", f"{x.kind} {x.shape}", f"{y.kind} {y.shape}")
        else:
            _add(a, b, x, y, tally, name)
    if more_left != more_right:
        tally.differs("__metadata__", "texts", json.dumps(more_left), json.dumps(more_right))
    return tally.finding()


def read_header(file: IO[bytes]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the file's own texts."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 2 <= length <= min(MOST_HEADER, size - 8):
        raise Unreadable("no safetensors: its header has no length that fits")
    try:
        rows = json.loads(file.read(length), object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no safetensors: {str(error)[:100]}") from error
    if not isinstance(rows, dict):
        raise Unreadable("no safetensors: its header is no object")
    texts = rows.pop("__metadata__", {})
    return {name: _tensor(row, 8 + length, size) for name, row in rows.items()}, texts


def _tensor(row: Any, base: int, size: int) -> Tensor:
    try:
        kind, shape, (begin, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        item = np.dtype(KINDS[kind]).itemsize
        count = 1
        for side in shape:
            if type(side) is not int or not 0 <= side < 1 << 62:
                raise ValueError(f"a side of {str(side)[:40]}")
            count *= side
        whole = type(begin) is int and type(end) is int
        if not (whole and 0 <= begin <= end <= size - base and count * item == end - begin):
            raise ValueError("its bytes are not where it says")
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no safetensors: a tensor is malformed: {str(error)[:100]}") from error
    return Tensor(kind=kind, shape=shape, start=base + begin, size_bytes=end - begin)


def _add(a: IO[bytes], b: IO[bytes], x: Tensor, y: Tensor, tally: Tally, name: str) -> None:
    item = np.dtype(KINDS[x.kind]).itemsize
    step = CHUNK_BYTES // item * item
    for done in range(0, x.size_bytes, step):
        size = min(step, x.size_bytes - done)
        left, right = (_bytes(f, t, done, size) for f, t in ((a, x), (b, y)))
        first = done // item
        if left == right:
            tally.compared += len(left) // item
            continue
        one, other = _numbers(left, x), _numbers(right, x)

        def where(i: int, first: int = first) -> str:
            return element(name, x.shape, first + i)

        tally.numbers(one, other, where)


def _bytes(file: IO[bytes], tensor: Tensor, done: int, size: int) -> bytes:
    file.seek(tensor.start + done)
    return file.read(size)


def _numbers(data: bytes, tensor: Tensor) -> Array:
    found = np.frombuffer(data, KINDS[tensor.kind])
    if tensor.kind == "BF16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found
