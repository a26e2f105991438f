"""Datasets: names, versions, tags, who may do what. Words only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from zenkei.model.data import Digest

LATEST = "latest"
"""The tag that each commit moves."""


class Permission(StrEnum):
    """Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Storing(StrEnum):
    """PACKED: the store has the content. REFERENCE: only where it lies, and what stat said."""

    PACKED = "packed"
    REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """To whom: `user:NAME`, `group:NAME` or `public`."""

    to: str
    permission: Permission


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The owner may do everything and needs no grant.

    revision: rises with every change of the dataset, its versions, tags and grants. newest: the
    highest number that a version ever had; numbers are never used again.
    """

    name: str
    owner: str
    revision: int = 0
    newest: int = 0
    grants: tuple[Grant, ...] = ()
    description: str = ""
    created_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetVersion:
    """number: 1, 2, … in the order of commits. parent: the number it was derived from, 0 if none.

    job: the attempt that made it, if one did. inputs: versions (`name@digest`) it was made from.
    """

    dataset: str
    number: int
    digest: Digest
    files: int
    size_bytes: int
    stored_bytes: int = 0
    storing: Storing = Storing.PACKED
    parent: int = 0
    job: str = ""
    inputs: tuple[str, ...] = ()
    message: str = ""
    by: str = ""
    at_us: int = 0


class DatasetEventKind(StrEnum):
    """What can happen to a dataset; all of it is kept, also after the dataset is removed."""

    CREATED = "created"
    COMMITTED = "committed"
    TAGGED = "tagged"
    UNTAGGED = "untagged"
    GRANTED = "granted"
    REVOKED = "revoked"
    DESCRIBED = "described"
    VERSION_REMOVED = "version_removed"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetEvent:
    """A line of a dataset's history. number: the version it is about, 0 if none.

    details: of a tag `tag` and `from` (the number before, empty if it is new); of a grant `to` and
    `permission`.
    """

    dataset: str
    kind: DatasetEventKind
    by: str
    number: int = 0
    details: dict[str, str] = field(default_factory=dict)
    at_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Fractions by name, in the file's order, summing to 1 at most. by: `file` or `group`."""

    parts: tuple[tuple[str, float], ...]
    seed: int = 0
    by: str = "file"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    seed: int = 0
    epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRequest:
    """A line of job.yaml. version: a number or digest as text; tag: with neither, `latest`.

    at: where the job finds it: absolute, or relative to its working directory.
    """

    name: str
    at: str
    version: str = ""
    tag: str = ""
    split: Split | None = None
    shuffle: Shuffle | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetPin:
    """What a request meant when the job was prepared; never changes afterwards."""

    name: str
    number: int
    digest: Digest
    at: str
    files: int = 0
    size_bytes: int = 0
    split: Split | None = None
    shuffle: Shuffle | None = None
