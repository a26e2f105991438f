"""BLAKE3 digests as text (`b3:` and 64 digits) and as 32 bytes."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from zenkei.model.data import Digest, is_digest
from zenkei.model.errors import InvalidInput

PREFIX: Final = "b3:"


def digest_of(content: bytes) -> Digest:
    return Digest(PREFIX + blake3(content).hexdigest())


def to_digest(raw: bytes) -> Digest:
    return Digest(PREFIX + raw.hex())


def to_raw(digest: str) -> bytes:
    """Raises InvalidInput: a digest becomes a file name, so nothing else gets through."""
    if not is_digest(digest):
        raise InvalidInput(
            "bad-digest",
            f"{digest[:80]!r} is not a digest",
            hint="a digest is `b3:` followed by 64 hexadecimal digits",
        )
    return bytes.fromhex(digest[len(PREFIX) :])
