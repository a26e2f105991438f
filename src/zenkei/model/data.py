"""Content by digest: places are (store, digest), never bare paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

Digest = NewType("Digest", str)
"""Algorithm and hexadecimal digest: `b3:` and 64 digits (BLAKE3)."""

_DIGEST = re.compile(r"b3:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


class EntryKind(StrEnum):
    """What a row of a manifest is."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One path of a manifest. `path`: relative, `/`-separated, bytes decoded by surrogateescape.

    digest: of the content (files). target: where a link points. Directories appear only when empty.
    """

    path: str
    kind: EntryKind
    mode: int = 0o644
    size_bytes: int = 0
    digest: Digest = Digest("")
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Immutable list behind code trees, environments, results, dataset versions; sorted by path."""

    digest: Digest
    entries: tuple[Entry, ...]
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GitState:
    """What git said of a working tree when it was taken. Texts are empty where it said nothing.

    remote: without credentials. diff: digest of the diff against the commit, if dirty; diff_cut:
    it was longer than what is kept.
    """

    commit: str = ""
    branch: str = ""
    remote: str = ""
    dirty: bool = False
    diff: Digest = Digest("")
    diff_bytes: int = 0
    diff_cut: bool = False


class CheckpointState(StrEnum):
    """SAVED: on its nodes only. KEPT: where any attempt finds it. PRUNED: made room for newer ones.

    LOST: it could not be kept, or was found damaged; the reason stands beside it.
    """

    SAVED = "saved"
    KEPT = "kept"
    PRUNED = "pruned"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointPart:
    """What the ranks of one node saved. path: relative to the attempt's checkpoint directory."""

    node_rank: int
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Progress of one attempt at `step`. manifest: its content, once it is KEPT."""

    attempt: str
    step: int
    state: CheckpointState
    reason: str = ""
    parts: tuple[CheckpointPart, ...] = ()
    manifest: Digest = Digest("")
    files: int = 0
    size_bytes: int = 0
    at_us: int = 0


class ResultState(StrEnum):
    """Of a Result, not of the job: the devices are free before sealing starts.

    REMOVED: somebody has given up its files; its record stays.
    """

    SEALING = "sealing"
    SEALED = "sealed"
    INCOMPLETE = "incomplete"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one attempt left: its output manifest and its record (both by digest)."""

    attempt: str
    state: ResultState
    reason: str = ""
    output: Digest = Digest("")
    record: Digest = Digest("")
    files: int = 0
    size_bytes: int = 0
    at_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultTag:
    """A name that people give to the result of an attempt. attempt: empty where it was taken away.

    seq: place in the history of all names, set when it is kept.
    """

    project: str
    tag: str
    attempt: str
    by: str
    at_us: int = 0
    seq: int = 0
