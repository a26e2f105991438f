"""A request becomes a lock: pinned packages with hashes, as content, once for equal requests.

Called by `builder`. Answers are kept in a folder by what was asked (packages, Python, platform,
build flag, index settings) and have no expiry: the same job file gives the same environment
tomorrow. `upgrade` asks again. Cost: known 1 ms; new 0.1 s to several, mostly the index.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from zenkei.envs import files, lockfile, wishes
from zenkei.envs.cache import Cache
from zenkei.envs.flights import Flight, Flights, Say
from zenkei.envs.person import Person
from zenkei.envs.pythons import Python, Pythons
from zenkei.envs.uv import Uv
from zenkei.envs.wishes import Wishes
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.job import EnvRequest
from zenkei.model.wording import count
from zenkei.ports.blobs import Blobs


def platform_tag() -> str:
    """System, processor, C library: what decides whether a wheel can run here."""
    try:
        libc = (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").split()[0]
    except (OSError, ValueError):
        libc = "musl"
    return f"{sys.platform}-{platform.machine()}-{libc}"


class Locker:
    """root: known answers. work: temporary folders."""

    def __init__(
        self,
        *,
        root: Path,
        work: Path,
        blobs: Blobs,
        uv: Uv,
        cache: Cache,
        pythons: Pythons,
        person: Person,
    ) -> None:
        self._root = files.private(root)
        self._work = files.private(work)
        self._blobs = blobs
        self._uv = uv
        self._cache = cache
        self._pythons = pythons
        self._indexes = person.index_identity()
        self._mask = person.mask
        self._flights: Flights[Digest] = Flights()

    def lock(self, request: EnvRequest, say: Say, *, upgrade: bool = False) -> Digest:
        """Raises InvalidInput or Unavailable, with the resolver's words."""
        if not request.needs_build:
            return Digest("")
        asked = wishes.of(request)
        python = self._pythons.choose(request.python)
        known = self._root / self._identity(request, asked, python)
        if not upgrade:
            try:
                return self._blobs.put(known.read_bytes())
            except FileNotFoundError:
                pass

        def resolve(flight: Flight[Digest]) -> Digest:
            flight.joinable = True
            lock = self._resolve(request, asked, python, flight.say)
            content = lock.encode()
            digest = self._blobs.put(content)
            files.write(known, content)
            return digest

        with files.disk_errors(self._root):
            return self._flights.run(known.name, resolve, say)

    def forget(self) -> int:
        """Every later request is resolved anew; returns how many answers were known."""
        known = [path for path in self._root.iterdir() if path.is_file()]
        for path in known:
            path.unlink(missing_ok=True)
        return len(known)

    def _identity(self, request: EnvRequest, asked: Wishes, python: Python) -> str:
        """Of everything that decides the answer."""
        parts = [
            lockfile.FORMAT,
            python.version,
            _exact(request),
            platform_tag(),
            request.build,
            asked.lines,
            asked.options,
            asked.locked,
            "" if asked.locked else self._indexes,
        ]
        return blake3(json.dumps(parts).encode()).hexdigest()

    def _resolve(
        self, request: EnvRequest, asked: Wishes, python: Python, say: Say
    ) -> lockfile.Lock:
        if asked.locked or not asked.lines:
            pins = asked.lines
        else:
            say(f"resolving {count(len(asked.lines), 'package')} for Python {python.version}")
            pins = self._compile(request, asked, python, say)
        lock = lockfile.Lock(
            python=python.version,
            exact=_exact(request),
            platform=platform_tag(),
            build=request.build,
            options=tuple(option for option in asked.options if "--prerelease" not in option),
            requirements=pins,
        )
        if self._mask(lock.body()) != lock.body():
            raise InvalidInput(
                "environment-credential",
                "the index names packages by addresses that hold a credential, and locks are kept",
                hint="use an index that signs in by netrc or UV_INDEX_*_PASSWORD",
            )
        return lock

    def _compile(
        self, request: EnvRequest, asked: Wishes, python: Python, say: Callable[[str], None]
    ) -> tuple[str, ...]:
        work = files.private(self._work / files.token())
        try:
            with self._cache.session(say):
                text = self._uv.compile(
                    "".join(f"{line}\n" for line in asked.lines),
                    python=python.path,
                    version=python.version,
                    options=asked.options,
                    build=request.build,
                    work=work,
                    say=say,
                )
        finally:
            shutil.rmtree(work, ignore_errors=True)
        try:
            return lockfile.pinned(lockfile.logical_lines(text))
        except InvalidInput as error:
            raise InternalError(
                "unexpected-lock", f"uv's answer is not understood: {error.message[:500]}"
            ) from error


def _exact(request: EnvRequest) -> bool:
    return request.python.count(".") == 2
