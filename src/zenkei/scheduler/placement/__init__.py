"""Placement policies: which of the nodes that fit. `port` says what one is, `scorer` makes one."""

from __future__ import annotations

from zenkei.model.queue import Placement
from zenkei.scheduler.placement.best_fit import BestFit
from zenkei.scheduler.placement.fgd import Fgd, Typical
from zenkei.scheduler.placement.first_fit import FirstFit
from zenkei.scheduler.placement.hole_value import HoleValue
from zenkei.scheduler.placement.mix import Tables
from zenkei.scheduler.placement.port import Scorer
from zenkei.scheduler.placement.random import RandomPlacement


def scorer(
    placement: Placement,
    *,
    tables: Tables | None = None,
    typical: Typical | None = None,
    version: int = 0,
    seed: int = 0,
) -> Scorer:
    """The scorer of a policy. Without what was learned, the two that need it pack by best fit.

    tables, version: of `mix.learn`; typical: of `fgd.typical`. seed: of random placement.
    """
    if placement is Placement.HOLE_VALUE and tables is not None:
        return HoleValue(tables)
    if placement is Placement.FGD and typical is not None:
        return Fgd(typical, version=version)
    if placement is Placement.FIRST_FIT:
        return FirstFit()
    if placement is Placement.RANDOM:
        return RandomPlacement(seed)
    return BestFit()


__all__ = ["scorer"]
