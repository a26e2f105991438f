"""A reader that knows at the end of the stream whether it has told the truth."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class VerifyingReader(io.RawIOBase):
    """Forward only. At the end of `file` raises what `damaged` returns if the digest differs."""

    def __init__(
        self, file: io.FileIO | BinaryIO, raw: bytes, damaged: Callable[[], Exception]
    ) -> None:
        self._file = file
        self._raw = raw
        self._damaged = damaged
        self._hash = blake3()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        count = self._file.readinto(view)  # type: ignore[union-attr]
        if count:
            self._hash.update(view[:count])
        elif view and self._hash.digest() != self._raw:
            raise self._damaged()
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()
