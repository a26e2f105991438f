"""Contents of a walked directory into the store: read once, again if they change, else named.

Called by `tree` for snapshots and seals. Files are opened through directory descriptors without
following links; fstat before and after tells whether somebody wrote meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from zenkei.data import reasons
from zenkei.data.batch import PACKED_BYTES, Batch
from zenkei.data.manifest import path_bytes
from zenkei.data.walk import Chain
from zenkei.model.data import Digest

TRIES: Final = 3
FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

LookAt = Callable[[str, bytes], str]
"""Path and beginning of a content: why it must stay at home, or an empty text."""


@dataclass(frozen=True, slots=True)
class Read:
    """A file as stored. info: the stat that belongs to the content. refused: why it was not."""

    digest: Digest
    info: os.stat_result
    refused: str = ""


def read_files(
    root: int, paths: Iterable[str], batch: Batch, look_at: LookAt | None = None
) -> dict[str, Read]:
    """Store each file. Raises InvalidInput naming the first that cannot be read as one state."""
    chain = Chain(root)
    results: dict[str, Read] = {}
    try:
        for path in sorted(paths):
            for _ in range(TRIES):
                source = _Source(chain, path)
                try:
                    found = source.store(batch, look_at)
                finally:
                    os.close(source.descriptor)
                if found is not None:
                    results[path] = found
                    break
            else:
                raise reasons.keeps_changing(path)
    finally:
        chain.close()
    return results


class _Source:
    """One open file of the tree; its errors name its path, the store's errors pass untouched."""

    def __init__(self, chain: Chain, path: str) -> None:
        self._path = path
        directory, _, name = path.rpartition("/")
        try:
            folder = chain.at(directory)
            self.descriptor = os.open(path_bytes(name), FLAGS, dir_fd=folder)
        except FileNotFoundError as error:
            raise reasons.disappeared(path) from error
        except OSError as error:
            raise reasons.cannot_read(path, error) from error

    def store(self, batch: Batch, look_at: LookAt | None) -> Read | None:
        """None if it was written to meanwhile (or is no file any more)."""
        before = os.fstat(self.descriptor)
        if not stat.S_ISREG(before.st_mode):
            return None
        beginning = self.read(min(before.st_size, PACKED_BYTES) + 1)
        refused = look_at(self._path, beginning) if look_at else ""
        if refused:
            return Read(Digest(""), before, refused)
        if before.st_size <= PACKED_BYTES:
            if not self._is_still(before, len(beginning)):
                return None
            return Read(batch.add(beginning), before)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        digest, size = batch.add_stream(self.read)
        return Read(digest, before) if self._is_still(before, size) else None

    def read(self, count: int) -> bytes:
        try:
            return os.read(self.descriptor, count)
        except OSError as error:
            raise reasons.cannot_read(self._path, error) from error

    def _is_still(self, before: os.stat_result, size: int) -> bool:
        after = os.fstat(self.descriptor)
        return size == after.st_size and stamp(after) == stamp(before)


def stamp(info: os.stat_result) -> tuple[int, int, int, int]:
    """Equal stamps, equal content, unless somebody wrote within the clock's grain."""
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
