"""What preemption asks of the tree of queues in the middle of a plan: `preemption.Quotas`.

Made by `order.Turn.quotas`. Queues are places in the planner's table; those above leaves, which may
have none, are negative numbers. Pure. Cost: O(depth) for a path, O(resources) for amounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zenkei.model.queue import Amounts, Queue
from zenkei.scheduler.snapshot import IntArray
from zenkei.scheduler.terms import BASE
from zenkei.scheduler.tree import Branch, QueueTree


class Owed:
    """held: what jobs below a queue hold now, `[R]`, with what this plan has given away."""

    def __init__(
        self, tree: QueueTree, queues: Sequence[str], held: Callable[[Branch], Sequence[int]]
    ) -> None:
        self._tree = tree
        self._queues = queues
        self._held = held

    def _branch(self, queue: int) -> Branch:
        if queue < 0:
            return self._tree.branches[-queue]
        return self._tree.branch(self._queues[queue])

    def path(self, queue: int) -> Sequence[int]:
        """The leaf first, then those above it; the root is left out."""
        return [queue, *(-branch.place for branch in list(self._branch(queue).path())[1:])]

    def rules(self, queue: int) -> Queue:
        return self._branch(queue).wish

    def quota(self, queue: int) -> Amounts:
        """What is guaranteed to it and those below it; None where nothing is."""
        terms = self._branch(queue).terms
        said = dict(terms.quota)
        return Amounts(
            cpu_milli=said.get(0),
            memory_bytes=said.get(1),
            gpu_milli=said.get(2),
            kinds=tuple(
                (kind, said[r]) for r, kind in enumerate(self._tree.kinds, BASE) if r in said
            ),
        )

    def held(self, queue: int) -> Amounts:
        """With claims and with what was started in this plan."""
        held = self._held(self._branch(queue))
        kinds = zip(self._tree.kinds, held[BASE:], strict=True)
        return Amounts(
            cpu_milli=held[0], memory_bytes=held[1], gpu_milli=held[2], kinds=tuple(kinds)
        )

    def all_held(self, queues: Sequence[int], kinds: Sequence[str]) -> IntArray:
        """`held` of many: GPUs, CPU, memory, GPUs of each of `kinds`. O(queues), some in NumPy."""
        held = [self._held(self._branch(queue)) for queue in queues]
        rows = np.array(held, np.int64).reshape(len(queues), -1)
        found = np.zeros((len(queues), BASE + len(kinds)), np.int64)
        if len(queues):
            found[:, :BASE] = rows[:, [2, 0, 1]]
            for at, kind in enumerate(kinds, BASE):
                if kind in self._tree.kinds:
                    found[:, at] = rows[:, BASE + self._tree.kinds.index(kind)]
        return found
