"""What a placement policy is to the planner: it rates nodes for a request, higher is better.

Implemented by the modules beside this one, called by `scheduler.index`, which knows what fits and
asks about nothing else. Ratings are kept until a node changes or `version` does, so they may depend
on the node's columns and the `Ask` only. Equal ratings are told apart by the index: least free CPU,
memory and scratch space, then topology and name.
Ideal: a pure function of one node and one request. Departure: nodes come in batches of columns,
because a call for each of thousands costs more than the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenkei.model.resources import WHOLE_GPU_MILLI, Request

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


class Ask(NamedTuple):
    """The part of a request that ratings depend on; see `Request`. Memory only has to suffice."""

    gpu_count: int
    gpu_milli: int
    gpu_kinds: tuple[str, ...]
    cpu_milli: int

    @classmethod
    def of(cls, request: Request) -> Ask:
        return cls(request.gpu_count, request.gpu_milli, request.gpu_kinds, request.cpu_milli)

    @property
    def shared(self) -> bool:
        """Whether it asks for a part of one GPU."""
        return 0 < self.gpu_milli < WHOLE_GPU_MILLI


class NodeModel(NamedTuple):
    """What nodes of one make have when they are empty. kinds: of the devices, by index."""

    kinds: tuple[str, ...]
    cpu_milli: int
    memory_bytes: int

    def allows(self, ask: Ask) -> tuple[bool, ...]:
        """By device: whether `ask` takes its kind."""
        return tuple(not ask.gpu_kinds or kind in ask.gpu_kinds for kind in self.kinds)


class NodeTable(Protocol):
    """Nodes of one cluster that take work, in a fixed order (topology, then name), as columns.

    models: grows only; model `[N]`: places in it. gpu `[D, N]`: free thousandths by device index, 0
    for a device that is blocked or not there. whole, most, total `[N]`: of `gpu`, how many are
    entirely free, the largest, the sum. features `[N, F]`: what the scorer said of each node.
    A scorer reads them and never writes.
    """

    models: list[NodeModel]
    model: Ints
    gpu: Ints
    whole: Ints
    most: Ints
    total: Ints
    cpu_milli: Ints
    memory_bytes: Ints
    features: Floats


class Rater(Protocol):
    """Rates nodes for one `Ask`. Made once, called for every batch of changed nodes."""

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        """Ratings `[K]` of the nodes `at` `[K]`, higher is better, finite.

        What is said of nodes on which `Ask` does not fit is not looked at, but must not fail (free
        CPU may even be below zero). A rating is a function of the node's row alone, to the last
        bit, whatever else is in the batch; round it where noise would part equal nodes.
        Most batches have 1 to 200 nodes: the number of NumPy calls decides the cost.
        """
        ...

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        """The index of the device that a share is taken from: it is allowed and has room.

        gpu_milli: free by device. Asked once per start, and only if `Ask.shared`.
        """
        ...


class Scorer(Protocol):
    """A placement policy. Work on CPUs stays off nodes with GPUs where it can: that is its duty."""

    @property
    def version(self) -> int:
        """Another number when learned tables changed: ratings and features are asked anew."""
        ...

    @property
    def width(self) -> int:
        """F: how many features it keeps of each node, 0 for none."""
        ...

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        """What it wants to find again in `NodeTable.features`; asked whenever the node changes.

        Plain Python, a few microseconds at most: every start pays for it once per node.
        """
        ...

    def rater(self, ask: Ask) -> Rater:
        """For one kind of request; it may precompute what only that depends on."""
        ...
