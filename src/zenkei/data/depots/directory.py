"""A depot in a directory, local or on a file server: `packs/`, `versions/`, `intents/`, `tmp/`.

Made by `opening`. Asks nothing of a file system that NFS does not do: no flock, no append; a file
is written under a name of its own, synced, then renamed or linked to its place, and the directory
is synced. Times are the file server's. Cost of a put: one fsync of the content, one of the name.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from zenkei.data.depots.depot import Buffer, Stored, checked_name, is_name, no_object
from zenkei.data.disk import disk_errors, private_directory, sync_directory, write_all
from zenkei.data.fill import copy_range
from zenkei.model.errors import Unavailable

FOLDERS: Final = ("packs", "versions", "intents", "tmp")
GARBAGE_AGE_S: Final = 24 * 3600.0
STEP_BYTES: Final = 8 << 20
ASIDE: Final = "aside"
ASIDE_DASHES: Final = 3
_SILENT: Final = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN,
}  # fmt: skip
T = TypeVar("T")


class DirectoryDepot:
    """Implements `depot.Depot`. root: made if it is not there, with its parents, 0700."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        with _answers(self.root):
            for folder in ("", *FOLDERS):
                private_directory(self.root / folder)

    @property
    def location(self) -> str:
        return str(self.root)

    def put(self, name: str, content: Buffer) -> None:
        self._put(name, content, replace=True)

    def put_new(self, name: str, content: Buffer) -> bool:
        return self._put(name, content, replace=False)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        with _answers(self.root), self._opened(name) as descriptor:
            end = os.fstat(descriptor).st_size
            wanted = max(0, end - start) if size is None else size
            parts: list[bytes] = []
            while wanted > 0 and (part := os.pread(descriptor, min(wanted, STEP_BYTES), start)):
                parts.append(part)
                start += len(part)
                wanted -= len(part)
            return b"".join(parts)

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        with disk_errors(to), _silence(self.root), self._opened(name) as source:
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
            except BaseException:
                os.unlink(to)
                raise
            finally:
                os.close(target)

    def stat(self, name: str) -> Stored | None:
        with _answers(self.root):
            found = self._found(name, os.lstat)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return Stored(name=name, size=found.st_size, modified_s=found.st_mtime)

    def touch(self, name: str) -> bool:
        def young(path: Path) -> bool:
            # without a time of ours: the server's own clock is the one that counts
            os.utime(path, follow_symlinks=False)
            return stat.S_ISREG(os.lstat(path).st_mode)

        with _answers(self.root):
            return bool(self._found(name, young))

    def names(self, prefix: str) -> Iterator[Stored]:
        folder = prefix.rstrip("/")
        with _answers(self.root), os.scandir(self.root / folder) as listing:
            for entry in listing:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed while it was listed
                name = f"{folder}/{entry.name}"
                if is_name(name) and stat.S_ISREG(found.st_mode):
                    yield Stored(name=name, size=found.st_size, modified_s=found.st_mtime)

    def remove(self, name: str) -> None:
        with _answers(self.root):
            self.path(name).unlink(missing_ok=True)

    def remove_untouched(self, stored: Stored) -> bool:
        """Taken aside first, where nobody touches it; who misses it meanwhile puts it back."""
        path = self.path(stored.name)
        folder, _, own = stored.name.partition("/")
        aside = self.root / "tmp" / f"{ASIDE}-{folder}-{own}-{secrets.token_hex(8)}"
        with _answers(self.root):
            try:
                os.rename(path, aside)
            except FileNotFoundError:
                return True
            try:
                # opened, because file servers promise fresh times to who opens
                with open(aside, "rb", buffering=0) as file:
                    is_same = os.fstat(file.fileno()).st_mtime == stored.modified_s
                if not is_same:
                    _link_there(aside, path)
                    sync_directory(path.parent)
            except FileNotFoundError:
                return False  # somebody has put it back
            aside.unlink(missing_ok=True)
            return is_same

    def now_s(self) -> float:
        file = self._temporary()
        with _answers(self.root):
            try:
                file.touch(mode=0o600)
                return file.stat().st_mtime
            finally:
                file.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where an object lies, for who can take it from there. Raises InternalError."""
        return self.root / checked_name(name)

    def remove_garbage(self) -> int:
        oldest = self.now_s() - GARBAGE_AGE_S
        removed = 0
        with _answers(self.root):
            self._put_back("")
            for entry in os.scandir(self.root / "tmp"):
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)
                        removed += 1
                except FileNotFoundError:
                    continue
        return removed

    def _found(self, name: str, look: Callable[[Path], T]) -> T | None:
        """None if it is not there, nor was taken aside by a collection."""
        path = self.path(name)
        try:
            return look(path)
        except FileNotFoundError:
            if not self._put_back(name):
                return None
        try:
            return look(path)
        except FileNotFoundError:
            return None

    def _put_back(self, name: str) -> bool:
        """What collections have taken aside, and were killed before they went on; "": all."""
        start = f"{ASIDE}-{name.replace('/', '-')}"
        is_back = False
        for found in os.listdir(self.root / "tmp"):
            if not found.startswith(start) or found.count("-") != ASIDE_DASHES:
                continue
            _, folder, own, _ = found.split("-")
            try:
                _link_there(self.root / "tmp" / found, self.path(f"{folder}/{own}"))
            except FileNotFoundError:
                continue  # removed for good, or back already
            if not name:
                (self.root / "tmp" / found).unlink(missing_ok=True)
            is_back = True
        return is_back

    def _put(self, name: str, content: Buffer, *, replace: bool) -> bool:
        final, file = self.path(name), self._temporary()
        with _answers(self.root):
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

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """A descriptor for the time of the block. Raises NotFound."""
        with _answers(self.root):
            descriptor = self._found(name, _open)
        if descriptor is None:
            raise no_object(name)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise no_object(name)
            yield descriptor
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    """Whoever laid a link or a pipe there leads nobody elsewhere and keeps nobody waiting."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        raise


def _link_there(file: Path, final: Path) -> None:
    try:
        os.link(file, final)
    except FileExistsError:
        return  # the same content: it was put anew


def _link(file: Path, final: Path) -> bool:
    """False if there is one already. A lost answer of a file server is no failure: then the link

    is there and the file has two names.
    """
    try:
        os.link(file, final)
    except FileExistsError:
        return file.stat().st_nlink == 2
    return True


@contextmanager
def _answers(root: Path) -> Iterator[None]:
    """Turns a full, read-only, forbidden or silent disk into errors that say what to do."""
    with disk_errors(root), _silence(root):
        try:
            yield
        except PermissionError as error:
            raise Unavailable(
                "depot-refused",
                f"the store of datasets at {root} is not this user's to use: {error.strerror}",
                hint="let who runs zenkei read and write there",
            ) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            # an object that is not there was dealt with; its folder always is
            raise Unavailable(
                "depot-unavailable",
                f"the store of datasets at {root} is not there any more",
                hint="look whether its file system is mounted, then try again",
            ) from error


@contextmanager
def _silence(root: Path) -> Iterator[None]:
    """What the silence of a file server looks like."""
    try:
        yield
    except OSError as error:
        if error.errno not in _SILENT:
            raise
        raise Unavailable(
            "depot-unavailable",
            f"the store of datasets at {root} does not answer: {error.strerror}",
            hint="look at the disk or the file server, then try again",
        ) from error
