"""Best fit: the fullest place that still has room, so that large blocks stay whole.

Made by `scheduler` for `Placement.BEST_FIT`. Order: least thousandths left over on the devices that
are used (a share goes where it fills best), nodes without GPUs before those with them (work on CPUs
leaves them alone), then least free GPU on the whole node. The index goes on with least free CPU.
Cost: `rate` at most 8 NumPy calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel, NodeTable, Rater

_GPU_NODE: Final = float(1 << 20)
_LEFT_OVER: Final = float(1 << 21)
"""Weights: free thousandths of a node stay below the first (1,000 devices)."""


class BestFit:
    """See the module's docstring."""

    version = 0
    width = 0

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        return ()

    def rater(self, ask: Ask) -> Rater:
        return _Rater(ask)


class _Rater:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._models = 0
        self._has_gpus = np.zeros(0)
        self._allowed: NDArray[np.bool_] | None = None

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        if len(nodes.models) != self._models:
            self._learn(nodes)
        rating = nodes.total[at] + self._has_gpus[nodes.model[at]]
        if self._ask.shared:
            milli, gpu = self._ask.gpu_milli, nodes.gpu.take(at, axis=1)
            room = gpu >= milli
            if self._allowed is not None:
                room &= self._allowed[: len(gpu), nodes.model[at]]
            left = np.where(room, gpu, WHOLE_GPU_MILLI).min(axis=0, initial=WHOLE_GPU_MILLI) - milli
            rating += left * _LEFT_OVER
        return -rating

    def _learn(self, nodes: NodeTable) -> None:
        """What depends on the models of the nodes only."""
        self._models = len(nodes.models)
        self._has_gpus = np.array([_GPU_NODE * bool(m.kinds) for m in nodes.models])
        mixed = self._ask.gpu_kinds and any(len(set(m.kinds)) > 1 for m in nodes.models)
        if mixed:
            width = max(len(m.kinds) for m in nodes.models)
            self._allowed = np.zeros((width, self._models), dtype=np.bool_)
            for i, model in enumerate(nodes.models):
                self._allowed[: len(model.kinds), i] = model.allows(self._ask)

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        allowed, wanted = model.allows(self._ask), self._ask.gpu_milli
        return min(
            (milli, i) for i, milli in enumerate(gpu_milli) if milli >= wanted and allowed[i]
        )[1]
