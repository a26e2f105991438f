"""The jobs that hold something, as columns: what preemption asks about all of them at once.

Kept by `known` from delta to delta; `occupancy` looks at it, once for each gang that may displace
others. Pure. A group is a leaf queue and a priority; groups are never forgotten, they may be empty.
Cost: `put`, `drop` O(1); `columns` O(changed) in NumPy; `sums` O(jobs) in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.model.cluster import Node
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.snapshot import IntArray, RunningJob
from zenkei.scheduler.tree import Held

JOB: Final = 0
GROUP: Final = 1
"""-1: nobody is in this slot."""
STOPPING: Final = 2
PREEMPTIONS: Final = 3
PRIORITY: Final = 4
SINCE_US: Final = 5
SAVED_US: Final = 6
WORTH: Final = 7
GPU_MILLI: Final = 8
CPU_MILLI: Final = 9
MEMORY_BYTES: Final = 10
KINDS: Final = 11
"""Rows of `columns`; from KINDS on GPU-milli of each model, in the order of `kinds`."""
_NOBODY: Final = (0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_LEAST: Final = 64


class Roster:
    """See the module's docstring. kinds: GPU models, in the order in which they were met.

    groups: queue and priority of each; by_queue: the same, by queue and priority.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.groups: list[tuple[int, int]] = []
        self.by_queue: dict[int, dict[int, int]] = {}
        self._known: dict[int, tuple[RunningJob, Held]] = {}
        self._slots: dict[int, int] = {}
        self._spare: list[int] = []
        self._number = 0
        """Slots that were ever in use."""
        self._changed: dict[int, tuple[int, ...]] = {}
        self._shares: dict[int, tuple[tuple[str, int], ...]] = {}
        self._table = np.zeros((KINDS, _LEAST), np.int64)
        self._stopped: list[int] = []

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, job: int) -> bool:
        return job in self._known

    def __getitem__(self, job: int) -> tuple[RunningJob, Held]:
        """What is known of a job, and what it holds on all nodes together."""
        return self._known[job]

    def put(self, row: RunningJob, held: Held) -> None:
        """A job holds this; it replaces what was known of it."""
        self._known[row.job] = row, held
        slot = self._slots.get(row.job)
        if slot is None:
            slot = self._slots[row.job] = self._spare.pop() if self._spare else self._number
            self._number = max(self._number, slot + 1)
        self._changed[slot] = (
            row.job,
            self._group(row.queue, row.priority),
            int(bool(row.stopping)),
            row.preemptions,
            row.priority,
            row.since_us,
            row.saved_us,
            row.worth,
            held.gpu_milli,
            held.cpu_milli,
            held.memory_bytes,
        )
        self._shares[slot] = held.kinds

    def drop(self, job: int) -> None:
        """The job holds nothing any more, if it did."""
        slot = self._slots.pop(job, None)
        if slot is not None:
            del self._known[job]
            self._spare.append(slot)
            self._changed[slot] = _NOBODY
            self._shares[slot] = ()

    def _group(self, queue: int, priority: int) -> int:
        levels = self.by_queue.get(queue)
        if levels is None:
            levels = self.by_queue[queue] = {}
        group = levels.get(priority)
        if group is None:
            group = levels[priority] = len(self.groups)
            self.groups.append((queue, priority))
        return group

    # -- reading ---------------------------------------------------------------------------------
    def columns(self) -> IntArray:
        """`[KINDS + models, slots]`: not to be changed, and of use until the next `put`."""
        if self._changed:
            self._enter()
        return self._table[:, : self._number]

    def _enter(self) -> None:
        for shares in self._shares.values():
            for kind, _ in shares:
                self.kinds.setdefault(kind, len(self.kinds))
        rows, wide = KINDS + len(self.kinds), self._table.shape[1]
        if rows > len(self._table) or self._number > wide:
            while wide < self._number:
                wide *= 2
            table = np.zeros((rows, wide), np.int64)
            table[: len(self._table), : self._table.shape[1]] = self._table
            self._table = table
        slots = np.array([*self._changed], np.int64)
        self._table[:KINDS, slots] = np.array([*self._changed.values()], np.int64).T
        self._table[KINDS:, slots] = 0
        for slot, shares in self._shares.items():
            for kind, milli in shares:
                self._table[KINDS + self.kinds[kind], slot] = milli
        self._changed.clear()
        self._shares.clear()

    def sums(self, among: NDArray[np.bool_]) -> IntArray:
        """`[groups, 3 + models]`: what the jobs `among` the slots hold, by group. Exact."""
        table = self.columns()
        group = table[GROUP, among]
        found = np.zeros((len(table) - GPU_MILLI, len(self.groups)), np.int64)
        for sums, amounts in zip(found, table[GPU_MILLI:], strict=True):
            np.add.at(sums, group, amounts[among])
        return found.T

    # -- within one plan -------------------------------------------------------------------------
    def stop(self, jobs: Iterable[int]) -> None:
        """These are on their way out, until `undo`."""
        table = self.columns()
        for job in jobs:
            slot = self._slots[job]
            if not table[STOPPING, slot]:
                table[STOPPING, slot] = 1
                self._stopped.append(slot)

    def undo(self) -> None:
        """Nobody was stopped."""
        if not self._stopped:
            return
        self._table[STOPPING, self._stopped] = 0
        self._stopped.clear()


def held_in(parts: Iterable[HeldPart], nodes: Mapping[str, Node]) -> Held:
    """All parts of one job together. Of a device that is not there the model is unknown."""
    cpu_milli = memory_bytes = gpu_milli = 0
    kinds: dict[str, int] = {}
    for part in parts:
        cpu_milli += part.cpu_milli
        memory_bytes += part.memory_bytes
        if not part.devices:
            continue
        node = nodes.get(part.node)
        devices = node.capacity.devices if node is not None else ()
        for index, milli in part.devices:
            gpu_milli += milli
            if index < len(devices):
                kind = devices[index].kind
                kinds[kind] = kinds.get(kind, 0) + milli
    return Held(cpu_milli, memory_bytes, gpu_milli, tuple(sorted(kinds.items())))
