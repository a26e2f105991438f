"""Quotas of the queues whose jobs hold something, as columns: what `rights` asks of all at once.

Kept by `known` from plan to plan while the tree of queues stays as it is, else made for one ask.
Pure. Cost: O(depth x resources) for each queue that is new, in Python; the rest O(queues) in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from zenkei.model.queue import Amounts, Queue
from zenkei.scheduler.snapshot import IntArray

GPU: Final = "gpu"
CPU: Final = "cpu"
MEMORY: Final = "memory"
KIND: Final = "kind:"
BASE: Final = (GPU, CPU, MEMORY)
"""Resources by column; after them those of each GPU model."""
UNSAID: Final = -1


class Quotas(Protocol):
    """What preemption asks of the tree of queues, in numbers: leaves are places in the table."""

    def path(self, queue: int) -> Sequence[int]:
        """The leaf first, then those above it; the root is left out."""
        ...

    def rules(self, queue: int) -> Queue:
        """Its `within` and `reclaim` are read."""
        ...

    def quota(self, queue: int) -> Amounts:
        """What is guaranteed to it and those below it (the sum of theirs if it states none).

        None where there is no guarantee.
        """
        ...

    def held(self, queue: int) -> Amounts:
        """By jobs below it: those that run, are stopping, were started in this very plan, or have a

        claim (`Hold`). Every amount is said; kinds without any may be left out.
        """
        ...

    def all_held(self, queues: Sequence[int], kinds: Sequence[str]) -> IntArray:
        """`held` of many: GPUs, CPU, memory, GPUs of each of `kinds`."""
        ...


def said(amounts: Amounts) -> dict[str, int]:
    """By resource, those of which anything is said."""
    found = {KIND + kind: milli for kind, milli in amounts.kinds}
    pairs = (
        (GPU, amounts.gpu_milli),
        (CPU, amounts.cpu_milli),
        (MEMORY, amounts.memory_bytes),
    )
    return found | {key: amount for key, amount in pairs if amount is not None}


def rows_of(amounts: Iterable[Amounts], kinds: Sequence[str]) -> IntArray:
    """One row each; UNSAID where nothing is said."""
    keys = (*BASE, *(KIND + kind for kind in kinds))
    rows = [[told.get(key, UNSAID) for key in keys] for told in map(said, amounts)]
    return np.array(rows, np.int64).reshape(len(rows), len(keys))


class Ledger:
    """See the module's docstring.

    queues: all leaves that were entered and those above them, each once. leaf: by group of the
    roster, its place among them. above `[groups, depth]`: places of the leaf and of those above it,
    -1 behind the last. quota `[queues, resources]`: UNSAID where there is none.
    """

    def __init__(self) -> None:
        self.queues: list[int] = []
        self.quota = np.zeros((0, len(BASE)), np.int64)
        self.leaf = np.zeros(0, np.int64)
        self.above = np.zeros((0, 1), np.int64)
        self._order = np.zeros(0, np.int64)
        self._first = np.zeros(0, np.int64)
        self._places: dict[int, int] = {}
        self._ways: list[list[int]] = []
        self._kinds = 0

    def enter(
        self, groups: Sequence[tuple[int, int]], kinds: Mapping[str, int], quotas: Quotas
    ) -> None:
        """Groups of the roster, of which more may have come; and GPU models likewise."""
        known = len(self.queues)
        if len(groups) > len(self._ways):
            ways: dict[int, list[int]] = {}
            for queue, _ in groups[len(self._ways) :]:
                if queue not in ways:
                    ways[queue] = [self._place(one) for one in quotas.path(queue)]
                self._ways.append(ways[queue])
            depth = max([1, *map(len, self._ways)])
            self.above = np.full((len(groups), depth), -1, np.int64)
            for at, way in enumerate(self._ways):
                self.above[at, : len(way)] = way
            self.leaf = self.above[:, 0]
            self._sort(groups)
        if len(self.queues) > known or len(kinds) > self._kinds:
            self._kinds = len(kinds)
            self.quota = rows_of(map(quotas.quota, self.queues), [*kinds])

    def _sort(self, groups: Sequence[tuple[int, int]]) -> None:
        """Groups by leaf, those of low priority first; and where in that order each leaf starts."""
        priority = np.array([priority for _, priority in groups], np.int64)
        self._order = np.lexsort((priority, self.leaf))
        leaves = self.leaf[self._order]
        starts = np.flatnonzero(np.concatenate(([True], leaves[1:] != leaves[:-1])))
        self._first = np.repeat(starts, np.diff(np.append(starts, len(leaves))))

    def below(self, sums: IntArray) -> IntArray:
        """By group: of `sums` by group, those of lower priorities of its leaf together."""
        ordered = sums[self._order]
        before = np.cumsum(ordered, axis=0) - ordered
        found = np.empty_like(sums)
        found[self._order] = before - before[self._first]
        return found

    def _place(self, queue: int) -> int:
        place = self._places.get(queue)
        if place is None:
            place = self._places[queue] = len(self.queues)
            self.queues.append(queue)
        return place

    def place(self, queue: int) -> int:
        """Of a queue that was entered; -1 of others."""
        return self._places.get(queue, -1)
