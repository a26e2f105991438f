"""Many contents put at once: small ones into packs, large ones as objects; one durable commit.

Called through `DirectoryBlobs.batch` by snapshots and seals. Not for several threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from zenkei.data import disk
from zenkei.data.digests import to_digest
from zenkei.data.pack import CUT_BYTES, PackWriter
from zenkei.model.data import Digest

if TYPE_CHECKING:
    from zenkei.data.blobs_dir import DirectoryBlobs

PACKED_BYTES: Final = 256 << 10
"""Larger contents are objects of their own: they can be removed one by one and read by path."""

CHUNK_BYTES: Final = 1 << 20
ZEROS: Final = bytes(CHUNK_BYTES)


class Batch:
    """`stored`: contents that were new."""

    def __init__(self, blobs: DirectoryBlobs) -> None:
        self._blobs = blobs
        self._pack: PackWriter | None = None
        self._full: list[tuple[str, PackWriter]] = []
        self._objects: dict[bytes, disk.Temporary] = {}
        self._known: set[bytes] = set()
        self._touched: set[str] = set()
        blobs.index.refresh()
        self.stored = 0

    def add(self, content: bytes) -> Digest:
        raw = blake3(content).digest()
        if self._is_new(raw):
            if len(content) > PACKED_BYTES:
                self._objects[raw] = file = disk.Temporary(self._blobs.temporary)
                disk.write_all(file.descriptor, content)
            else:
                self._add_packed(raw, content)
        return to_digest(raw)

    def add_stream(self, read: Callable[[int], bytes]) -> tuple[Digest, int]:
        """A large content, never whole in memory; runs of zeros stay holes."""
        file = disk.Temporary(self._blobs.temporary)
        try:
            raw, size = copy_in(read, file)
            if self._is_new(raw):
                self._objects[raw] = file
                return to_digest(raw), size
        except BaseException:
            file.discard()
            raise
        file.discard()
        return to_digest(raw), size

    def commit(self) -> None:
        """Everything added is in the store and survives a power cut."""
        if self._pack is not None:
            self._full.append((self._pack.finish(), self._pack))
            self._pack = None
        blobs = self._blobs
        packs = [
            disk.Publication(file=pack.file, final=blobs.packs / name) for name, pack in self._full
        ]
        objects = [
            disk.Publication(file=file, final=blobs.object_path(raw))
            for raw, file in self._objects.items()
        ]
        disk.publish(packs + objects)
        for name, pack in self._full:
            blobs.index.add(name, pack.rows)
        self._full.clear()
        self._objects.clear()

    def discard(self) -> None:
        """Forget what was not committed."""
        for file in self._objects.values():
            file.discard()
        for _, pack in self._full:
            pack.file.discard()
        if self._pack is not None:
            self._pack.file.discard()

    def _is_new(self, raw: bytes) -> bool:
        """Looks at the disk as little as it can: what another process has stored since this batch

        began may be stored twice, which costs room until the next collection and nothing else.
        """
        if raw in self._known:
            return False
        self._known.add(raw)
        if self._blobs.keep_known(raw, self._touched):
            return False
        self.stored += 1
        return True

    def _add_packed(self, raw: bytes, content: bytes) -> None:
        if self._pack is None:
            self._pack = PackWriter(self._blobs.temporary)
        self._pack.add(raw, content)
        if self._pack.size >= CUT_BYTES:
            self._full.append((self._pack.finish(), self._pack))
            self._pack = None


def copy_in(read: Callable[[int], bytes], file: disk.Temporary) -> tuple[bytes, int]:
    """Copy a stream into `file`, leaving chunks of zeros as holes; its digest (raw) and size."""
    hasher = blake3()
    size = 0
    while chunk := read(CHUNK_BYTES):
        hasher.update(chunk)
        if chunk == ZEROS:
            os.lseek(file.descriptor, len(chunk), os.SEEK_CUR)
        else:
            disk.write_all(file.descriptor, chunk)
        size += len(chunk)
    os.ftruncate(file.descriptor, size)
    return hasher.digest(), size
