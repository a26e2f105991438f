"""What free room is worth: the value tables behind `hole_value`.

Called by `mix`, outside the planner's cycle. Pure NumPy, no clock, no dice. Each table is the fixed
number of steps of one recursion: a random request of the mix comes, takes room if it fits, and
leaves the rest for those after it. Nothing is refused, so the value is what first come, first
served would make of the room.

Units: GPU in thousandths, CPU in cores; values in thousandths of a GPU.
Cost: `hole_value` 8 ms, `pool_value` 0.1 s on the grid of an 8-GPU node, `blocks_value` 1 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.placement.port import Floats

HOLE_ROUNDS: Final = 90
POOL_ROUNDS: Final = 60
"""Requests that come by. More make a pool too hopeful that its last CPUs find a use."""
POOL_GPUS: Final = 160
POOL_CPUS: Final = 128
"""Steps of a pool's grid: 50 thousandths and one core on a node of 8 GPUs."""
ROWS: Final = 5 * POOL_GPUS + 1
COLUMNS: Final = 2 * POOL_CPUS + 1
"""Steps of the table that is read: a fifth and a half of those."""
CROWD: Final = 25.0
"""Value in thousandths per free GPU that the protection of blocks nears, and does not pass."""
EMPTY: Final = 15.0
"""Value in thousandths per GPU of a node that nobody uses."""
TAKEN: Final = 7.0
"""The same, not bounded by `CROWD`, where requests for all GPUs of a node would take every node.

Much more keeps nodes empty for those at the price of worse matches of all others.
"""
KEEP: Final = 300.0
"""The same where what runs also ends: holes come back by themselves."""
DRAIN: Final = 1.0
"""Where what runs also ends: how much dearer GPUs are on an empty node of the widest make than on a

full one, per half of their value. Nodes with little on them get no more, and run empty.
"""
WIDE: Final = 1.5
"""An empty node counts more the more CPUs its GPUs have, up to so many times the usual."""
ENTIRE: Final = 0.5
"""Value in thousandths of a GPU that nobody uses: of equal choices the one that keeps it whole."""
BLOCK: Final = 0.15
SCARCE: Final = 2.0
"""Shares of a block's GPUs that it is worth to keep: by its demand, and by how contended it is."""
CROWDED: Final = 8
"""Power of a block's contention: a place is scarce if nearly all are wanted, free otherwise."""


class Kind(NamedTuple):
    """Requests of one kind: `number` of them, of gpu_count devices with gpu_milli of each."""

    cpu_milli: int
    gpu_count: int
    gpu_milli: int
    number: float

    @property
    def total(self) -> int:
        return self.gpu_count * self.gpu_milli


class Block(NamedTuple):
    """Requests for several whole GPUs of one node, and how wanted their places are.

    demand: of its places in the empty cluster, how many its own requests would take if requests
    filled the cluster. contended: the same with all others that need one of these places. hosts:
    the share of the nodes in question that has such a place.
    """

    cpu_milli: int
    gpu_count: int
    demand: float
    contended: float
    hosts: float


def hole_value(kinds: Sequence[Kind], total: float, rounds: int = HOLE_ROUNDS) -> Floats:
    """What the free part of one device is worth, `[1001]` by free thousandths; v[1000] = 1000.

    total: number of requests for GPUs, those of other kinds included: they pass by.
    """
    by_size: dict[int, float] = {}
    for kind in kinds:
        by_size[kind.gpu_milli] = by_size.get(kind.gpu_milli, 0.0) + kind.number / total
    value = np.zeros(WHOLE_GPU_MILLI + 1)
    if not by_size:
        return np.arange(WHOLE_GPU_MILLI + 1.0)
    fits = np.zeros_like(value)
    gain = np.zeros_like(value)
    for size, p in by_size.items():
        fits[size:] += p
        gain[size:] += p * size
    for _ in range(rounds):
        after = value * (1.0 - fits) + gain
        for size, p in by_size.items():
            after[size:] += p * value[: WHOLE_GPU_MILLI + 1 - size]
        value = after
    scaled: Floats = value * (WHOLE_GPU_MILLI / value[-1])
    return scaled


def pool_value(
    kinds: Sequence[Kind], total: float, steps: tuple[int, int], rounds: int = POOL_ROUNDS
) -> Floats:
    """What free GPU and CPU of a node are worth together, `[161, 129]`.

    steps: thousandths of a GPU and cores per step of the grid.
    """
    cells: dict[tuple[int, int], list[float]] = {}
    for kind in kinds:
        at = round(kind.total / steps[0]), -(-kind.cpu_milli // (1000 * steps[1]))
        if at[0] <= POOL_GPUS and at[1] <= POOL_CPUS:
            cell = cells.setdefault(at, [0.0, 0.0])
            cell[0] += kind.number / total
            cell[1] += kind.number / total * kind.total
    value = np.zeros((POOL_GPUS + 1, POOL_CPUS + 1))
    fits = np.zeros_like(value)
    gain = np.zeros_like(value)
    for (a, c), (p, r) in cells.items():
        fits[a:, c:] += p
        gain[a:, c:] += r
    stays = 1.0 - fits
    for _ in range(rounds):
        after = value * stays + gain
        for (a, c), (p, _r) in cells.items():
            after[a:, c:] += p * value[: POOL_GPUS + 1 - a, : POOL_CPUS + 1 - c]
        value = after
    return value


def drain_value(step: int) -> Floats:
    """What it is worth that much is free on one node, not little on many, `[801, 1]`.

    step: thousandths of a GPU per step of the grid. Convex: of two nodes the fuller one is filled,
    whatever they run ends in its time, and the other is empty sooner.
    """
    part = np.arange(ROWS)[:, None] / (ROWS - 1)
    value: Floats = DRAIN * POOL_GPUS * step * part**2
    return value


def spread(pool: Floats) -> Floats:
    """`pool` read finely, `[801, 257]`: by fifths of its GPU steps, at the middle of half cores."""
    gpu = np.arange(ROWS) / 5.0
    cpu = np.minimum(0.5 * np.arange(COLUMNS) + 0.25, POOL_CPUS)
    at = np.minimum(gpu.astype(np.int64), POOL_GPUS - 1)
    part = (gpu - at)[:, None]
    rows = pool[at] * (1.0 - part) + pool[at + 1] * part
    at = np.minimum(cpu.astype(np.int64), POOL_CPUS - 1)
    part = cpu - at
    fine: Floats = rows[:, at] * (1.0 - part) + rows[:, at + 1] * part
    return fine


def blocks_value(
    blocks: Sequence[Block],
    gpus: int,
    cores: int,
    *,
    churn: float = 0.0,
    cores_per_gpu: float = 12.0,
) -> Floats:
    """What keeping whole GPUs together is worth, `[gpus + 1, 129]` by free devices and CPU.

    cores: per step of free CPU. churn: how much of what starts also ends, 0 to 1. cores_per_gpu: of
    the whole cluster. The first part is bounded per GPU, so that blocks are protected and not
    hoarded; the others are not: scarce places bite only where nearly every one is needed.
    """
    free = np.arange(gpus + 1)[:, None]
    cpu_milli = 1000 * cores * np.arange(POOL_CPUS + 1)[None, :]
    kept = np.zeros((gpus + 1, POOL_CPUS + 1))
    scarce = np.zeros_like(kept)
    for block in blocks:
        room = np.minimum(free // block.gpu_count, cpu_milli // max(1, block.cpu_milli))
        worth = WHOLE_GPU_MILLI * block.gpu_count * block.hosts * room
        kept += BLOCK * min(1.0, block.demand) * worth
        crowd = min(1.0, block.contended) ** (CROWDED - 1)
        scarce += SCARCE * block.demand * crowd * worth
    kept[gpus] += EMPTY * gpus
    most = CROWD * np.maximum(free, 1)
    value: Floats = most * (1.0 - np.exp(-kept / most)) + scarce + ENTIRE * free
    entire = sum(block.demand * block.hosts for block in blocks if block.gpu_count == gpus)
    value[gpus] += TAKEN * min(1.0, entire) * gpus
    cpus = cores * np.arange(POOL_CPUS + 1) / (cores_per_gpu * max(1, gpus))
    value[gpus] += KEEP * churn * gpus * np.minimum(WIDE, cpus)
    return value
