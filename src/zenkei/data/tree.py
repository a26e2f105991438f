"""Code trees and results: the Trees port over a DirectoryBlobs.

Called by control (snapshot at submit, seal after release) and engines (checkout); named by `app`.
Promises: what `snapshot` or `seal` returns is durable and complete; the same content gives the same
digest wherever it lies, under any umask and locale. Cost: see docs/guides/code.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from zenkei.data import checkout, ignore, reasons
from zenkei.data.batch import Batch
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.contents import read_files
from zenkei.data.disk import private_directory
from zenkei.data.gather import gather
from zenkei.data.manifest import (
    FILE_MODE,
    PROGRAM_MODE,
    canonical,
    leaves_tree,
    parse,
    shown,
)
from zenkei.data.scan import CodeChoice, Limits, largest
from zenkei.data.source import record_source
from zenkei.data.stat_cache import StatCache
from zenkei.data.walk import Everything, Found, open_root, walk
from zenkei.model.data import Digest, Entry, EntryKind, Manifest
from zenkei.model.job import CodeRequest
from zenkei.ports.trees import LeftOut, Piece, Snapshot

log = logging.getLogger("zenkei.data")

LARGEST_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealed:
    """A result as stored, with what could not be kept (sockets, pipes, devices)."""

    digest: Digest
    files: int
    size_bytes: int
    left_out: tuple[LeftOut, ...] = ()


class DirectoryTrees:
    """Implements ports.trees.Trees. state: where stat caches are kept; homes never travel."""

    def __init__(
        self,
        blobs: DirectoryBlobs,
        *,
        state: Path,
        homes: Iterable[Path] = (),
        limits: Limits | None = None,
    ) -> None:
        self._blobs = blobs
        self._limits = limits or Limits()
        self._homes = (blobs.root, *homes)
        self._caches = state / "stat"
        private_directory(self._caches)

    def snapshot(self, root: Path, request: CodeRequest) -> Snapshot:
        try:
            root = root.resolve(strict=True)
        except OSError as error:
            raise reasons.not_a_directory(str(root)) from error
        cache = StatCache(self._caches, root, self._blobs.temporary)
        choice = CodeChoice(root, request, self._limits, self._home_inodes())
        descriptor = open_root(root, follow=True)
        try:
            found = walk(descriptor, choice)
            choice.finish(found)
            _check_links(found)
            with self._blobs.batch() as batch:
                files = self._code_files(descriptor, found, choice, cache, batch)
                stored = batch.stored
                tree = batch.add(canonical([*files, *_links_and_empty(found)]))
                left_out = tuple(sorted(found.left_out + choice.left_out, key=lambda out: out.path))
                source = record_source(root, batch, left_out)
                batch.commit()
        finally:
            os.close(descriptor)
        cache.save()
        return Snapshot(
            tree=tree,
            source=source,
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            stored=stored,
            left_out=left_out,
            largest=largest(found, LARGEST_SHOWN),
        )

    def manifest(self, tree: Digest) -> Manifest:
        return parse(self._blobs.get(tree))

    def checkout(self, tree: Digest, to: Path) -> None:
        checkout.checkout(self._blobs, self.manifest(tree), to)

    def seal(self, places: tuple[Path, ...]) -> tuple[Digest, int, int]:
        sealed = self.seal_all(places)
        for out in sealed.left_out:
            log.warning("not kept in the result path=%s why=%s", shown(out.path), out.why)
        return sealed.digest, sealed.files, sealed.size_bytes

    def seal_all(self, places: tuple[Path, ...]) -> Sealed:
        """As `seal`, and says what was left out. Memory: the list of files, not their contents."""
        entries: list[Entry] = []
        left_out: list[LeftOut] = []
        with self._blobs.batch() as batch:
            for number, place in enumerate(places):
                added, out = _seal_one(place, batch)
                prefix = _node_prefix(number, entries) if added or out else ""
                entries += [replace(entry, path=prefix + entry.path) for entry in added]
                left_out += [LeftOut(path=prefix + one.path, why=one.why) for one in out]
            digest = batch.add(canonical(entries))
            batch.commit()
        return Sealed(
            digest=digest,
            files=sum(entry.kind is EntryKind.FILE for entry in entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            left_out=tuple(left_out),
        )

    def gather(self, pieces: tuple[Piece, ...]) -> tuple[Digest, int, int]:
        with self._blobs.batch() as batch:
            entries = gather(pieces, batch)
            digest = batch.add(canonical(entries))
            batch.commit()
        files = sum(entry.kind is EntryKind.FILE for entry in entries)
        return digest, files, sum(entry.size_bytes for entry in entries)

    def _code_files(
        self, root: int, found: Found, choice: CodeChoice, cache: StatCache, batch: Batch
    ) -> list[Entry]:
        known = {path: cache.find(path, info) for path, info in found.files}
        gone = self._blobs.missing({digest for digest in known.values() if digest})
        unread = [path for path, digest in known.items() if digest is None or digest in gone]

        def look_at(path: str, content: bytes) -> str:
            if path in choice.wanted:
                return ""
            if not (ignore.may_hold_key(path) or content.startswith(ignore.KEY_BEGINNINGS)):
                return ""
            return ignore.content_left_out(content)

        read = read_files(root, unread, batch, look_at)
        files: list[Entry] = []
        for path, info in found.files:
            fresh = read.get(path)
            if fresh is not None and fresh.refused:
                found.left_out.append(LeftOut(path=path, why=fresh.refused))
                continue
            state = fresh.info if fresh else info
            digest = fresh.digest if fresh else known[path]
            assert digest
            cache.record(path, state, digest)
            files.append(_file_entry(path, state, digest))
        return files

    def _home_inodes(self) -> frozenset[tuple[int, int]]:
        infos = [os.stat(home) for home in self._homes if home.exists()]
        return frozenset((info.st_dev, info.st_ino) for info in infos)


def _file_entry(path: str, info: os.stat_result, digest: Digest) -> Entry:
    mode = PROGRAM_MODE if info.st_mode & 0o100 else FILE_MODE
    return Entry(path=path, kind=EntryKind.FILE, mode=mode, size_bytes=info.st_size, digest=digest)


def _links_and_empty(found: Found) -> list[Entry]:
    links = [Entry(path=path, kind=EntryKind.LINK, target=target) for path, target in found.links]
    return links + [Entry(path=path, kind=EntryKind.DIRECTORY) for path in found.empty]


def _check_links(found: Found) -> None:
    links = dict(found.links)
    leaving = [path for path in sorted(links) if leaves_tree(path, links)]
    if leaving:
        raise reasons.links_leave([(path, links[path]) for path in leaving])


def _seal_one(place: Path, batch: Batch) -> tuple[list[Entry], list[LeftOut]]:
    descriptor = open_root(place, follow=False)
    try:
        found = walk(descriptor, Everything())
        read = read_files(descriptor, (path for path, _ in found.files), batch)
    finally:
        os.close(descriptor)
    files = [_file_entry(path, one.info, one.digest) for path, one in read.items()]
    return files + _links_and_empty(found), found.left_out


def _node_prefix(number: int, entries: list[Entry]) -> str:
    """Where a node's files stand: never among what another node has written."""
    if number == 0:
        return ""
    taken = {entry.path.partition("/")[0] for entry in entries}
    name = f"node-{number}"
    while name in taken:
        name += "_"
    return name + "/"
