"""Replaces secret values in a byte stream, also where a value is cut between two reads.

Called by `output` for every pipe. The end of the stream so far is held back while it could be the
beginning of a value. Values shorter than MIN_BYTES are not masked: they would eat the whole log.
"""

from __future__ import annotations

import re

MIN_BYTES = 4
ESCAPE = b"\x1b"
MASK = b"***"


def plain(data: bytes, secrets: list[bytes]) -> bytes:
    """Without colours and other orders to a terminal; a secret that they divided is masked."""
    if ESCAPE not in data:
        return data
    masker = Masker(secrets)
    return masker.feed(re.sub(_ORDERS, b"", data)) + masker.close()


# CSI (colours, movements of the cursor), OSC (titles, links) up to its end, and shorter ones
_ORDERS = rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"


class Masker:
    """One per pipe. Cost: one regular expression per read if there are secrets, else nothing."""

    def __init__(self, values: list[bytes]) -> None:
        wanted = {v for value in values for v in (value, value.strip()) if len(v) >= MIN_BYTES}
        self._values = sorted(wanted, key=lambda v: (-len(v), v))
        # compiled only where it is used: a supervisor without secrets starts faster
        pattern = b"|".join(map(re.escape, self._values))
        self._pattern = re.compile(pattern) if pattern else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may be shown now."""
        if self._pattern is None:
            return data
        data = self._held + data
        cut = self._first_open(data)
        shown = []
        at = 0
        for match in self._pattern.finditer(data):
            if match.start() >= cut:
                break
            shown += [data[at : match.start()], MASK]
            at = match.end()
        shown.append(data[at : max(at, cut)])
        self._held = data[max(at, cut) :]
        return b"".join(shown)

    def close(self) -> bytes:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return self._pattern.sub(MASK, held) if self._pattern else held

    def _first_open(self, data: bytes) -> int:
        """Where the earliest value begins that more bytes could complete; the end if none does."""
        cut = len(data)
        for value in self._values:
            at = data.find(value[:1], max(0, len(data) - len(value) + 1))
            while 0 <= at < cut:
                if value.startswith(data[at:]):
                    cut = at
                    break
                at = data.find(value[:1], at + 1)
        return cut
