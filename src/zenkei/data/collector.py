"""Implements `ports.upkeep.Collector` over the directory store; named by `app`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zenkei.data import gc
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.export import export
from zenkei.model.data import Digest, Manifest
from zenkei.ports.trees import LeftOut


class DirectoryCollector:
    """checkouts: the folder of trees that are laid out for jobs."""

    def __init__(self, blobs: DirectoryBlobs, checkouts: Path) -> None:
        self._blobs = blobs
        self._checkouts = checkouts

    def collect(self, roots: Iterable[Digest], trees: Iterable[Digest]) -> tuple[int, int]:
        gc.collect_checkouts(self._blobs, self._checkouts, trees)
        found = gc.collect(self._blobs, roots)
        return found.contents, found.freed_bytes

    def export(self, manifest: Manifest, to: Path, *, overwrite: bool) -> tuple[LeftOut, ...]:
        return export(self._blobs, manifest, to, overwrite=overwrite)
