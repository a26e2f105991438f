"""What is known about datasets, and the machine that works on their content.

`Registry` is implemented by `store`, `DataWorks` by `data`. Names, versions, tags and grants are
rows; content is in a depot, by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zenkei.model.data import Digest
from zenkei.model.dataset import Dataset, DatasetEvent, DatasetVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRows:
    """A dataset with all of its versions, by number, and its tags: number by name."""

    dataset: Dataset
    versions: Mapping[int, DatasetVersion]
    tags: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetChange:
    """One transaction. read: the revision that it was decided on (0: there was none).

    dataset: how the row is afterwards; its `revision` is set by the registry. None: removed, with
    versions and tags. tags: number by name; 0 takes the tag away.
    """

    name: str
    read: int
    dataset: Dataset | None
    versions: tuple[DatasetVersion, ...] = ()
    removed: tuple[int, ...] = ()
    tags: Mapping[str, int] = field(default_factory=dict)
    events: tuple[DatasetEvent, ...] = ()


class Registry(Protocol):
    """All methods may be called from any thread; a change is atomic and durable."""

    def dataset(self, name: str) -> DatasetRows | None: ...

    def datasets(self) -> tuple[Dataset, ...]:
        """By name."""

    def version_of(self, digest: Digest) -> tuple[DatasetVersion, ...]:
        """Every version with this content, of any dataset."""

    def digests(self) -> frozenset[Digest]:
        """Of all versions: their content must be kept."""

    def history(self, name: str, *, limit: int = 1000) -> tuple[DatasetEvent, ...]:
        """The newest `limit`, oldest first."""

    def apply(self, change: DatasetChange) -> bool:
        """False, and nothing changed, if the dataset is no longer at the revision that was read.

        Times of events, versions and a new dataset that are 0 are set to the database's clock.
        """


class DataWorks(Protocol):
    """Heavy work on content, outside the daemon's process.

    Raises the error that the worker reported, or Unavailable if it died.
    """

    def run(
        self, order: Mapping[str, Any], said: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        """Do `order` (`{"do": "commit", …}`), tell progress, return what it found.

        If `said` raises, the worker is ended and the exception goes on.
        """
