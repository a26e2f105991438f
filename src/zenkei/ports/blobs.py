"""One content store for code, results, environments' locks and datasets; implemented by `data`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from zenkei.model.data import Digest


class Blobs(Protocol):
    """Immutable content by digest. A put is idempotent, atomic, and durable when it returns."""

    def put(self, content: bytes) -> Digest: ...

    def put_many(self, contents: Iterable[bytes]) -> tuple[Digest, ...]:
        """All at once, for about the cost of one put."""

    def put_file(self, file: BinaryIO) -> tuple[Digest, int]:
        """Streams a file in; returns digest and size in bytes."""

    def get(self, digest: Digest) -> bytes:
        """Raises NotFound, or InternalError if what is stored no longer has that digest."""

    def open(self, digest: Digest) -> BinaryIO:
        """A reader that verifies the digest at the end of the stream."""

    def has(self, digest: Digest) -> bool: ...

    def missing(self, digests: Iterable[Digest]) -> frozenset[Digest]: ...

    def delete(self, digest: Digest) -> None: ...

    def digests(self) -> Iterator[tuple[Digest, int]]:
        """All that is stored, with sizes."""
