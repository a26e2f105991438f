"""Least recently used objects leave a node's cache when it needs room; what is held stays.

Called by `cache` before a fetch and by the request `evict`. One evictor at a time. Between its look
at the holders and its unlink somebody may begin to hold: `ladder` then finds an object missing and
fetches again. What is mounted keeps its files open, whatever their names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from zenkei.data import disk
from zenkei.data.node import mounting
from zenkei.data.node.cache import iterate_records
from zenkei.data.node.claims import Claims
from zenkei.data.node.holders import Holders
from zenkei.data.node.layout import COPIES, MOUNTS, OBJECTS, PACKS, Layout
from zenkei.model.errors import Unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Cached:
    """size: bytes that would be free without it: none of a hard link into the depot."""

    kind: str
    name: str
    size: int
    used_s: float
    held: bool


def cached(layout: Layout, holders: Holders) -> list[Cached]:
    """Everything in the cache that can be fetched or made again."""
    held = held_names(layout, holders)
    found = []
    for kind in OBJECTS:
        for name in layout.names(kind):
            with contextlib.suppress(FileNotFoundError):
                status = layout.place(kind, name).lstat()
                size = status.st_size if status.st_nlink == 1 else 0
                used_s = layout.used_s(kind, name)
                found.append(
                    Cached(kind=kind, name=name, size=size, used_s=used_s, held=name in held)
                )
    return found


def held_names(layout: Layout, holders: Holders) -> set[str]:
    """Versions and packs that live holders need."""
    versions = {hold.version for hold in holders.all() if hold.is_live()}
    packs = {
        pack
        for record in iterate_records(layout)
        if record.name in versions
        for pack, _ in record.packs
    }
    return versions | packs


class Eviction:
    """budget_bytes: what the cache may have in all; 0 is as much as the disk has."""

    def __init__(
        self, layout: Layout, holders: Holders, claims: Claims, *, budget_bytes: int = 0
    ) -> None:
        self._layout = layout
        self._holders = holders
        self._claims = claims
        self._budget_bytes = budget_bytes

    def make_room(self, size: int) -> None:
        """For `size` more bytes. Raises Unavailable if what is held leaves too little."""
        free = disk.free_bytes(self._layout.root)
        if not self._budget_bytes and free >= size:
            return
        with self._claims.held("eviction"):
            everything = cached(self._layout, self._holders)
            used = sum(each.size for each in everything)
            over = used + size - self._budget_bytes if self._budget_bytes else 0
            wanted = max(over, size - free)
            loose = sum(each.size for each in everything if not each.held)
            if wanted > loose:
                raise _full(size, used - loose, self._budget_bytes or free + used)
            self._remove(everything, wanted)

    def evict(self, size: int) -> int:
        """At least `size` bytes if that much is not held; how many it was."""
        with self._claims.held("eviction"):
            return self._remove(cached(self._layout, self._holders), size)

    def sweep(self) -> None:
        """Dead holders, mounts and copies of nobody, unfinished files."""
        self._holders.sweep()
        self._layout.sweep()
        self._claims.sweep()
        for path in (self._layout.root / MOUNTS).iterdir():
            # who is at work on it will leave it in order, or be swept up after
            if (claim := self._claims.attempt(f"mount-{path.name}")) is not None:
                with claim:
                    self._unmount_unused(path.name)
        copies = self._layout.root / COPIES
        for folder in copies.iterdir():
            live = {hold.path for hold in self._holders.of(folder.name)}
            for copy in folder.iterdir():
                # one that is being made ends in `.part` and belongs to a live holder, too
                if str(copy).removesuffix(".part") not in live:
                    self._layout.remove_tree(copy)

    def unmount_unused(self, version: str) -> bool:
        with self._claims.held(f"mount-{version}"):
            return self._unmount_unused(version)

    def _unmount_unused(self, version: str) -> bool:
        if self._holders.of(version):
            return False
        path = self._layout.mount(version)
        mounted = mounting.is_mount(path) and mounting.unmount(path)
        # mounted in another namespace as well: it stays there, and the directory with it
        with contextlib.suppress(OSError):
            path.rmdir()
        return mounted

    def _remove(self, everything: list[Cached], size: int) -> int:
        removed = 0
        for each in _by_use(everything):
            if removed >= size:
                break
            self._layout.forget(each.kind, each.name)
            removed += each.size
        return removed


def _by_use(everything: list[Cached]) -> Iterator[Cached]:
    """Packs before tables, images, indexes of the same age: these are small and dear to make."""
    loose = [each for each in everything if not each.held and each.size]
    yield from sorted(loose, key=lambda each: (each.used_s, each.kind != PACKS, each.name))


def _full(size: int, held: int, budget: int) -> Unavailable:
    return Unavailable(
        "cache-full",
        f"this node's cache has no room for {size} more bytes: {held} of {budget} are in use",
        hint="wait until jobs on this node end, give the cache a larger budget, or send the job "
        "to another node",
        details={"needed_bytes": size, "held_bytes": held, "budget_bytes": budget},
    )
