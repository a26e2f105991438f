"""Datasets: names, versions, tags, who may do what. Words only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput

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
    """An entry of job.yaml. version: as in `Reference`, as text: `@3`, `:stable`, or empty.

    at: where the job finds it: absolute, or relative to its working directory.
    """

    name: str
    at: str
    version: str = ""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Which version somebody means: `digits`, `digits@3`, `digits@b3:41c0…`, `digits:stable`.

    number 0, no digest and no tag: the newest commit. digest: whole, or its first digits.
    """

    name: str
    number: int = 0
    digest: str = ""
    tag: str = ""

    def __str__(self) -> str:
        if self.number or self.digest:
            return f"{self.name}@{self.digest or self.number}"
        return f"{self.name}:{self.tag}" if self.tag else self.name


NAME_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,99}"
TAG_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_NAME: Final = re.compile(NAME_PATTERN)
_TAG: Final = re.compile(TAG_PATTERN)
_DIGEST_START: Final = re.compile(r"b3:[0-9a-f]{8,64}")


def parse_reference(text: str) -> Reference:
    """Raises InvalidInput for what cannot name a version."""
    name, at, version = text.partition("@")
    tag = ""
    if not at:
        name, at, tag = text.partition(":")
        if at and not _TAG.fullmatch(tag):
            raise _bad_reference(text)
    if not _NAME.fullmatch(name):
        raise _bad_reference(text)
    if not version:
        if text.endswith("@"):
            raise _bad_reference(text)
        return Reference(name=name, tag=tag)
    if _DIGEST_START.fullmatch(version):
        return Reference(name=name, digest=version)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise _bad_reference(text)
    return Reference(name=name, number=int(version))


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def _bad_reference(text: str) -> InvalidInput:
    return InvalidInput(
        "bad-dataset-reference",
        f"`{text[:80]}` does not name a dataset or a version of one",
        hint="write NAME, NAME@3, NAME@b3:… or NAME:TAG; a name has small letters, digits, "
        "`.`, `_` and `-`",
    )
