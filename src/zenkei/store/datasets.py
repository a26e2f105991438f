"""`ports.datasets.Registry` in memory: for the simulator and for tests; nothing is durable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from zenkei.model.data import Digest
from zenkei.model.dataset import Dataset, DatasetEvent, DatasetVersion
from zenkei.ports.datasets import DatasetChange, DatasetRows


class MemoryDatasets:
    """One for all controllers of a simulated world."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._rows: dict[str, DatasetRows] = {}
        self._log: list[DatasetEvent] = []
        self._lock = threading.Lock()

    def dataset(self, name: str) -> DatasetRows | None:
        return self._rows.get(name)

    def datasets(self) -> tuple[Dataset, ...]:
        return tuple(rows.dataset for _, rows in sorted(self._rows.items()))

    def version_of(self, digest: Digest) -> tuple[DatasetVersion, ...]:
        rows = [row for _, row in sorted(self._rows.items())]
        return tuple(v for row in rows for v in row.versions.values() if v.digest == digest)

    def digests(self) -> frozenset[Digest]:
        return frozenset(v.digest for rows in self._rows.values() for v in rows.versions.values())

    def history(self, name: str, *, limit: int = 1000) -> tuple[DatasetEvent, ...]:
        return tuple([event for event in self._log if event.dataset == name][-limit:])

    def is_at(self, change: DatasetChange) -> bool:
        """Whether the dataset is as it was when the change was decided on."""
        found = self._rows.get(change.name)
        return (found.dataset.revision if found else 0) == change.read

    def apply(self, change: DatasetChange) -> bool:
        with self._lock:
            found = self._rows.get(change.name)
            if not self.is_at(change):
                return False
            now_us = self._clock()
            self._log += [replace(e, at_us=e.at_us or now_us) for e in change.events]
            if change.dataset is None:
                del self._rows[change.name]
                return True
            versions = dict(found.versions) if found else {}
            added = [replace(v, at_us=v.at_us or now_us) for v in change.versions]
            versions.update((version.number, version) for version in added)
            tags = {**(found.tags if found else {}), **change.tags}
            row = replace(
                change.dataset,
                revision=change.read + 1,
                created_us=change.dataset.created_us or now_us,
            )
            self._rows[change.name] = DatasetRows(
                dataset=row,
                versions={n: v for n, v in versions.items() if n not in change.removed},
                tags={tag: number for tag, number in sorted(tags.items()) if number},
            )
            return True
