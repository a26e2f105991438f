"""Any file by its bytes: the first that differs, and of a text its line. Cost: reading both."""

from __future__ import annotations

from typing import IO

import numpy as np

from zenkei.data.compare.tally import Tally, shortened
from zenkei.model.verdict import Finding

CHUNK_BYTES = 1 << 20
CONTEXT = 40


def compare_bytes(a: IO[bytes], b: IO[bytes], note: str = "") -> Finding:
    """note: why the bytes are all that can be compared."""
    tally = Tally(0.0)
    tally.note = note
    offset, line, is_text = 0, 1, True
    while True:
        x, y = _read(a), _read(b)
        if x == y:
            if not x:
                return tally.finding()
            tally.compared += len(x)
            offset += len(x)
            line += x.count(b"\n")
            is_text = is_text and b"\0" not in x
            continue
        common = min(len(x), len(y))
        unequal = np.frombuffer(x, np.uint8, common) != np.frombuffer(y, np.uint8, common)
        at = int(unequal.argmax()) if unequal.any() else common
        tally.compared += at
        is_text = is_text and b"\0" not in x + y
        place = f"byte {offset + at}"
        if is_text:
            place = f"line {line + x[:at].count(bytes([10]))}"
        tally.differs(place, "", _around(x, at, text=is_text), _around(y, at, text=is_text))
        return tally.finding()


def _read(file: IO[bytes]) -> bytes:
    """As much as fits, if the file has it: sockets and archives give less at a time."""
    data = file.read(CHUNK_BYTES)
    while len(data) < CHUNK_BYTES:
        more = file.read(CHUNK_BYTES - len(data))
        if not more:
            break
        data += more
    return data


def _around(data: bytes, at: int, *, text: bool) -> str:
    """What stands there: of a text its line."""
    if at >= len(data):
        return "the end"
    if not text:
        return data[at : at + 8].hex(" ")
    begin = max(data.rfind(b"\n", 0, at) + 1, at - CONTEXT)
    end = data.find(b"\n", at)
    found = data[begin : len(data) if end < 0 else end]
    return shortened(found[: 2 * CONTEXT].decode("utf-8", "backslashreplace"))
