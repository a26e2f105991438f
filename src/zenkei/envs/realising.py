"""A lock becomes a directory on this machine: built at most once, checked before each reuse.

Called by `builder`. A build goes into a directory with a new name, under its final path from the
start (console scripts hold the path), and exists for everybody only from the moment its record is
renamed into place. One builder at a time per environment, across threads and processes; a builder
that dies leaves a directory without a record, which the next one removes.

A job may write into its environment where it cannot be shown read-only. Before each reuse the
signature of all that was built is compared (see `signature`); if it differs, the environment is
built anew under another name. The changed directory stays until its lock is not in use, because
running jobs may still load from it. Cost: see `signature`.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from zenkei.envs import files, lockfile, signature
from zenkei.envs.cache import Cache
from zenkei.envs.flights import Flight, Flights, Say
from zenkei.envs.lockfile import Lock
from zenkei.envs.locking import platform_tag
from zenkei.envs.pythons import Python, Pythons
from zenkei.envs.records import Record, Records
from zenkei.envs.uv import Uv
from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput
from zenkei.model.wording import count
from zenkei.ports.blobs import Blobs

log = logging.getLogger(__name__)

_FICLONE: Final = 0x40049409
"""ioctl of Linux: share a file's blocks with another file, copied when either is written."""


class Realiser:
    """root: holds trees, claims and temporary folders of one machine."""

    def __init__(
        self,
        *,
        root: Path,
        blobs: Blobs,
        uv: Uv,
        cache: Cache,
        pythons: Pythons,
        records: Records,
    ) -> None:
        self.trees = files.private(root / "trees")
        self.claims = files.private(root / "claims")
        self._work = files.private(root / "work")
        self._blobs = blobs
        self._uv = uv
        self._cache = cache
        self._pythons = pythons
        self._records = records
        self._flights: Flights[str] = Flights()
        self._link_mode = ""

    def realise(self, digest: Digest, say: Say) -> str:
        """Path of the environment; empty for the empty digest (the node's own Python)."""
        if not digest:
            return ""
        lock = lockfile.decode(self._blobs.get(digest))
        if lock.platform != platform_tag():
            raise InvalidInput(
                "lock-platform",
                f"the environment was locked for {lock.platform}, this machine is {platform_tag()}",
                hint="submit the job file again: it is locked for this machine then",
            )
        python = self._pythons.like(lock.python, exact=lock.exact)
        key = environment_key(digest, python)

        def work(flight: Flight[str]) -> str:
            return self._once(key, digest, lock, python, flight)

        return self._flights.run(key, work, say)

    def claim_of(self, key: str) -> Path:
        return self.claims / key

    def path_of(self, record: Record) -> Path:
        return self.trees / record.tree

    def intact(self, record: Record) -> bool:
        """Whether nothing was changed since it was built, its base interpreter included."""
        return signature.matches(
            record.signature, self.path_of(record), outside=(record.interpreter,)
        )

    def remove_trees(self, key: str, *, keep: tuple[str, ...] = ()) -> None:
        """Directories of this environment that no record needs. The caller holds the claim."""
        for path in self.trees.glob(f"{key[:20]}-*"):
            if path.name not in keep:
                files.remove(path)

    def _once(
        self, key: str, digest: Digest, lock: Lock, python: Python, flight: Flight[str]
    ) -> str:
        def waiting() -> None:
            flight.joinable = True
            flight.say("another process is building this environment; waiting for it")

        with files.disk_errors(self.trees), files.claimed(self.claim_of(key), waiting):
            record = self._records.get(key)
            if record is not None and self.intact(record):
                self._records.touch(key)
                return str(self.path_of(record))
            flight.joinable = True
            if record is not None:
                log.warning("environment changed since it was built lock=%s", digest)
                flight.say("the environment was changed since it was built; building it again")
            return self._build(key, digest, lock, python, record, flight.say)

    def _build(
        self,
        key: str,
        digest: Digest,
        lock: Lock,
        python: Python,
        before: Record | None,
        say: Say,
    ) -> str:
        retired = _retired(before)
        self.remove_trees(key, keep=retired)
        tree = self.trees / f"{key[:20]}-{files.token()}"
        work = files.private(self._work / tree.name)
        started = time.monotonic()
        try:
            wanted = count(len(lock.requirements), "package")
            say(f"building the environment: Python {python.version}, {wanted}")
            self._install(tree, lock, python, work, say)
            signature.settle()
            signed = signature.sign(tree, outside=(python.path,))
            entries, occupied = signature.count(tree)
            took_s = time.monotonic() - started
            record = Record(
                lock=digest,
                python=python.version,
                interpreter=python.path,
                platform=lock.platform,
                tree=tree.name,
                signature=signed,
                packages=tuple(line.split(" ", 1)[0] for line in lock.requirements),
                entries=entries,
                size_bytes=occupied,
                built_at_us=time.time_ns() // 1000,
                built_in_s=round(took_s, 3),
                retired=retired,
            )
            self._records.put(key, record)
        except BaseException:
            files.remove(tree)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        say(f"environment ready in {took_s:.1f} s")
        log.info("environment built lock=%s python=%s s=%.2f", digest, python.version, took_s)
        return str(tree)

    def _install(self, tree: Path, lock: Lock, python: Python, work: Path, say: Say) -> None:
        with self._cache.session(say):
            self._uv.venv(tree, python=python.path, version=python.version, work=work)
            if lock.requirements:
                self._uv.sync(
                    lock.body(),
                    tree,
                    version=python.version,
                    options=lock.options,
                    build=lock.build,
                    link_mode=self._linking(),
                    work=work,
                    say=say,
                )
        if lock.requirements:
            say("compiling bytecode")
            self._uv.bytecode(tree, work=work)

    def _linking(self) -> str:
        """Shared blocks where the file system can; never hard links: they are the same file."""
        if not self._link_mode:
            self._link_mode = "clone" if _can_clone(self._cache.folder, self.trees) else "copy"
        return self._link_mode


def environment_key(digest: Digest, python: Python) -> str:
    """One environment per lock, interpreter and platform."""
    parts = (digest, python.version, python.path, platform_tag(), platform.machine())
    return blake3("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _retired(before: Record | None) -> tuple[str, ...]:
    return () if before is None else (*before.retired, before.tree)


def _can_clone(source: Path, target: Path) -> bool:
    """Try it: uv falls back to hard links where it cannot."""
    one, other = source / f".clone-{files.token()}", target / f".clone-{files.token()}"
    try:
        one.write_bytes(b"x" * 4096)
        with open(one, "rb") as reading, open(other, "xb") as writing:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        return True
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        return False
    finally:
        for path in (one, other):
            with suppress(OSError):
                os.unlink(path)
