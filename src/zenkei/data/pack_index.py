"""What all packs of a store hold, kept current while other processes add and remove packs.

Called by `blobs_dir`. Looking up costs a dictionary access; a miss costs one stat of the folder
unless it has changed. About 250 bytes of memory a packed content (100,000: 25 MB).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from zenkei.data.pack import DamagedPackError, Place, read_index

log = logging.getLogger("zenkei.data")

RACY_NS = 2_000_000_000
"""A folder changed this recently may change again without a new mtime."""


class PackIndex:
    """Thread-safe. A pack whose index is damaged is moved to `aside` and logged."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self._folder = folder
        self._aside = aside
        self._lock = threading.Lock()
        self._places: dict[bytes, Place] = {}
        self._names: set[str] = set()
        self._seen_ns = -1

    def known(self, raw: bytes) -> Place | None:
        """As `find`, without looking at the disk."""
        return self._places.get(raw)

    def find(self, raw: bytes) -> Place | None:
        """As last known: the pack may be gone (then `forget` it and look again)."""
        place = self._places.get(raw)
        if place is None and self._is_stale():
            self.refresh()
            place = self._places.get(raw)
        return place

    def add(self, name: str, rows: dict[bytes, tuple[int, int]]) -> None:
        """A pack that this process has just published."""
        with self._lock:
            self._names.add(name)
            for raw, (offset, size) in rows.items():
                self._places[raw] = Place(name, offset, size)

    def forget(self, name: str) -> None:
        """The pack is gone; what it held may lie in another one."""
        with self._lock:
            self._drop({name})
            self._seen_ns = -1

    def refresh(self) -> None:
        """Read what others have added and removed."""
        with self._lock:
            modified_ns = os.stat(self._folder).st_mtime_ns
            now_ns = time.time_ns()
            present = set(os.listdir(self._folder))
            gone = self._names - present
            if gone:
                # what a vanished pack held may have moved into a pack known already
                self._drop(self._names.copy())
            for name in present - self._names:
                self._load(name)
            self._seen_ns = modified_ns if modified_ns < now_ns - RACY_NS else -1

    def rows(self) -> Iterator[tuple[bytes, Place]]:
        """All rows at this moment."""
        self.refresh()
        with self._lock:
            rows = list(self._places.items())
        yield from rows

    def _is_stale(self) -> bool:
        return self._seen_ns == -1 or os.stat(self._folder).st_mtime_ns != self._seen_ns

    def _load(self, name: str) -> None:
        try:
            self._places.update(read_index(self._folder / name))
            self._names.add(name)
        except FileNotFoundError:
            return
        except DamagedPackError as error:
            kept = self._aside / f"{name}-{time.time_ns()}"
            log.error("pack set aside pack=%s kept=%s why=%s", name, kept, error)
            try:
                os.rename(self._folder / name, kept)
            except FileNotFoundError:
                return

    def _drop(self, names: set[str]) -> None:
        self._names -= names
        self._places = {raw: row for raw, row in self._places.items() if row.pack not in names}
