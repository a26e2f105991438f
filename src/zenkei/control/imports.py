"""What was kept of jobs that ran in another installation: logs, metrics, where they came from.

Called by `queries`. It came with a capsule and is a tree of contents, named by the job's row: the
streams of its attempts in parts of PART_BYTES, `1/metrics-0/000000`, and `origin.json`. Cost: a
read of the tree, and of the parts that are asked for; both are kept for a while.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from zenkei.model.data import Digest
from zenkei.model.errors import NotFound
from zenkei.model.ids import AttemptId
from zenkei.ports.blobs import Blobs
from zenkei.ports.trees import Trees

ORIGIN: Final = "origin.json"
PART_BYTES: Final = 4 << 20


def part_path(attempt: int, stream: str, part: int) -> str:
    """Where a part of a stream of an attempt lies in the tree."""
    return f"{attempt}/{stream.replace('/', '-')}/{part:06}"


class Imports:
    """Contents never change: what was read once is right."""

    def __init__(self, blobs: Blobs, trees: Trees) -> None:
        self._blobs = blobs
        self._trees = trees
        self._listed = lru_cache(64)(self._list)
        # followers ask for their logs piece by piece
        self._part = lru_cache(8)(blobs.get)

    def read(
        self, origin: Digest, attempt: AttemptId, stream: str, offset: int, size: int
    ) -> bytes:
        """Empty for a stream that was not kept, and behind its end."""
        listed, pieces, wanted = self._listed(origin), [], size
        while wanted > 0:
            part, start = divmod(offset, PART_BYTES)
            digest = listed.get(part_path(attempt.number, stream, part))
            piece = self._part(digest)[start : start + wanted] if digest else b""
            pieces.append(piece)
            offset, wanted = offset + len(piece), wanted - len(piece)
            if not piece or offset % PART_BYTES:
                break  # only the last part is shorter
        return b"".join(pieces)

    def origin(self, origin: Digest) -> dict[str, Any]:
        """`origin.json`: installation, job, owner, capsule, times, datasets that are missing."""
        digest = self._listed(origin).get(ORIGIN)
        if digest is None:
            raise NotFound("no-such-content", f"{origin} does not say where its job ran")
        found: dict[str, Any] = json.loads(self._blobs.get(digest))
        return found

    def _list(self, origin: Digest) -> dict[str, Digest]:
        return {entry.path: entry.digest for entry in self._trees.manifest(origin).entries}
