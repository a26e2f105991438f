"""Anywhere: nodes in an order that a seed and what is free on them shuffle.

Made by `scheduler` for `Placement.RANDOM`: the floor, to compare with. No dice: a hash of seed,
request, node and free room decides, so that the same world gives the same plan. A node draws anew
whenever something on it changes. Cost: `rate` some 30 NumPy calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel, NodeTable, Rater

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1
_GPU_NODE: Final = 1.0


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al., OOPSLA 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def shuffled(at: Ints, seed: int, *salt: Ints) -> Floats:
    """Numbers in [0, 1) by slot (and by what else is given, as arrays of the same length)."""
    bits = _mixed(at.astype(np.uint64) + np.uint64((seed + 1) * _GOLDEN & _MASK))
    for more in salt:
        bits = _mixed(bits + more.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(1))
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


class RandomPlacement:
    """See the module's docstring."""

    version = 0
    width = 0

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        return ()

    def rater(self, ask: Ask) -> Rater:
        return _Rater(self._seed, ask)


class _Rater:
    def __init__(self, seed: int, ask: Ask) -> None:
        salt = f"{seed} {ask.gpu_count} {ask.gpu_milli} {ask.gpu_kinds} {ask.cpu_milli}"
        self._seed = int.from_bytes(salt.encode("utf-8"), "big") % ((1 << 61) - 1)
        self._ask = ask

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        salt = (nodes.total[at], nodes.cpu_milli[at], nodes.memory_bytes[at])
        rating = shuffled(at, self._seed, *salt)
        if not self._ask.gpu_count:
            has_gpus = np.array([bool(model.kinds) for model in nodes.models], dtype=np.bool_)
            rating -= _GPU_NODE * has_gpus[nodes.model[at]]
        return rating

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        allowed, wanted = model.allows(self._ask), self._ask.gpu_milli
        able = [i for i, m in enumerate(gpu_milli) if m >= wanted and allowed[i]]
        lots = shuffled(np.array(able), self._seed + cpu_milli + sum(gpu_milli))
        return able[int(lots.argmax())]
