"""Nodes of one cluster that take work, as columns, and how they rate for a kind of request.

Used by `index` only. Pure. Nodes stand in a fixed order, topology first and then name, so that
every domain is a run of slots and "the first" means the same however the nodes came. A slot whose
node is away stays, apt for nothing, until nodes are laid out anew. Ratings are kept per `Shape` and
brought up to date for the nodes that were touched since they were last read: a log says which.

Cost: `write` O(devices); `Ratings.current` some 15 NumPy calls on the touched nodes, or on all;
`settle` O(nodes log nodes) after a node came that was not known. Memory: 8 bytes per node and kind
of request that is in use, `MOST_CELLS` of them at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenkei.model.cluster import Node
from zenkei.model.resources import WHOLE_GPU_MILLI, Free, matches
from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel
from zenkei.scheduler.topology import Domains

if TYPE_CHECKING:
    from zenkei.scheduler.placement.port import Scorer

Bools: TypeAlias = NDArray[np.bool_]

NOWHERE: Final = -np.inf
"""The rating of a node on which the request does not fit."""
MOST_CELLS: Final = 4_000_000
"""Ratings remembered per cluster, 8 bytes each."""
_LEAST_LOG: Final = 4096
_FEW_AWAY: Final = 64


class Shape(NamedTuple):
    """The part of a request that ratings, and a node's model and labels, depend on."""

    cluster: str
    ask: Ask
    constraints: tuple[tuple[str, tuple[str, ...]], ...]


class NodeRow:
    """A node and what is free on it now; the slot is the columns' own, -1 before they are laid."""

    __slots__ = ("free", "node", "slot")

    def __init__(self, node: Node, free: Free) -> None:
        self.node = node
        self.free = free
        self.slot = -1


class _Static(NamedTuple):
    """What does not change with what is free. model: its place in `Columns.models`."""

    model: int
    labels: tuple[tuple[str, str | None], ...]


class Columns:
    """See the module's docstring; the columns are those of `NodeTable`.

    tight `[N]`: orders nodes by free CPU (thousandths), memory (MiB) and scratch space (GiB).
    static `[N]`: place in `statics`, or -1 where the node is away.
    """

    def __init__(self, scorer: Scorer, label_keys: tuple[str, ...]) -> None:
        self._scorer = scorer
        self._label_keys = label_keys
        self._known: dict[str, NodeRow] = {}
        self.models: list[NodeModel] = []
        self._model_of: dict[NodeModel, int] = {}
        self.statics: list[_Static] = []
        self._static_of: dict[_Static, int] = {}
        self._stale = True
        self._lay_out()

    def __len__(self) -> int:
        """Nodes that take work."""
        return len(self._known)

    # -- nodes -----------------------------------------------------------------------------------
    def put(self, row: NodeRow) -> None:
        """Enter a node with what is free on it."""
        node = row.node
        self._known[node.name] = row
        row.slot = -1
        slot = self.slot_of.get(node.name, -1)
        fits = slot >= 0 and self._paths[slot] == node.topology
        if self._stale or not fits or len(node.capacity.devices) > len(self.gpu):
            self._stale = True
            return
        self._away -= 1
        self._attach(row, slot)

    def drop(self, row: NodeRow) -> None:
        """Take a node out, as it was entered."""
        del self._known[row.node.name]
        if not self._stale:
            self._away += 1
            self.rows[row.slot] = None
            self.static[row.slot] = -1
            self._touch(row.slot)
            self._stale = self._away > _FEW_AWAY + len(self._known)
        row.slot = -1

    def settle(self) -> None:
        """Lay the nodes out, if new ones came. Called before anything is read."""
        if self._stale:
            self._lay_out()

    def _lay_out(self) -> None:
        rows = sorted(self._known.values(), key=lambda row: (row.node.topology, row.node.name))
        size = len(rows)
        depth = max((len(row.node.capacity.devices) for row in rows), default=0)
        self.rows: list[NodeRow | None] = [None] * size
        self.slot_of = {row.node.name: slot for slot, row in enumerate(rows)}
        self._paths = [row.node.topology for row in rows]
        self.domains = Domains(self._paths)
        self.gpu: Ints = np.zeros((max(1, depth), size), dtype=np.int64)
        self.whole, self.most, self.total = (np.zeros(size, dtype=np.int64) for _ in range(3))
        self.model, self.static = (np.zeros(size, dtype=np.int64) for _ in range(2))
        self.cpu_milli, self.memory_bytes = (np.zeros(size, dtype=np.int64) for _ in range(2))
        self.tmp_bytes, self.tight = (np.zeros(size, dtype=np.int64) for _ in range(2))
        self.features: Floats = np.zeros((size, self._scorer.width))
        self.everything: Ints = np.arange(size)
        self._log: Ints = np.zeros(max(_LEAST_LOG, 2 * size), dtype=np.int64)
        self._log_from = self.logged = 0
        self._ratings: dict[Shape, Ratings] = {}
        self._away = 0
        self._stale = False
        for slot, row in enumerate(rows):
            self._attach(row, slot)

    def _attach(self, row: NodeRow, slot: int) -> None:
        node = row.node
        row.slot = slot
        self.rows[slot] = row
        kinds = tuple(device.kind for device in node.capacity.devices)
        model = NodeModel(kinds, node.capacity.cpu_milli, node.capacity.memory_bytes)
        place = self._model_of.setdefault(model, len(self.models))
        if place == len(self.models):
            self.models.append(model)
        labels = tuple((key, node.labels.get(key)) for key in self._label_keys)
        static = _Static(place, labels)
        at = self._static_of.setdefault(static, len(self.statics))
        if at == len(self.statics):
            self.statics.append(static)
        self.model[slot], self.static[slot] = place, at
        self.gpu[:, slot] = 0
        self.whole[slot] = self.most[slot] = self.total[slot] = 0
        self.write(row)

    def write(self, row: NodeRow) -> None:
        """`row.free` has changed."""
        slot, free = row.slot, row.free
        if slot < 0 or self._stale:
            return
        cpu, memory, tmp = free.cpu_milli, free.memory_bytes, free.tmp_bytes
        self.cpu_milli[slot] = cpu
        self.memory_bytes[slot] = memory
        self.tmp_bytes[slot] = tmp
        self.tight[slot] = tightness(cpu, memory, tmp)
        gpu = free.gpu_milli
        if gpu:
            if min(gpu) < 0:
                gpu = [max(0, milli) for milli in gpu]
            self.gpu[: len(gpu), slot] = gpu
            self.whole[slot] = gpu.count(WHOLE_GPU_MILLI)
            self.most[slot] = max(gpu)
            self.total[slot] = sum(gpu)
        if self._scorer.width:
            model = self.models[self.model[slot]]
            self.features[slot] = self._scorer.features(model, gpu, cpu)
        self._touch(slot)

    def _touch(self, slot: int) -> None:
        at = self.logged - self._log_from
        if at == len(self._log):
            half = at // 2
            self._log[:half] = self._log[at - half :]
            self._log_from += at - half  # half of it is no less than all slots
            at = half
        self._log[at] = slot
        self.logged += 1

    def touched_since(self, read: int) -> Ints:
        """Slots written since `logged` was `read`, some of them more than once; or all of them."""
        if self.logged - read > len(self.rows):  # the log goes back at least so far
            return self.everything
        return self._log[read - self._log_from : self.logged - self._log_from]

    # -- ratings ---------------------------------------------------------------------------------
    def ratings(self, shape: Shape) -> Ratings:
        """Interned."""
        known = self._ratings.get(shape)
        if known is None:
            if len(self._ratings) * len(self.rows) > MOST_CELLS:
                self._ratings.clear()
            known = self._ratings[shape] = Ratings(self, shape, self._scorer)
        return known

    def sweep(self) -> None:
        """Forget ratings that were not asked for since the last time, if there are many."""
        if len(self._ratings) * len(self.rows) > MOST_CELLS // 2:
            self._ratings = {shape: one for shape, one in self._ratings.items() if one.used}
        for one in self._ratings.values():
            one.used = False


def tightness(cpu_milli: int, memory_bytes: int, tmp_bytes: int) -> int:
    """Orders nodes by free CPU (up to 4,000 cores), then MiB (16 TiB), then GiB (128 TiB)."""
    mib, gib = memory_bytes >> 20, tmp_bytes >> 30
    if 0 <= cpu_milli < 1 << 22 and 0 <= mib < 1 << 24 and 0 <= gib < 1 << 17:
        return cpu_milli << 41 | mib << 17 | gib
    cpu_milli = min(max(cpu_milli, 0), (1 << 22) - 1)
    return cpu_milli << 41 | min(max(mib, 0), (1 << 24) - 1) << 17 | min(max(gib, 0), (1 << 17) - 1)


class Ratings:
    """How the nodes rate for one shape; `NOWHERE` where its GPUs, CPUs or labels do not suffice."""

    __slots__ = (
        "_apt", "_labelled", "_mixed", "_nodes", "_rater", "_rating", "_read", "_shape", "used",
    )  # fmt: skip

    def __init__(self, nodes: Columns, shape: Shape, scorer: Scorer) -> None:
        self._nodes = nodes
        self._shape = shape
        self._rater = scorer.rater(shape.ask)
        self._rating: Floats = np.full(len(nodes.rows), NOWHERE)
        self._labelled: Bools = np.zeros(0, dtype=np.bool_)
        self._apt: Bools = self._labelled
        self._mixed: Bools | None = None
        self._read = -1
        self.used = True

    def current(self) -> Floats:
        """Ratings `[N]` as things are now: not to be written to, nor kept."""
        nodes = self._nodes
        self.used = True
        if self._read != nodes.logged:
            at = nodes.touched_since(self._read) if self._read >= 0 else nodes.everything
            self._read = nodes.logged
            able = self.with_gpus(at)
            able &= nodes.cpu_milli[at] >= self._shape.ask.cpu_milli
            self._rating[at] = NOWHERE
            at = at[able]
            if len(at):
                self._rating[at] = self._rater.rate(nodes, at)
        return self._rating

    def matching(self, at: Ints) -> Bools:
        """Whether the labels of the nodes `at` `[K]` will do."""
        if len(self._apt) <= len(self._nodes.statics):
            self._learn()
        return self._labelled[self._nodes.static[at]]

    def with_gpus(self, at: Ints) -> Bools:
        """Those that match, with enough free devices of an allowed kind."""
        nodes, ask = self._nodes, self._shape.ask
        if len(self._apt) <= len(nodes.statics):
            self._learn()
        able = self._apt[nodes.static[at]]
        if not ask.gpu_count:
            return able
        if self._mixed is not None:
            room = nodes.gpu.take(at, axis=1) >= ask.gpu_milli
            room &= self._mixed[: len(room), nodes.model[at]]
            able &= room.sum(axis=0) >= ask.gpu_count
        elif ask.gpu_count == 1:
            able &= nodes.most[at] >= ask.gpu_milli
        elif ask.shared:
            room = nodes.gpu.take(at, axis=1) >= ask.gpu_milli
            able &= room.sum(axis=0) >= ask.gpu_count
        else:
            able &= nodes.whole[at] >= ask.gpu_count
        return able

    def device(self, row: NodeRow) -> int:
        """The device of a node that a share is taken from."""
        model = self._nodes.models[self._nodes.model[row.slot]]
        return self._rater.device(model, row.free.gpu_milli, row.free.cpu_milli)

    def _learn(self) -> None:
        """What depends on the models and labels of the nodes only. The last place: nobody there."""
        models, ask = self._nodes.models, self._shape.ask
        allowed = [model.allows(ask) for model in models]
        constraints = dict(self._shape.constraints)
        self._labelled = np.zeros(len(self._nodes.statics) + 1, dtype=np.bool_)
        self._apt = self._labelled.copy()
        for place, static in enumerate(self._nodes.statics):
            labels = {key: value for key, value in static.labels if value is not None}
            self._labelled[place] = matches(labels, constraints)
            enough = sum(allowed[static.model]) >= ask.gpu_count
            self._apt[place] = self._labelled[place] and enough
        if any(not all(of) and any(of) for of in allowed):
            width = max(map(len, allowed))
            self._mixed = np.zeros((width, len(models)), dtype=np.bool_)
            for place, of in enumerate(allowed):
                self._mixed[: len(of), place] = of
