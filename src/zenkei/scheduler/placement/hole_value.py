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
from typing import Any, Final, NamedTuple

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


class _Known(NamedTuple):
    """Where the tables of a model of nodes begin. cpu_unit: thousandths of a core per column."""

    group: int
    block: int
    cpu_unit: int
    price: float


class HoleValue:
    """See the module's docstring."""

    width = 2

    def __init__(self, tables: Tables) -> None:
        self.version = tables.version
        self._rows = _Rows(tables)
        self._models: dict[NodeModel, _Known] = {}
        self._holes = [hole.tolist() for hole in self._rows.holes]

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        """A in rows of the pool, with what rounds it and skips the first row; V before, less what

        is free at the model's price: only what is taken of that makes a difference.
        """
        known = self.model(model)
        hole = self._holes[known.group]
        rows = sum([hole[milli] for milli in gpu_milli])
        return rows + 1.5, self._value(rows, gpu_milli, cpu_milli, known)

    def model(self, model: NodeModel) -> _Known:
        """Nodes that are wider than all that were learned about are unknown."""
        known = self._models.get(model)
        if known is None:
            rows = self._rows
            group, block, price = rows.of(model.kinds)
            cores = rows.cores[group]
            if model.cpu_milli > 1000 * POOL_CPUS * cores:
                group, block, price = rows.unknown
            if group == rows.unknown[0]:
                cores = max(1, -(-model.cpu_milli // (1000 * POOL_CPUS)))
            known = _Known(group, block, _HALF_CORE_MILLI * cores, price)
            self._models[model] = known
        return known

    def _value(self, rows: float, gpu_milli: Sequence[int], cpu_milli: int, known: _Known) -> float:
        tables = self._rows
        column = min(max(cpu_milli, 0) // known.cpu_unit, COLUMNS - 1)
        row = known.group * (ROWS + 1) + 1 + min(int(rows + 0.5), ROWS - 1)
        whole = min(list(gpu_milli).count(WHOLE_GPU_MILLI), tables.most)
        value: float = tables.pool_flat.item(row * COLUMNS + column)
        kept: float = tables.blocks_flat.item(
            (known.block + whole) * (POOL_CPUS + 1) + (column >> 1)
        )
        return value + kept

    def rater(self, ask: Ask) -> Rater:
        return _Rater(self, self._rows, ask)

    def gain(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int, at: int, milli: int
    ) -> float:
        """V after `milli` were taken from the device `at`. cpu_milli: what is left."""
        known = self.model(model)
        hole = self._holes[known.group]
        after = list(gpu_milli)
        after[at] -= milli
        return self._value(sum([hole[left] for left in after]), after, cpu_milli, known)


class _Rater:
    """Indices of nodes on which the request does not fit may lie outside: `take` clips them."""

    def __init__(self, scorer: HoleValue, rows: _Rows, ask: Ask) -> None:
        self._scorer = scorer
        self._rows = rows
        self._ask = ask
        self._models = 0
        self._share = ask.shared and ask.gpu_count == 1
        self._allowed: NDArray[np.bool_] | None = None
        self._change = self._changes() if self._share else np.zeros(0)

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
        model = nodes.model.take(at) if self._differ else None
        rows, before = nodes.features.take(at, axis=0).T
        column = nodes.cpu_milli.take(at)
        column -= self._ask.cpu_milli
        column //= _of(self._unit, model)
        block = nodes.whole.take(at)
        block += _of(self._block, model)
        block *= POOL_CPUS + 1
        block += column >> 1
        column += _of(self._group, model)
        if self._share:
            rating = self._best_share(nodes.gpu.take(at, axis=1), model, rows, column, block)
        else:
            rows = rows - _of(self._lost, model)
            rating = self._at(rows, column)
            block -= self._ask.gpu_count * (POOL_CPUS + 1)
            rating += self._rows.blocks_flat.take(block, mode="clip")
        rating -= before
        rating += _of(self._bonus, model)
        return rating

    def _at(self, rows: Floats, column: Ints) -> Floats:
        place = rows.astype(np.int64)
        if self._unknown:
            np.minimum(place, ROWS, out=place)
        place *= COLUMNS
        place += column
        value: Floats = self._rows.pool_flat.take(place, mode="clip")
        return value

    def _best_share(
        self, gpu: Ints, model: Ints | None, rows: Floats, column: Ints, block: Ints
    ) -> Floats:
        """The best of the devices `[D, K]`."""
        if self._one_group:
            change = self._change.take(gpu)
        else:
            change = self._change.take(gpu + _of(self._hole, model))
        if self._allowed is not None and model is not None:
            change[~self._allowed[: len(gpu), model]] = _OUT
        change += rows
        value = self._at(change, column)
        blocks = self._rows.blocks_flat
        kept = blocks.take(block, mode="clip")
        block -= POOL_CPUS + 1
        broken = blocks.take(block, mode="clip")
        broken -= kept
        value += (gpu == WHOLE_GPU_MILLI) * broken
        best: Floats = value.max(axis=0)
        best += kept
        return best

    def _learn(self, models: list[NodeModel]) -> None:
        """What depends on the models of the nodes only."""
        self._models = len(models)
        known = [self._scorer.model(model) for model in models]
        ask = self._ask
        groups = [one.group for one in known]
        self._one_group = set(groups) == {0}
        self._unknown = self._rows.unknown[0] in groups
        self._group = np.array([group * (ROWS + 1) * COLUMNS for group in groups])
        self._hole = np.array([group * (WHOLE_GPU_MILLI + 1) for group in groups])
        self._block = np.array([one.block for one in known])
        self._unit = np.array([one.cpu_unit for one in known])
        taken = ask.gpu_count * ask.gpu_milli
        self._bonus = np.array([-one.price * taken for one in known])
        if not taken:
            self._bonus = np.array([0.0 if model.kinds else _SPARE for model in models])
        self._lost = np.array([self._rows.holes[group][-1] * taken / 1000 for group in groups])
        tables = (self._group, self._block, self._unit, self._bonus, self._lost)
        self._differ = any(len(set(table.tolist())) > 1 for table in tables)
        self._allowed = None
        if ask.gpu_kinds and any(len(set(model.kinds)) > 1 for model in models):
            self._differ = True
            width = max(len(model.kinds) for model in models)
            self._allowed = np.zeros((width, len(models)), dtype=np.bool_)
            for i, one in enumerate(models):
                self._allowed[: len(one.kinds), i] = one.allows(ask)

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        wanted, allowed = self._ask.gpu_milli, model.allows(self._ask)
        seen: dict[tuple[int, bool], int] = {}
        for i, milli in enumerate(gpu_milli):
            if milli >= wanted and allowed[i]:
                seen.setdefault((milli, True), i)
        left = cpu_milli - self._ask.cpu_milli
        gains = [(-self._scorer.gain(model, gpu_milli, left, i, wanted), i) for i in seen.values()]
        return min(gains)[1]


def _of(table: NDArray[Any], model: Ints | None) -> NDArray[Any]:
    """By node, or one number where all models have the same."""
    return table[:1] if model is None else table.take(model)
