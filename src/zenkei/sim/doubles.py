"""Doubles of the remaining ports: builder, trees, blobs, workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import BinaryIO

from zenkei.model.data import Digest, Manifest
from zenkei.model.errors import NotFound, Unavailable
from zenkei.model.job import CodeRequest, EnvRequest
from zenkei.ports.trees import Piece, Snapshot
from zenkei.sim.clock import VirtualClock
from zenkei.sim.faults import Faults


def fake_digest(text: str) -> Digest:
    """A digest of the right form: SHA-256 stands in for BLAKE3."""
    return Digest("b3:" + hashlib.sha256(text.encode()).hexdigest())


class BuilderDouble:
    """Locks at once, or does not answer for a while."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def lock(self, request: EnvRequest, progress: Callable[[str], None]) -> Digest:
        if self._faults.chance(self._faults.rates.build_error):
            raise Unavailable("index-silent", "the package index does not answer")
        progress("locked")
        return fake_digest(repr(request))

    def realise(self, lock: Digest, progress: Callable[[str], None]) -> str:
        return f"/envs/{lock}"


class BlobsDouble:
    """Content in memory."""

    def __init__(self) -> None:
        self._content: dict[Digest, bytes] = {}

    def put(self, content: bytes) -> Digest:
        digest = fake_digest(content.hex())
        self._content[digest] = content
        return digest

    def put_many(self, contents: Iterable[bytes]) -> tuple[Digest, ...]:
        return tuple(self.put(content) for content in contents)

    def put_file(self, file: BinaryIO) -> tuple[Digest, int]:
        content = file.read()
        return self.put(content), len(content)

    def get(self, digest: Digest) -> bytes:
        if digest not in self._content:
            raise NotFound("no-such-blob", f"nothing is stored under {digest}")
        return self._content[digest]

    def open(self, digest: Digest) -> BinaryIO:
        return BytesIO(self.get(digest))

    def has(self, digest: Digest) -> bool:
        return digest in self._content

    def missing(self, digests: Iterable[Digest]) -> frozenset[Digest]:
        return frozenset(d for d in digests if d not in self._content)

    def delete(self, digest: Digest) -> None:
        self._content.pop(digest, None)

    def digests(self) -> Iterator[tuple[Digest, int]]:
        return iter([(digest, len(content)) for digest, content in self._content.items()])


class ForgetfulBlobs(BlobsDouble):
    """Gives digests and keeps nothing: for runs of many jobs whose records nobody reads."""

    def put(self, content: bytes) -> Digest:
        return Digest("b3:" + hashlib.sha256(content).hexdigest())


class TreesDouble:
    """Every output is the same small tree."""

    def snapshot(self, root: Path, request: CodeRequest) -> Snapshot:
        tree = fake_digest(str(root))
        return Snapshot(tree=tree, source=tree, files=1, size_bytes=1, stored=0)

    def manifest(self, tree: Digest) -> Manifest:
        return Manifest(digest=tree, entries=(), size_bytes=0)

    def checkout(self, tree: Digest, to: Path) -> None:
        """Nothing is laid out in a virtual world."""

    def seal(self, places: tuple[Path, ...]) -> tuple[Digest, int, int]:
        return fake_digest(str(places)), 1, 10

    def gather(self, pieces: tuple[Piece, ...]) -> tuple[Digest, int, int]:
        return fake_digest(str(pieces)), len(pieces), 10 * len(pieces)


class WorkersDouble:
    """Work runs at a seeded moment on the virtual clock, unless its controller died meanwhile."""

    def __init__(
        self, clock: VirtualClock, rng: Random, run: Callable[[Callable[[], None]], None]
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._run = run

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        self._clock.call_in(self._rng.uniform(0.0, 0.2), lambda: self._run(work))
