"""The content store in a local directory: the Blobs port of one machine.

Called by control, envs, engines and the trees of this room; named by `app`.

    objects/<2 digits>/<64 digits>   a content of its own
    packs/<64 digits>                many small contents (see `pack`)
    tmp/                             being written; what is old and unlocked is garbage
    corrupt/                         set aside: no longer has its digest
    locks/                           of realised trees (see `checkout`)
    store.lock                       shared: "it is there" and its age; exclusive: removal

Promises: a content is visible complete or not at all; durable when put or commit returns; reads
verify; writers in any number of threads and processes. `missing`, put and batches make what they
find young again, so that `gc` (which removes only what is older than its grace) leaves it alone
until the caller has committed a reference. Cost: a small put 0.7 ms (one fsync); in a batch 10 µs.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from blake3 import blake3

from zenkei.data import disk
from zenkei.data.batch import Batch, copy_in
from zenkei.data.digests import digest_of, to_digest, to_raw
from zenkei.data.pack import PackWriter, Place, read_index
from zenkei.data.pack_index import PackIndex
from zenkei.data.reading import VerifyingReader
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, NotFound

log = logging.getLogger("zenkei.data")

YOUNG_S = 600.0
"""What is younger is not made young again; far below any sensible grace of a collection."""

SETTLED_S = 5.0
"""Younger names may be another writer's that has renamed but not yet synced the folder."""


class DirectoryBlobs:
    """Implements ports.blobs.Blobs; further methods are for this room (batch, located, remove)."""

    def __init__(self, root: Path, *, young_s: float = YOUNG_S) -> None:
        self.root = root
        self.young_s = young_s
        self.objects = root / "objects"
        self._objects = os.fspath(self.objects)
        self.packs = root / "packs"
        self.temporary = root / "tmp"
        self.corrupt = root / "corrupt"
        self.locks = root / "locks"
        self.lock = root / "store.lock"
        with disk.disk_errors(root):
            for folder in (
                root,
                self.objects,
                self.packs,
                self.temporary,
                self.corrupt,
                self.locks,
            ):
                disk.private_directory(folder)
            disk.remove_garbage(self.temporary)
        self.index = PackIndex(self.packs, self.corrupt)

    def put(self, content: bytes) -> Digest:
        digest = digest_of(content)
        raw = to_raw(digest)
        if not self.keep(raw):
            with disk.disk_errors(self.root):
                disk.write_file(self.object_path(raw), content, temporary=self.temporary)
        return digest

    def put_many(self, contents: Iterable[bytes]) -> tuple[Digest, ...]:
        """All durable when it returns, for the price of a few fsyncs; digests in the same order."""
        with self.batch() as batch:
            digests = tuple(batch.add(content) for content in contents)
            batch.commit()
        return digests

    def put_file(self, file: BinaryIO) -> tuple[Digest, int]:
        with disk.disk_errors(self.root):
            temporary = disk.Temporary(self.temporary)
            try:
                raw, size = copy_in(file.read, temporary)
                if not self.keep(raw):
                    final = self.object_path(raw)
                    disk.publish([disk.Publication(file=temporary, final=final)])
            finally:
                temporary.discard()
        return to_digest(raw), size

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Contents added are visible and durable after `commit`; without it nothing was written."""
        batch = Batch(self)
        try:
            with disk.disk_errors(self.root):
                yield batch
        finally:
            batch.discard()

    def get(self, digest: Digest) -> bytes:
        raw = to_raw(digest)
        for _ in range(3):  # a pack may be rewritten between finding and reading
            place = self.index.known(raw)
            content = None if place else self._read_object(raw)
            if content is not None:
                return content
            place = place or self.index.find(raw)
            if place is None:
                break
            content = self._read_packed(raw, place)
            if content is not None:
                return content
        raise _not_found(digest)

    def open(self, digest: Digest) -> BinaryIO:
        raw = to_raw(digest)
        try:
            file = self.object_path(raw).open("rb", buffering=0)
        except FileNotFoundError:
            return io.BytesIO(self.get(digest))
        inode = os.fstat(file.fileno()).st_ino
        reader = VerifyingReader(file, raw, lambda: self._object_is_damaged(raw, inode))
        return cast("BinaryIO", io.BufferedReader(reader, 1 << 20))

    def has(self, digest: Digest) -> bool:
        return self._touch(to_raw(digest), young_s=None)

    def missing(self, digests: Iterable[Digest]) -> frozenset[Digest]:
        """Also keeps those that are there from being collected for the time of a grace."""
        touched: set[str] = set()
        with disk.locked(self.lock, exclusive=False):
            return frozenset(
                digest
                for digest in digests
                if not self._touch(to_raw(digest), young_s=self.young_s, touched=touched)
            )

    def delete(self, digest: Digest) -> None:
        """Also out of packs, which are then rewritten: for many at once use `gc.collect`."""
        raw = to_raw(digest)
        with disk.disk_errors(self.root), disk.locked(self.lock, exclusive=True):
            self.object_path(raw).unlink(missing_ok=True)
            while (place := self.index.find(raw)) is not None:
                self.rewrite_pack(place.pack, without=frozenset([raw]))

    def digests(self) -> Iterator[tuple[Digest, int]]:
        packed: set[bytes] = set()
        for raw, place in self.index.rows():
            packed.add(raw)
            yield to_digest(raw), place.size
        for path in self.object_paths():
            raw = bytes.fromhex(path.name)
            if raw not in packed:
                try:
                    yield to_digest(raw), path.stat().st_size
                except FileNotFoundError:
                    continue

    # --- for this room

    def object_name(self, raw: bytes) -> str:
        name = raw.hex()
        return f"{self._objects}/{name[:2]}/{name}"

    def object_path(self, raw: bytes) -> Path:
        return Path(self.object_name(raw))

    def object_paths(self) -> Iterator[Path]:
        """All files under objects/, in no order."""
        for folder in os.scandir(self.objects):
            for entry in os.scandir(folder.path):
                if len(entry.name) == 64:
                    yield Path(entry.path)

    def keep(self, raw: bytes) -> bool:
        """Whether it is stored; if so it will not be collected for the time of a grace."""
        with disk.locked(self.lock, exclusive=False):
            return self._touch(raw, young_s=self.young_s)

    def keep_known(self, raw: bytes, touched: set[str]) -> bool:
        """As `keep`, for many: does not look for new packs; `touched` as in `_touch`."""
        place = self.index.known(raw)
        if place is not None and place.pack in touched:
            return True
        if place is None and not os.path.exists(self.object_name(raw)):
            return False
        with disk.locked(self.lock, exclusive=False):
            return self._touch(raw, young_s=self.young_s, touched=touched)

    def rewrite_pack(self, name: str, *, without: frozenset[bytes]) -> None:
        """Replace a pack by one with its other members. Under the exclusive lock.

        Members that are damaged cannot be taken along: the old pack is then kept aside.
        """
        old = self.packs / name
        writer = PackWriter(self.temporary)
        damaged = False
        try:
            members = sorted(read_index(old).items(), key=lambda row: row[1].offset)
            with old.open("rb", buffering=0) as file:
                for raw, place in members:
                    if raw in without:
                        continue
                    content = os.pread(file.fileno(), place.size, place.offset)
                    if blake3(content).digest() == raw:
                        writer.add(raw, content)
                    else:
                        damaged = True
            if writer.rows:
                new = writer.finish()
                disk.publish([disk.Publication(file=writer.file, final=self.packs / new)])
                self.index.add(new, writer.rows)
                if new == name:
                    return
            if damaged:
                self._keep_aside(name)
            old.unlink()
        except FileNotFoundError:
            pass  # another process was faster
        finally:
            writer.file.discard()
        self.index.forget(name)

    def _keep_aside(self, pack: str) -> Path:
        kept = self.corrupt / f"{pack}-{time.time_ns()}"
        os.link(self.packs / pack, kept)
        log.error("pack has damaged contents pack=%s kept=%s", pack, kept)
        return kept

    # --- its own

    def _touch(self, raw: bytes, *, young_s: float | None, touched: set[str] | None = None) -> bool:
        """Whether it is stored; what is older than `young_s` gets a new mtime.

        touched: packs and folders that need no further care within one call.
        """
        touched = set() if touched is None else touched
        for _ in range(3):
            place = self.index.known(raw)  # costs no system call
            if place is None and self._refresh_age(self.object_path(raw), young_s, touched):
                return True
            place = place or self.index.find(raw)
            if place is None:
                return False
            if place.pack in touched:
                return True
            if self._refresh_age(self.packs / place.pack, young_s, touched):
                touched.add(place.pack)
                return True
            self.index.forget(place.pack)
        return False

    def _refresh_age(self, path: Path, young_s: float | None, touched: set[str]) -> bool:
        age_s = _age_s(path, young_s)
        if age_s is None:
            return False
        if young_s is not None and age_s < SETTLED_S and str(path.parent) not in touched:
            disk.sync_directory(path.parent)
            touched.add(str(path.parent))
        return True

    def _read_object(self, raw: bytes) -> bytes | None:
        try:
            with self.object_path(raw).open("rb", buffering=0) as file:
                inode = os.fstat(file.fileno()).st_ino
                content = file.read()
        except FileNotFoundError:
            return None
        if blake3(content).digest() != raw:
            raise self._object_is_damaged(raw, inode)
        return content

    def _read_packed(self, raw: bytes, place: Place) -> bytes | None:
        try:
            with (self.packs / place.pack).open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), place.size, place.offset)
        except FileNotFoundError:
            self.index.forget(place.pack)
            return None
        if blake3(content).digest() != raw:
            raise self.packed_is_damaged(raw, place)
        return content

    def _object_is_damaged(self, raw: bytes, inode: int) -> InternalError:
        kept = self.corrupt / f"{raw.hex()}-{time.time_ns()}"
        path = self.object_path(raw)
        with disk.locked(self.lock, exclusive=True):
            try:
                if path.stat().st_ino == inode:  # else somebody has put it anew meanwhile
                    path.rename(kept)
            except FileNotFoundError:
                pass
        return _damaged(raw, kept)

    def packed_is_damaged(self, raw: bytes, place: Place) -> InternalError:
        """Keep a copy of the pack, then leave only its sound members in the store."""
        kept = self.corrupt
        with disk.disk_errors(self.root), disk.locked(self.lock, exclusive=True):
            try:
                kept = self._keep_aside(place.pack)
            except FileNotFoundError:
                self.index.forget(place.pack)
            else:
                self.rewrite_pack(place.pack, without=frozenset([raw]))
        return _damaged(raw, kept)


def _age_s(path: Path, young_s: float | None) -> float | None:
    """Seconds since it was last stored or asked for; None if it does not exist."""
    try:
        age_s = time.time() - os.stat(path).st_mtime
        if young_s is not None and not 0 <= age_s < young_s:
            os.utime(path)
    except FileNotFoundError:
        return None
    return age_s


def _not_found(digest: Digest) -> NotFound:
    return NotFound(
        "no-such-content",
        f"{digest} is not in the store",
        hint="it was never stored here, or nothing needed it any more and it was removed",
    )


def _damaged(raw: bytes, kept: Path) -> InternalError:
    return InternalError(
        "content-damaged",
        f"{to_digest(raw)} no longer has its digest: the disk has returned other bytes than were "
        f"written; what was found is kept in {kept}",
        hint="check the disk; storing the same content again repairs this",
        details={"digest": to_digest(raw), "kept": str(kept)},
    )
