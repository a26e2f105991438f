"""First fit: the first node that has room, in the order of topology and name.

Made by `scheduler` for `Placement.FIRST_FIT`: the simplest rule, to compare with. Cost: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel, NodeTable, Rater

_GPU_NODE: Final = 2.0**40


class FirstFit:
    """See the module's docstring. Work without GPUs takes the nodes without them first."""

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

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        rating = -at.astype(np.float64)
        if not self._ask.gpu_count:
            has_gpus = np.array([bool(model.kinds) for model in nodes.models], dtype=np.bool_)
            rating -= _GPU_NODE * has_gpus[nodes.model[at]]
        return rating

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        allowed, wanted = model.allows(self._ask), self._ask.gpu_milli
        return next(i for i, m in enumerate(gpu_milli) if m >= wanted and allowed[i])
