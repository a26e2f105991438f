"""The default: where does a request leave the most useful room?

Made by `scheduler` for `Placement.HOLE_VALUE` from tables that `mix` learned. A node is worth
V = U[A, free CPU] + B[whole GPUs free, free CPU] + price x free thousandths, with A the sum of hole
values of its devices; the rating is V after minus V before, and among the devices for a share the
one with the largest counts. Work without GPUs goes to nodes without GPUs first.

Beats placement by expected fragmentation (FGD, ATC 2023), which asks what one more request could
not use: here each hole counts for all that may still come, and what they leave behind.
Departure: nodes of several GPU models have one table for all their devices.
Cost: `features` 2 us, `rate` some 20 NumPy calls on `[D, K]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.placement.mix import Kinds, Tables
from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel, NodeTable, Rater
from zenkei.scheduler.placement.tables import COLUMNS, POOL_CPUS, ROWS

_SPARE: Final = 1e9
"""Rating of nodes without GPUs for work without GPUs: above every value of a node."""
_NEVER: Final = -1e12
_OUT: Final = -1e9
_HALF_CORE_MILLI: Final = 500


class _Rows:
    """Tables of all makes of nodes in one array each, and where a make's begin.

    pool `[G * 802, 257]`: the first row of a group is that of a device without room. Rows are those
    of `tables.spread` plus one; holes are in such rows already. The last group is that of nodes
    that nobody learned about: worth what is free on them.
    """

    def __init__(self, tables: Tables) -> None:
        groups = list({id(worth.group): worth.group for worth in tables.worth.values()}.values())
        place = {id(group): i for i, group in enumerate(groups)}
        flat = np.arange(ROWS)[:, None] * 10.0 + np.zeros(COLUMNS)
        pools = [group.pool for group in groups] + [flat]
        never = np.full((1, COLUMNS), _NEVER)
        self.pool = np.concatenate([part for pool in pools for part in (never, pool)])
        units = [group.steps[0] / 5 for group in groups] + [10.0]
        holes = [group.hole for group in groups] + [np.arange(WHOLE_GPU_MILLI + 1.0)]
        self.holes = [hole / unit for hole, unit in zip(holes, units, strict=True)]
        self.cores = [group.steps[1] for group in groups] + [1]
        self.most = max((len(kinds) for kinds in tables.worth), default=8)
        width = POOL_CPUS + 1
        self.block_of: dict[Kinds, int] = {}
        self.group_of: dict[Kinds, int] = {}
        self.price_of: dict[Kinds, float] = {}
        blocks = []
        for i, (kinds, worth) in enumerate(tables.worth.items()):
            table = np.zeros((self.most + 1, width))
            table[: len(kinds) + 1] = worth.blocks
            blocks.append(table)
            self.block_of[kinds] = i * (self.most + 1)
            self.group_of[kinds] = place[id(worth.group)]
            self.price_of[kinds] = worth.price
        self.unknown = len(groups), len(blocks) * (self.most + 1), 0.0
        blocks.append(np.zeros((self.most + 1, width)))
        self.blocks = np.concatenate(blocks)
        self.pool_flat, self.blocks_flat = self.pool.ravel(), self.blocks.ravel()

    def of(self, kinds: Kinds) -> tuple[int, int, float]:
        """Group, first row of the blocks, and price."""
        if kinds in self.group_of:
            return self.group_of[kinds], self.block_of[kinds], self.price_of[kinds]
        return self.unknown


class HoleValue:
    """See the module's docstring."""

    width = 2

    def __init__(self, tables: Tables) -> None:
        self.version = tables.version
        self._rows = _Rows(tables)
        self._models: dict[NodeModel, tuple[int, int, int, float]] = {}
        self._holes = [hole.tolist() for hole in self._rows.holes]

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        """A in rows of the pool (with the half that rounds it), and V before."""
        group, block, cores, price = self.model(model)
        hole = self._holes[group]
        rows = sum([hole[milli] for milli in gpu_milli])
        return rows, self._value(rows, gpu_milli, cpu_milli, (group, block, cores, price))

    def model(self, model: NodeModel) -> tuple[int, int, int, float]:
        known = self._models.get(model)
        if known is None:
            group, block, price = self._rows.of(model.kinds)
            known = self._models[model] = group, block, self._rows.cores[group], price
        return known

    def _value(
        self,
        rows: float,
        gpu_milli: Sequence[int],
        cpu_milli: int,
        known: tuple[int, int, int, float],
    ) -> float:
        group, block, cores, price = known
        tables = self._rows
        column = min(max(cpu_milli, 0) // (_HALF_CORE_MILLI * cores), COLUMNS - 1)
        row = group * (ROWS + 1) + 1 + min(int(rows + 0.5), ROWS - 1)
        whole = min(tuple(gpu_milli).count(WHOLE_GPU_MILLI), tables.most)
        value: float = tables.pool_flat.item(row * COLUMNS + column)
        value += tables.blocks_flat.item((block + whole) * (POOL_CPUS + 1) + (column >> 1))
        return value + price * sum(gpu_milli)

    def rater(self, ask: Ask) -> Rater:
        return _Rater(self, self._rows, ask)

    def gain(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int, at: int, milli: int
    ) -> float:
        """V after `milli` were taken from the device `at`. cpu_milli: what is left."""
        known = self.model(model)
        hole = self._holes[known[0]]
        after = list(gpu_milli)
        after[at] -= milli
        return self._value(sum([hole[left] for left in after]), after, cpu_milli, known)


class _Rater:
    def __init__(self, scorer: HoleValue, rows: _Rows, ask: Ask) -> None:
        self._scorer = scorer
        self._rows = rows
        self._ask = ask
        self._models = 0
        self._group = self._block = self._unit = np.zeros(0, dtype=np.int64)
        self._taken = np.zeros(0)
        self._spare = np.zeros(0)
        self._allowed: NDArray[np.bool_] | None = None
        self._change = self._changes() if ask.shared else np.zeros(0)

    def _changes(self) -> Floats:
        """By group and free thousandths: what A loses if a share is taken there."""
        milli = self._ask.gpu_milli
        changes = np.full((len(self._rows.holes), WHOLE_GPU_MILLI + 1), _OUT)
        for change, hole in zip(changes, self._rows.holes, strict=True):
            change[milli:] = hole[: WHOLE_GPU_MILLI + 1 - milli] - hole[milli:]
        return changes.ravel()

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        if len(nodes.models) != self._models:
            self._learn(nodes.models)
        model = nodes.model.take(at)
        features = nodes.features.take(at, axis=0)
        column = np.maximum(nodes.cpu_milli.take(at) - self._ask.cpu_milli, 0)
        column //= self._unit.take(model)
        np.minimum(column, COLUMNS - 1, out=column)
        block = (nodes.whole.take(at) + self._block.take(model)) * (POOL_CPUS + 1) + (column >> 1)
        column += self._group.take(model)
        if self._ask.shared and self._ask.gpu_count == 1:
            rating = self._share(nodes, at, model, features[:, 0], column, block)
        else:
            rating = self._whole(nodes, at, model, features[:, 0], column, block)
        rating -= features[:, 1]
        rating -= self._taken.take(model)
        return rating + self._spare.take(model) if not self._ask.gpu_count else rating

    def _share(
        self, nodes: NodeTable, at: Ints, model: Ints, rows: Floats, column: Ints, block: Ints
    ) -> Floats:
        """The best of the devices `[D, K]`."""
        gpu = nodes.gpu.take(at, axis=1)
        first = column // ((ROWS + 1) * COLUMNS) * (WHOLE_GPU_MILLI + 1)
        change = self._change.take(gpu + first)
        if self._allowed is not None:
            change[~self._allowed[: len(gpu), model]] = _OUT
        row = (np.maximum(change + rows + 1.5, 0.0)).astype(np.int64)
        np.minimum(row, ROWS, out=row)
        row *= COLUMNS
        row += column
        value = self._rows.pool_flat.take(row)
        kept = self._rows.blocks_flat.take(block)
        broken = self._rows.blocks_flat.take(np.maximum(block - (POOL_CPUS + 1), 0))
        value += np.where(gpu == WHOLE_GPU_MILLI, broken, kept)
        best: Floats = value.max(axis=0)
        best += nodes.total.take(at) * self._price.take(model)
        return best

    def _whole(
        self, nodes: NodeTable, at: Ints, model: Ints, rows: Floats, column: Ints, block: Ints
    ) -> Floats:
        if self._ask.gpu_count:
            wanted = self._ask.gpu_count
            rows = rows - self._lost.take(model)
            block = block - wanted * (POOL_CPUS + 1)
            np.maximum(block, 0, out=block)
        row = np.maximum(rows + 1.5, 1.0).astype(np.int64)
        np.minimum(row, ROWS, out=row)
        value: Floats = self._rows.pool_flat.take(row * COLUMNS + column)
        value += self._rows.blocks_flat.take(block)
        value += nodes.total.take(at) * self._price.take(model)
        return value

    def _learn(self, models: list[NodeModel]) -> None:
        """What depends on the models of the nodes only."""
        self._models = len(models)
        known = [self._scorer.model(model) for model in models]
        ask = self._ask
        self._group = np.array([group * (ROWS + 1) * COLUMNS for group, _, _, _ in known])
        self._block = np.array([block for _, block, _, _ in known])
        self._unit = np.array([_HALF_CORE_MILLI * cores for _, _, cores, _ in known])
        self._price = np.array([price for _, _, _, price in known])
        self._taken = self._price * (ask.gpu_count * ask.gpu_milli)
        holes = [self._rows.holes[group] for group, _, _, _ in known]
        whole = [hole[-1] * ask.gpu_count * ask.gpu_milli / WHOLE_GPU_MILLI for hole in holes]
        self._lost = np.array(whole)
        self._spare = np.array([0.0 if model.kinds else _SPARE for model in models])
        self._allowed = None
        if ask.gpu_kinds and any(len(set(model.kinds)) > 1 for model in models):
            width = max(len(model.kinds) for model in models)
            self._allowed = np.zeros((width, len(models)), dtype=np.bool_)
            for i, model in enumerate(models):
                self._allowed[: len(model.kinds), i] = model.allows(ask)

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        wanted, allowed = self._ask.gpu_milli, model.allows(self._ask)
        seen: dict[tuple[int, bool], int] = {}
        for i, milli in enumerate(gpu_milli):
            if milli >= wanted and allowed[i]:
                seen.setdefault((milli, True), i)
        left = cpu_milli - self._ask.cpu_milli
        gains = [(-self._scorer.gain(model, gpu_milli, left, i, wanted), i) for i in seen.values()]
        return min(gains)[1]
