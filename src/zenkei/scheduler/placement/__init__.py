"""Placement policies: which of the nodes that fit. `port` says what one is, `scorer` makes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zenkei.model.cluster import Node
from zenkei.model.queue import Placement
from zenkei.scheduler.placement.best_fit import BestFit
from zenkei.scheduler.placement.fgd import Fgd, Typical, typical
from zenkei.scheduler.placement.first_fit import FirstFit
from zenkei.scheduler.placement.hole_value import HoleValue
from zenkei.scheduler.placement.mix import Tables, churn, of_asks
from zenkei.scheduler.placement.port import Ask, Scorer
from zenkei.scheduler.placement.random import RandomPlacement


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """What requests that came have taught; for the policies that need it. version: of both."""

    version: int
    tables: Tables
    typical: Typical


def learn(
    arrived: Mapping[Ask, float], nodes: Iterable[Node], *, ended: float = 0.0, version: int
) -> Learned:
    """Outside the planner's cycle: see `mix` for the cost.

    arrived: parts of jobs by what they asked; ended: how many of these have. Raises ValueError for
    counts that are negative, infinite or not a number.
    """
    turnover = churn(sum(arrived.values()), ended)
    tables = of_asks(arrived, nodes, churn=turnover, version=version)
    return Learned(version=version, tables=tables, typical=typical(arrived))


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


__all__ = ["Ask", "Learned", "learn", "scorer"]
