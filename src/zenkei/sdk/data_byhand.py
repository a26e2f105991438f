"""An index of a directory for a program that runs by hand, where nobody has made one.

Called by `sdk.data`. Rows are those that a version of the directory would have, so that a split is
the same too: for that all files are read, with the package `blake3`, which a job does not need.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Iterator

from zenkei.protocol.dataindex import EMPTY_DIRECTORY, FILE, LINK, Index, Row, encode

CHUNK_BYTES = 1 << 20


def index_of(folder: str, with_digests: bool) -> Index:
    """Raises OSError, ModuleNotFoundError."""
    return Index(
        encode(bytes(32), _rows(os.fsencode(folder), b"", _hasher() if with_digests else None))
    )


def _hasher() -> Any:
    try:
        from blake3 import blake3
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a split by hand reads all files, for which the package `blake3` is needed; a job has"
            " no need of it"
        ) from None
    return blake3


def _rows(root: bytes, below: bytes, hasher: Any) -> Iterator[Row]:
    with os.scandir(os.path.join(root, below)) as found:
        entries = list(found)
    if not entries and below:
        yield Row(below, kind=EMPTY_DIRECTORY)
    for entry in entries:
        path = os.path.join(below, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _rows(root, path, hasher)
        elif entry.is_symlink():
            yield Row(path, kind=LINK)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            digest = _digest(entry.path, hasher) if hasher else bytes(32)
            is_program = bool(status.st_mode & stat.S_IXUSR)
            yield Row(path, digest, status.st_size, FILE, is_program)


def _digest(path: bytes, hasher: Any) -> bytes:
    found = hasher()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            found.update(chunk)
    digest: bytes = found.digest()
    return digest
