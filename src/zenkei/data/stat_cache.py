"""Digests of files that have not changed since the last scan of the same tree.

Called by `tree.snapshot`. A file counts as unchanged if size, mtime, ctime, inode and device are
those of the record; ctime cannot be set by a user, so `touch -d` deceives nobody. Files changed
less than 2 s before the scan began are never recorded: the next write might leave the same stamps.

One file a tree: BLAKE3 of the rest in hexadecimal, newline, JSON. A damaged, foreign or absent
cache is an empty one; writers replace it whole, so the last of two wins and both are right.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

import orjson
from blake3 import blake3

from zenkei.data import disk
from zenkei.data.contents import stamp
from zenkei.data.manifest import path_bytes
from zenkei.model.data import Digest

log = logging.getLogger("zenkei.data")

VERSION: Final = 1
RACY_NS: Final = 2_000_000_000

Row = list[int | str]


class StatCache:
    """Of one tree, for one scan: made before the walk, saved after the contents are stored."""

    def __init__(self, folder: Path, root: Path, temporary: Path) -> None:
        name = blake3(os.fsencode(root)).hexdigest()
        self._path = folder / name
        self._temporary = temporary
        self._began_ns = time.time_ns()
        self._rows = self._load()
        self._next: dict[str, Row] = {}
        self._changed = False

    def find(self, path: str, info: os.stat_result) -> Digest | None:
        """The digest recorded for exactly this state of the file."""
        row = self._rows.get(_key(path))
        if row is None or tuple(row[:5]) != (*stamp(info), info.st_dev):
            return None
        return Digest(str(row[5]))

    def record(self, path: str, info: os.stat_result, digest: Digest) -> None:
        """What the next scan may rely on; files not recorded again are forgotten."""
        if max(info.st_mtime_ns, info.st_ctime_ns) > self._began_ns - RACY_NS:
            return
        key = _key(path)
        old = self._rows.get(key)
        row: Row = [*stamp(info), info.st_dev, digest]
        self._changed = self._changed or old != row
        self._next[key] = row

    def save(self) -> None:
        """A cache that cannot be written costs time only; it is logged."""
        if not self._changed and len(self._next) == len(self._rows):
            return
        body = orjson.dumps({"version": VERSION, "files": self._next})
        try:
            file = disk.Temporary(self._temporary)
            try:
                disk.write_all(file.descriptor, blake3(body).hexdigest().encode() + b"\n" + body)
                file.rename(self._path)
            finally:
                file.discard()
        except OSError as error:
            log.warning("stat cache not written path=%s why=%s", self._path, error)

    def _load(self) -> dict[str, Row]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        checksum, _, body = content.partition(b"\n")
        if blake3(body).hexdigest().encode() != checksum:
            log.warning("stat cache damaged, made anew path=%s", self._path)
            return {}
        value = orjson.loads(body)
        files: dict[str, Row] = value["files"] if value["version"] == VERSION else {}
        return files


def _key(path: str) -> str:
    """JSON text for any bytes; one-to-one."""
    return path if path.isascii() else path_bytes(path).decode("latin-1")
