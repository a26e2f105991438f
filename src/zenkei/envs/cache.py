"""uv's cache, private to zenkei, and the ledger that tells whether something else changed it.

Called by `locking` and `realising` around every use of uv. uv checks hashes when a package is
downloaded, not when it is installed from its cache, so a changed cache would poison every later
environment. After a use everything in the cache is signed; before the next one what no longer has
its signature, or never had one (a builder was killed), is removed and fetched again. Uses may
overlap: the first of them checks, the last one signs. What changes the cache while it is in use is
not seen.
Cost: 5 µs an entry, twice per build; none when nothing is built.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zenkei.envs import files, signature
from zenkei.model.wording import count

log = logging.getLogger(__name__)

_UNPACKED: Final = "archive-v"


class Cache:
    """root: holds `uv` (the cache), `ledger.json` and `lock`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "uv"
        self._ledger = root / "ledger.json"

    @contextmanager
    def session(self, say: Callable[[str], None]) -> Iterator[Path]:
        """The cache's folder for one use of uv: checked before if nobody else uses it now."""
        files.private(self.folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.root / "lock", flags, 0o600)
        try:
            if _alone(descriptor):
                self._check(say)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            try:
                yield self.folder
            finally:
                if _alone(descriptor):
                    self._sign()
        finally:
            os.close(descriptor)

    def clear(self) -> int:
        """Remove all that is cached, unless it is in use; returns the bytes that were freed."""
        files.private(self.folder)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _alone(descriptor):
                return 0
            _, occupied = signature.count(self.folder)
            files.remove(self.folder)
            self._ledger.unlink(missing_ok=True)
            return occupied
        finally:
            os.close(descriptor)

    def occupied(self) -> int:
        return signature.count(self.folder)[1] if self.folder.is_dir() else 0

    def _check(self, say: Callable[[str], None]) -> None:
        known = files.read_json(self._ledger) or {}
        found = dict(self._units())
        changed = [unit for unit, sign in found.items() if known.get(unit) != sign]
        packages = (unit for unit in known if unit.startswith(_UNPACKED))
        if any(found.get(unit) != known[unit] for unit in packages):
            # uv follows its notes to a package without looking whether it is there
            files.remove(self.folder)
            files.private(self.folder)
        else:
            for unit in changed:
                files.remove(self.folder / unit)
        if changed:
            log.warning("removed from uv's cache: %d changed entries", len(changed))
            what = count(len(changed), "entry is", "entries are")
            say(f"the package cache was changed; {what} fetched again")

    def _sign(self) -> None:
        """Failing costs a download and must not hide how the use itself ended."""
        try:
            signature.settle()
            content = json.dumps(dict(self._units())).encode()
            files.write(self._ledger, content, durable=False)
        except OSError as error:
            log.warning("uv's cache could not be signed, it will be fetched again: %s", error)
            self._ledger.unlink(missing_ok=True)

    def _units(self) -> Iterator[tuple[str, str]]:
        """An unpacked package is one unit, every other file is one."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self.folder / folder) as entries:
                for entry in entries:
                    unit = f"{folder}{entry.name}"
                    if not entry.is_dir(follow_symlinks=False):
                        yield unit, _of_file(entry.stat(follow_symlinks=False))
                    elif folder.startswith(_UNPACKED):
                        yield unit, signature.sign_small(entry.path)
                    else:
                        waiting.append(f"{unit}/")


def _of_file(s: os.stat_result) -> str:
    # locks are opened for writing by every use, and nothing is read from them
    if stat.S_ISREG(s.st_mode) and s.st_size == 0:
        return "empty"
    return repr((s.st_mode, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns))


def _alone(descriptor: int) -> bool:
    """Lock against all others without waiting; a shared lock held before is given up either way."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
