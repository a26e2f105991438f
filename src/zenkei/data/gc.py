"""Removes what nothing refers to; accounts for what there is.

Called by control (`zenkei prune`, `du`) with the digests that the database refers to; named by
`app`. Safe beside running snapshots, seals and checkouts of any process:

1. `roots` were read by the caller; what they name is marked: manifests with their contents, source
   documents with their diffs, anything else itself.
2. An unmarked content is removed only if nobody has stored it or asked for it for `grace_s`.
   Writers renew its age under the shared lock; here age is read again and the file removed under
   the exclusive one, so between "it is there" and "it is gone" nobody comes.
3. A pack leaves when none of its members is marked; it is rewritten when most of it is dead.

So a snapshot is safe if its job is committed within the grace: keep that in hours.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zenkei.data import disk, source
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.checkout import CONDEMNED, MAKING, lock_of, move_aside, record_of
from zenkei.data.digests import to_raw
from zenkei.data.manifest import is_manifest, parse
from zenkei.model.data import Digest
from zenkei.model.errors import NotFound

log = logging.getLogger("zenkei.data")

GRACE_S: Final = 24 * 3600.0
DEAD_PART: Final = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """missing: roots that are not in the store (nothing below them could be marked)."""

    contents: int
    freed_bytes: int
    missing: tuple[Digest, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Bytes on disk. corrupt: set aside. temporary: being written, or garbage until it is old."""

    contents: int
    object_bytes: int
    pack_bytes: int
    temporary_bytes: int
    corrupt_bytes: int
    free_bytes: int


def collect(
    blobs: DirectoryBlobs, roots: Iterable[Digest], *, grace_s: float = GRACE_S
) -> Collected:
    """Remove contents that no root reaches; grace_s is never less than twice `blobs.young_s`.

    Raises InternalError, before anything is removed, if a root is damaged: what it referred to is
    then unknown.
    """
    missing: list[Digest] = []
    marked = _mark(blobs, roots, missing)
    oldest = _now(blobs) - max(grace_s, 2 * blobs.young_s)
    disk.remove_garbage(blobs.temporary)
    with disk.disk_errors(blobs.root):
        objects, object_bytes = _sweep_objects(blobs, marked, oldest)
        packed, pack_bytes = _sweep_packs(blobs, marked, oldest)
    return Collected(
        contents=objects + packed, freed_bytes=object_bytes + pack_bytes, missing=tuple(missing)
    )


def collect_checkouts(
    blobs: DirectoryBlobs, folder: Path, keep: Iterable[Digest], *, grace_s: float = GRACE_S
) -> int:
    """Remove trees in `folder` named by a tree's hexadecimal digits, unused for `grace_s`, that

    are not in `keep`, and what crashes and `checkout` have put aside there. Returns how many.
    """
    if not folder.is_dir():
        return 0
    kept = {to_raw(digest).hex() for digest in keep}
    oldest = _now(blobs) - grace_s
    removed = 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        place = folder / entry.name
        if entry.name.endswith((CONDEMNED, MAKING)):
            if entry.stat(follow_symlinks=False).st_ctime < oldest:
                removed += _remove_tree(place)
        elif len(entry.name) == 64 and entry.name not in kept and _is_unused(place, oldest):
            with disk.locked(lock_of(blobs, place.absolute()), exclusive=True):
                aside = move_aside(place) if _is_unused(place, oldest) else None
            if aside is not None:
                removed += _remove_tree(aside)
    return removed


def usage(blobs: DirectoryBlobs) -> Usage:
    """Reads sizes only."""
    return Usage(
        contents=sum(1 for _ in blobs.digests()),
        object_bytes=tree_bytes(blobs.objects),
        pack_bytes=tree_bytes(blobs.packs),
        temporary_bytes=tree_bytes(blobs.temporary),
        corrupt_bytes=tree_bytes(blobs.corrupt),
        free_bytes=disk.free_bytes(blobs.root),
    )


def tree_bytes(folder: Path) -> int:
    """Bytes that everything below `folder` occupies on disk; links are not followed."""
    total = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                for entry in listing:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            continue  # removed while it was counted
    return total


def _mark(blobs: DirectoryBlobs, roots: Iterable[Digest], missing: list[Digest]) -> set[bytes]:
    marked: set[bytes] = set()
    for root in set(roots):
        marked.add(to_raw(root))
        try:
            with blobs.open(root) as reader:
                beginning = reader.read(64)
            if is_manifest(beginning):
                marked.update(
                    to_raw(entry.digest) for entry in parse(blobs.get(root)).entries if entry.digest
                )
            elif beginning.startswith(source.HEADER):
                marked.update(map(to_raw, source.referenced(blobs.get(root))))
        except NotFound:
            missing.append(root)
    return marked


def _now(blobs: DirectoryBlobs) -> float:
    """By the clock that gives the files their times (a file server's may differ from ours)."""
    file = disk.Temporary(blobs.temporary)
    try:
        return os.fstat(file.descriptor).st_mtime
    finally:
        file.discard()


def _sweep_objects(blobs: DirectoryBlobs, marked: set[bytes], oldest: float) -> tuple[int, int]:
    count = freed = 0
    for path in blobs.object_paths():
        if bytes.fromhex(path.name) in marked or _age(path) > oldest:
            continue
        with disk.locked(blobs.lock, exclusive=True):
            if _age(path) <= oldest:
                size = path.stat().st_blocks * 512
                path.unlink()
                count += 1
                freed += size
    return count, freed


def _sweep_packs(blobs: DirectoryBlobs, marked: set[bytes], oldest: float) -> tuple[int, int]:
    count = freed = 0
    for name, members in _packs(blobs):
        dead = {raw for raw in members if raw not in marked}
        dead_bytes = sum(members[raw] for raw in dead)
        if not dead or dead_bytes < DEAD_PART * sum(members.values()):
            continue
        path = blobs.packs / name
        if _age(path) > oldest:
            continue
        with disk.locked(blobs.lock, exclusive=True):
            if _age(path) <= oldest:
                blobs.rewrite_pack(name, without=frozenset(dead))
                count += len(dead)
                freed += dead_bytes
    return count, freed


def _packs(blobs: DirectoryBlobs) -> Iterator[tuple[str, dict[bytes, int]]]:
    packs: dict[str, dict[bytes, int]] = {}
    for raw, place in blobs.index.rows():
        packs.setdefault(place.pack, {})[raw] = place.size
    yield from packs.items()


def _age(path: Path) -> float:
    """Its last use; what is gone has just been used."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _is_unused(place: Path, oldest: float) -> bool:
    record = record_of(place)
    return place.is_dir() and record.exists() and _age(record) <= oldest


def _remove_tree(place: Path) -> bool:
    """False, and logged, if a job has made parts of it unremovable."""

    def log_it(_: object, path: str, error: tuple[type, BaseException, object]) -> None:
        log.warning("tree not removed path=%s why=%s", path, error[1])

    shutil.rmtree(place, onerror=log_it)
    return not place.exists()
