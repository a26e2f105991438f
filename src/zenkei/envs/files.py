"""Small file operations of this room: complete files, locks that die with their holder, removal.

Called by every other adapter of this room. Locks are flock: the kernel drops them when the holder
dies, by whatever death, so there is no stale claim to be told from a live one by pid.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from zenkei.model.errors import Unavailable

POLL_S: Final = 0.1


def private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def token() -> str:
    """Unique on this machine."""
    return os.urandom(4).hex()


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Visible complete or not at all."""
    temporary = path.with_name(f".{path.name}.{token()}")
    try:
        with open(temporary, "xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """None if it is not there or damaged: what is kept here can be made again."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def claimed(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold `path` against all threads and processes; calls `waiting` once if another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        told = False
        while not _try(descriptor, fcntl.LOCK_EX):
            if not told:
                waiting()
                told = True
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether someone holds the claim now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(tree: Path) -> None:
    """All of it, folders without write permission included; links are not followed."""
    if tree.is_symlink() or not tree.is_dir():
        tree.unlink(missing_ok=True)
    else:
        for folder, _, _ in os.walk(tree):
            if not os.lstat(folder).st_mode & 0o200:
                os.chmod(folder, 0o700)
        shutil.rmtree(tree)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full or read-only disk, said to a person."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(
                "disk-full",
                f"no space left where {path} lies",
                hint="`zenkei du` shows what zenkei keeps, `zenkei prune` removes what it can",
            ) from error
        if error.errno == errno.EROFS:
            raise Unavailable(
                "disk-read-only",
                f"the file system of {path} is read-only",
                hint="mount it writable, or move ZENKEI_HOME to another file system",
            ) from error
        raise
