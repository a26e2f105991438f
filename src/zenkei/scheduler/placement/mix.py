"""The mix of requests, learned from those that came, and the tables that follow from it.

`learn` is called outside the planner's cycle, when the number of arrivals has doubled (`due`) or
nodes came and went; its result enters the planner as a value with a version. Pure: the same counts,
classes and nodes give the same tables to the last bit, in whatever order nodes come.

A prior worth `PRIOR` requests stands in until there are arrivals: mostly one GPU, some halves and
quarters, a few blocks, and two that take the widest node whole.
Cost: 0.1 s per group of GPU models that the same requests may use, 1.3 MB each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from zenkei.model.cluster import Node
from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.placement.port import Ask, Floats
from zenkei.scheduler.placement.tables import (
    POOL_CPUS,
    POOL_GPUS,
    Block,
    Kind,
    blocks_value,
    drain_value,
    hole_value,
    pool_value,
    spread,
)
from zenkei.scheduler.snapshot import JobClass

Kinds: TypeAlias = tuple[str, ...]
"""Models of a node's devices, by index."""

PRIOR: Final = 20.0
_PRIOR: Final = (
    (1, 1000, 0.50), (1, 750, 0.10), (1, 500, 0.15), (1, 250, 0.15),
    (2, 1000, 0.04), (4, 1000, 0.03), (8, 1000, 0.03),
)  # fmt: skip
WIDEST: Final = 2.0
"""Requests of the prior that take all GPUs, and nearly all CPUs, of the widest node."""
FIRST: Final = 25
TURNOVER: Final = 4.0
PRICE: Final = 0.2
"""Of the demand for a GPU model, what one of its GPUs costs those who could use another."""
SMALL_MILLI: Final = 200
SMALL: Final = 0.5
"""Remainders below a fifth of a GPU count half: the requests for them are fewer than they."""
EXACT: Final = 1024.0
"""Values are multiples of 1/EXACT: their sums do not depend on the order of devices."""


class _Make(NamedTuple):
    kinds: Kinds
    cpu_milli: int

    def hosts(self, ask: Ask) -> int:
        """How many such requests fit it when it is empty."""
        gpus = len(self.kinds)
        if ask.gpu_kinds:
            gpus = sum(kind in ask.gpu_kinds for kind in self.kinds)
        return min(gpus // ask.gpu_count, self.cpu_milli // max(1, ask.cpu_milli))

    def takes(self, ask: Ask) -> bool:
        return not ask.gpu_kinds or any(kind in ask.gpu_kinds for kind in self.kinds)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Tables of nodes that the same requests may use. steps: as in `pool_value`.

    hole `[1001]`, pool `[801, 257]`: see `tables`.
    """

    steps: tuple[int, int]
    hole: Floats
    pool: Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Worth:
    """What a node's free room is worth. blocks `[gpus + 1, 129]`; price: per thousandth free."""

    group: Group
    blocks: Floats
    price: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """What was learned, by the models of a node's devices. Read-only arrays."""

    version: int
    worth: Mapping[Kinds, Worth]


def due(before: int, now: int) -> bool:
    """Whether to learn again: `before` arrivals were known the last time, and there are `now`."""
    return now >= FIRST and now >= 2 * before


def asks(counts: Sequence[float], classes: Sequence[JobClass]) -> dict[Ask, float]:
    """Arrivals by kind of request. counts: of jobs by class; each part of a gang counts.

    Raises ValueError for a count that is negative, infinite or not a number.
    """
    found: dict[Ask, float] = {}
    for job_class, count in zip(classes, counts, strict=True):
        if not (math.isfinite(count) and count >= 0):
            raise ValueError(f"a count of arrivals is {count}")
        if count:
            ask = Ask.of(job_class.request)
            found[ask] = found.get(ask, 0.0) + count * job_class.nodes
    return found


def churn(arrived: float, ended: float) -> float:
    """How much of what starts also ends: 1 as soon as a quarter of all that came has."""
    return min(1.0, TURNOVER * ended / arrived) if arrived else 0.0


def learn(
    counts: Sequence[float],
    classes: Sequence[JobClass],
    nodes: Iterable[Node],
    *,
    ended: float = 0.0,
    version: int = 0,
    prior: bool = True,
) -> Tables:
    """The tables for `nodes` when requests come as they did.

    ended: how many parts of all that came have ended. prior: see the module's docstring. Raises
    ValueError for a count that is negative, infinite or not a number.
    """
    if not (math.isfinite(ended) and ended >= 0):
        raise ValueError(f"a count of ends is {ended}")
    known = asks(counts, classes)
    turnover = churn(sum(known.values()), ended)
    return of_asks(known, nodes, churn=turnover, version=version, prior=prior)


def of_asks(
    mix: Mapping[Ask, float],
    nodes: Iterable[Node],
    *,
    churn: float = 0.0,
    version: int = 0,
    prior: bool = True,
) -> Tables:
    """`learn` for requests that are counted already. churn: see `churn`."""
    makes = Counter(
        _Make(tuple(device.kind for device in node.capacity.devices), node.capacity.cpu_milli)
        for node in nodes
        if node.capacity.devices
    )
    wanted = {ask: count for ask, count in sorted(mix.items()) if ask.gpu_count and count}
    if prior and makes:
        for ask, count in _prior(makes):
            wanted[ask] = wanted.get(ask, 0.0) + count
    gpus = sum(len(make.kinds) * n for make, n in makes.items())
    cores = sum(make.cpu_milli * n for make, n in makes.items()) / 1000
    known: dict[tuple[tuple[Ask, ...], tuple[int, int]], Group] = {}
    worth: dict[Kinds, Worth] = {}
    for kinds in sorted({make.kinds for make in makes}):
        alike = {make: n for make, n in sorted(makes.items()) if make.kinds == kinds}
        steps = _steps(alike)
        taken = tuple(ask for ask in wanted if next(iter(alike)).takes(ask))
        group = known.get((taken, steps))
        if group is None:
            group = known[taken, steps] = _group(taken, wanted, steps, churn)
        several = _blocks(wanted, makes, alike)
        kept = blocks_value(
            several, len(kinds), steps[1], churn=churn, cores_per_gpu=cores / max(1, gpus)
        )
        blocks = _read_only(kept)
        price = _price(wanted, makes, next(iter(alike)))
        worth[kinds] = Worth(group=group, blocks=blocks, price=price)
    return Tables(version=version, worth=worth)


def _prior(makes: Mapping[_Make, int]) -> list[tuple[Ask, float]]:
    gpus = sum(len(make.kinds) * n for make, n in makes.items())
    cpu_milli = 0.7 * sum(make.cpu_milli * n for make, n in makes.items()) / gpus
    found = [
        (Ask(q, milli, (), int(cpu_milli * q * milli / 1000)), PRIOR * part)
        for q, milli, part in _PRIOR
    ]
    largest = max(len(make.kinds) for make in makes)
    widest = max(make.cpu_milli for make in makes if len(make.kinds) == largest)
    if largest > 1:
        found.append((Ask(largest, WHOLE_GPU_MILLI, (), widest * 15 // 16), WIDEST))
    return found


def _steps(alike: Mapping[_Make, int]) -> tuple[int, int]:
    gpus = max(len(make.kinds) for make in alike)
    cpu_milli = max(make.cpu_milli for make in alike)
    gpu_step = -(-gpus * WHOLE_GPU_MILLI // POOL_GPUS)
    return 50 * max(1, -(-gpu_step // 50)), max(1, -(-cpu_milli // (1000 * POOL_CPUS)))


def _group(
    taken: Sequence[Ask], wanted: Mapping[Ask, float], steps: tuple[int, int], churn: float
) -> Group:
    kinds = [Kind(ask.cpu_milli, ask.gpu_count, ask.gpu_milli, wanted[ask]) for ask in taken]
    total = sum(wanted.values())
    hole = hole_value(kinds, total)
    hole[:SMALL_MILLI] *= SMALL
    hole = np.rint(hole * EXACT) / EXACT
    pool = spread(pool_value(kinds, total, steps)) + churn * drain_value(steps[0])
    return Group(steps=steps, hole=_read_only(hole), pool=_read_only(pool))


def _blocks(
    wanted: Mapping[Ask, float], makes: Mapping[_Make, int], alike: Mapping[_Make, int]
) -> list[Block]:
    """Requests for several GPUs that nodes of one make may get, and how wanted their places are."""
    demand = sum(ask.gpu_count * ask.gpu_milli * count for ask, count in wanted.items())
    gpus = sum(len(make.kinds) * n for make, n in makes.items())
    several = [ask for ask in wanted if ask.gpu_count > 1]
    found = []
    for ask in several:
        places = sum(make.hosts(ask) * n for make, n in makes.items())
        hosts = sum(n for make, n in alike.items() if make.hosts(ask))
        if not places or not hosts:
            continue
        others = sum(
            wanted[other] * (other.gpu_count // ask.gpu_count)
            for other in several
            if other.gpu_count >= ask.gpu_count
            and other.cpu_milli >= ask.cpu_milli
            and _within(other.gpu_kinds, ask.gpu_kinds)
        )
        per_place = gpus * WHOLE_GPU_MILLI / demand / places
        block = Block(
            cpu_milli=ask.cpu_milli,
            gpu_count=ask.gpu_count,
            demand=wanted[ask] * per_place,
            contended=others * per_place,
            hosts=hosts / sum(alike.values()),
        )
        found.append(block)
    return found


def _within(narrow: Kinds, wide: Kinds) -> bool:
    """Whether who takes a model of `narrow` takes one of `wide`; () is any."""
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _price(wanted: Mapping[Ask, float], makes: Mapping[_Make, int], mine: _Make) -> float:
    demand = sum(ask.gpu_count * ask.gpu_milli * count for ask, count in wanted.items())
    by_kinds: dict[Kinds, float] = {}
    for ask, count in wanted.items():
        milli = ask.gpu_count * ask.gpu_milli * count
        by_kinds[ask.gpu_kinds] = by_kinds.get(ask.gpu_kinds, 0.0) + milli
    everything = sum(len(make.kinds) * n for make, n in makes.items())
    price = 0.0
    for gpu_kinds, milli in by_kinds.items():
        ask = Ask(1, WHOLE_GPU_MILLI, gpu_kinds, 0)
        if mine.takes(ask):
            within = sum(len(make.kinds) * n for make, n in makes.items() if make.takes(ask))
            price += milli / demand * everything / within
    return PRICE * price


def _read_only(table: Floats) -> Floats:
    table.flags.writeable = False
    return table
