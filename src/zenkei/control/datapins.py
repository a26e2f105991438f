"""The document that says which versions of which datasets a job reads.

Made when a job is prepared, stored as content, named by the job's row and its record. One line of
JSON, keys sorted: the same versions at the same places have the same digest.

    {"datasets":[{"at":"data/digits","digest":"b3:…","files":9,"name":"digits","number":3,
      "shuffle":null,"size_bytes":123,"split":null}],"version":1,"zenkei":"data"}
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from zenkei.model.data import Digest, is_digest
from zenkei.model.dataset import DatasetPin, Shuffle, Split
from zenkei.model.errors import EngineError, InvalidInput
from zenkei.model.ids import AttemptId
from zenkei.ports.blobs import Blobs
from zenkei.ports.engine import Engine

VERSION = 1
MOST_BYTES = 16 << 20
_ROWS = re.compile(r"b2:[0-9a-f]{64,128}")


class PinCache:
    """Stored lists by digest, read once: they never change."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._read = lru_cache(4096)(self._load)

    def put(self, pins: Iterable[DatasetPin]) -> Digest:
        """Empty for a job without datasets."""
        listed = tuple(pins)
        return self._blobs.put(dump(listed)) if listed else Digest("")

    def get(self, digest: Digest) -> tuple[DatasetPin, ...]:
        """Raises NotFound if the content is gone."""
        return self._read(digest) if digest else ()

    def _load(self, digest: Digest) -> tuple[DatasetPin, ...]:
        return load(self._blobs.get(digest))


def rows_digests(engine: Engine, attempt: AttemptId) -> dict[str, str]:
    """Digests of the rows that splits came to on the first node, by place; empty if unknown.

    The job could have written there: what is not of that form is left out.
    """
    try:
        document = json.loads(engine.read(attempt, "datasets/0", 0, MOST_BYTES) or b"{}")
        rows = document.get("datasets", [])
        found = {str(row["at"]): str(row["rows_digest"]) for row in rows}
    except (EngineError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {at: digest for at, digest in found.items() if _ROWS.fullmatch(digest)}


def dump(pins: Iterable[DatasetPin]) -> bytes:
    rows = [dataclasses.asdict(pin) for pin in pins]
    document = {"zenkei": "data", "version": VERSION, "datasets": rows}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def load(content: bytes) -> tuple[DatasetPin, ...]:
    """Raises InvalidInput for what `dump` of this version did not write."""
    try:
        document = json.loads(content)
        if document["zenkei"] != "data" or document["version"] != VERSION:
            raise ValueError("of another kind or version")
        return tuple(pin_of(row) for row in document["datasets"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            "bad-data-document",
            f"the stored list of a job's datasets cannot be read: {error}",
            hint="it was written by a newer zenkei, or damaged",
        ) from error


def view(pin: DatasetPin) -> dict[str, Any]:
    """As the wire and the record show it."""
    return dataclasses.asdict(pin)


def pin_of(row: dict[str, Any]) -> DatasetPin:
    """Raises ValueError, KeyError, TypeError."""
    if not is_digest(row["digest"]):
        raise ValueError(f"{row['digest']!r} is no digest")
    return DatasetPin(
        name=str(row["name"]),
        number=int(row["number"]),
        digest=Digest(row["digest"]),
        at=str(row["at"]),
        files=int(row["files"]),
        size_bytes=int(row["size_bytes"]),
        split=_split(row["split"]),
        shuffle=_shuffle(row["shuffle"]),
    )


def _split(row: dict[str, Any] | None) -> Split | None:
    if row is None:
        return None
    parts = tuple((str(name), float(part)) for name, part in row["parts"])
    return Split(parts=parts, seed=int(row["seed"]), by=str(row["by"]))


def _shuffle(row: dict[str, Any] | None) -> Shuffle | None:
    return None if row is None else Shuffle(seed=int(row["seed"]), epoch=int(row["epoch"]))
