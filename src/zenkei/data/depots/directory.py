"""A depot in a directory, local or on a file server: `packs/`, `versions/`, `intents/`, `tmp/`.

Made by `opening`. Asks nothing of a file system that NFS does not do: no flock, no append; a file
is written under a name of its own, synced, then renamed or linked to its place, and the directory
is synced. Times are the file server's. Cost of a put: one fsync of the content, one of the name.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from zenkei.data.depots.depot import Buffer, Stored
from zenkei.data.disk import disk_errors, sync_directory, write_all
from zenkei.data.fill import copy_range
from zenkei.model.errors import InternalError, NotFound, Unavailable

FOLDERS: Final = ("packs", "versions", "intents", "tmp")
GARBAGE_AGE_S: Final = 24 * 3600.0
STEP_BYTES: Final = 8 << 20
_NAME: Final = re.compile(r"(?:packs|versions)/[0-9a-f]{64}|intents/[A-Za-z0-9._-]{1,200}|epoch")


class DirectoryDepot:
    """Implements `depot.Depot`. root: made if it is not there, with its parents, 0700."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        with disk_errors(self.root), _reachable(self.root):
            for folder in FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def location(self) -> str:
        return str(self.root)

    def put(self, name: str, content: Buffer) -> None:
        self._put(name, content, replace=True)

    def put_new(self, name: str, content: Buffer) -> bool:
        return self._put(name, content, replace=False)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        with self._opened(name) as descriptor:
            end = os.fstat(descriptor).st_size
            wanted = max(0, end - start) if size is None else size
            parts: list[bytes] = []
            while wanted > 0 and (part := os.pread(descriptor, min(wanted, STEP_BYTES), start)):
                parts.append(part)
                start += len(part)
                wanted -= len(part)
            return b"".join(parts)

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        with disk_errors(to), self._opened(name) as source:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(to, flags, 0o600)
            try:
                size = os.fstat(source).st_size
                for start in range(0, size, STEP_BYTES):
                    end = min(size, start + STEP_BYTES)
                    copy_range(source, target, start, end)
                    if said is not None:
                        said(end - start)
                return os.fstat(target).st_size
            finally:
                os.close(target)

    def stat(self, name: str) -> Stored | None:
        try:
            found = os.stat(self.path(name))
        except FileNotFoundError:
            return None
        return Stored(name=name, size=found.st_size, modified_s=found.st_mtime)

    def touch(self, name: str) -> bool:
        try:
            # without a time of ours: the server's own clock is the one that counts
            os.utime(self.path(name))
        except FileNotFoundError:
            return False
        return True

    def names(self, prefix: str) -> Iterator[Stored]:
        folder = prefix.rstrip("/")
        with _reachable(self.root), os.scandir(self.root / folder) as listing:
            for entry in listing:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed while it was listed
                name = f"{folder}/{entry.name}"
                if _NAME.fullmatch(name):
                    yield Stored(name=name, size=found.st_size, modified_s=found.st_mtime)

    def remove(self, name: str) -> None:
        with disk_errors(self.root):
            self.path(name).unlink(missing_ok=True)

    def now_s(self) -> float:
        file = self._temporary()
        try:
            file.touch(mode=0o600)
            return file.stat().st_mtime
        finally:
            file.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where an object lies, for who can take it from there. Raises InternalError."""
        if not _NAME.fullmatch(name):
            raise InternalError("bad-object-name", f"`{ascii(name)[:80]}` names no object")
        return self.root / name

    def remove_garbage(self) -> int:
        """What writers that died have left; returns how many."""
        oldest = self.now_s() - GARBAGE_AGE_S
        removed = 0
        for entry in os.scandir(self.root / "tmp"):
            try:
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def _put(self, name: str, content: Buffer, *, replace: bool) -> bool:
        final, file = self.path(name), self._temporary()
        with disk_errors(self.root), _reachable(self.root):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                try:
                    write_all(descriptor, memoryview(content))
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                is_new = replace or _link(file, final)
                if replace:
                    os.rename(file, final)
            finally:
                file.unlink(missing_ok=True)
            sync_directory(final.parent)
        return is_new

    def _temporary(self) -> Path:
        return self.root / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"

    def _opened(self, name: str) -> _Opened:
        return _Opened(self.path(name), name)


class _Opened:
    """A descriptor for the time of a block. Raises NotFound."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._descriptor = -1

    def __enter__(self) -> int:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise no_object(self._name) from None
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _link(file: Path, final: Path) -> bool:
    """False if there is one already. A lost answer of a file server is no failure: then the link

    is there and the file has two names.
    """
    try:
        os.link(file, final)
    except FileExistsError:
        return file.stat().st_nlink == 2
    return True


class _reachable:  # noqa: N801 - reads like a function
    """Turns what a file server's silence looks like into Unavailable."""

    _ERRORS: Final = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN)

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError) and error.errno in self._ERRORS:
            raise Unavailable(
                "depot-unavailable",
                f"the store of datasets at {self._root} does not answer: {error.strerror}",
                hint="look at the disk or the file server, then try again",
            ) from error


def no_object(name: str) -> NotFound:
    return NotFound(
        "no-such-object",
        f"`{name}` is not in the store of datasets",
        hint="`zenkei dataset verify` tells what is missing, and which versions need it",
    )
