"""Checkpoints of each job in a store of content of its own, so that what is pruned goes at once.

Implements `ports.trees.Checkpoints`; named by `app`. In the store that all share nothing may be
removed before all that refers to it is known, and not within a day; a training would fill the disk
meanwhile. Here the job's own kept checkpoints are all that refers to anything. Contents that do not
change from one checkpoint to the next are stored once. A forgotten job's folder goes as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from zenkei.data import gc
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest
from zenkei.model.ids import JobId

AT_ONCE_S: Final = 0.0
"""Only one writes here, and sweeps after it has written: what nobody refers to needs no grace."""


class JobCheckpoints:
    """place: the folder of a job's store."""

    def __init__(self, place: Callable[[JobId], Path]) -> None:
        self._place = place

    def trees(self, job: JobId) -> DirectoryTrees:
        blobs = self._blobs(job)
        return DirectoryTrees(blobs, state=blobs.root)

    def sweep(self, job: JobId, keep: frozenset[Digest]) -> int:
        return gc.collect(self._blobs(job), keep, grace_s=AT_ONCE_S).freed_bytes

    def _blobs(self, job: JobId) -> DirectoryBlobs:
        folder = self._place(job)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return DirectoryBlobs(folder, young_s=AT_ONCE_S)
