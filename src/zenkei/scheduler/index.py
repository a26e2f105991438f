"""Nodes that take work, indexed by what is free on them: where does a request go?

Used by `planner` only. Pure. What fits is decided here, by columns that say the same as
`model.resources.fits` says of one node; which of those is best is the scorer's word
(`placement.port`), and where a gang stands is that of `topology`. The order is total and depends on
nothing but what is free: the same world gives the same choice, however it came about.

Order (`select`): the rating, then more warm data, then least free CPU, memory (in MiB) and scratch
space (in GiB), then topology and name.
Cost: `put`, `drop`, `move` O(devices); `select` some passes of NumPy over the nodes (microseconds
at 5,000) and one over those touched since the same kind of request was placed last.
Source: rows of ratings with a log of touched nodes, in place of buckets of equal nodes: once free
CPU counts for the rating, nodes are hardly ever equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.columns import NOWHERE, Bools, Columns, NodeRow, Ratings, Shape
from zenkei.scheduler.placement.best_fit import BestFit
from zenkei.scheduler.placement.port import Floats, Ints, Scorer
from zenkei.scheduler.topology import Choice

__all__ = ["ANYHOW", "NodeIndex", "NodeRow", "Shape", "Tally", "Wishes"]

_LAST: Final = 2.0**48
"""How much worse a node is that is taken only if there are not enough others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a placement asks for beside room.

    without: nodes that are passed over. last: nodes that are taken only if too few others fit.
    least: so many nodes will do if all that were asked for do not fit; 0: all or what there is.
    level, required: as in `JobClass`. beside: nodes that belong to the same gang already. warm:
    bytes of the job's data by node. Sets are cheap at any size; frozen ones cheapest.
    """

    without: Collection[str] = frozenset()
    last: Collection[str] = frozenset()
    level: str = ""
    required: bool = False
    beside: tuple[str, ...] = ()
    warm: Mapping[str, int] | None = None


ANYHOW: Final = Wishes()


class Tally(NamedTuple):
    """Nodes that take work, of one shape's cluster and constraints: how many pass each test.

    Each test counts those that passed the ones before it. gpus_free: whole devices' worth free on
    matching nodes, most_gpus_free: on one of them. largest_domain: fitting nodes in one domain of
    the level that is required, where one is.
    """

    matching: int = 0
    with_gpus: int = 0
    with_cpus: int = 0
    with_memory: int = 0
    fitting: int = 0
    gpus_free: int = 0
    most_gpus_free: int = 0
    largest_domain: int = 0


class NodeIndex:
    """See the module's docstring. Holds rows of nodes that are READY; the caller sees to that."""

    def __init__(self, scorer: Scorer | None = None) -> None:
        self._scorer: Scorer = scorer or BestFit()
        self._version = self._scorer.version
        self._label_keys: tuple[str, ...] = ()
        self._levels: tuple[str, ...] = ()
        self._columns: dict[str, Columns] = {}
        self.rows: dict[str, NodeRow] = {}

    # -- what is known ---------------------------------------------------------------------------
    def use_labels(self, keys: Iterable[str]) -> None:
        """Labels that constraints may name; others must not set nodes apart. O(nodes) if new."""
        wanted = tuple(sorted({*self._label_keys, *keys}))
        if wanted != self._label_keys:
            self._label_keys = wanted
            self._rebuild()

    def use_levels(self, levels: tuple[str, ...]) -> None:
        """Names of the levels of the nodes' topology, widest first."""
        self._levels = levels

    def names_of(self, level: str) -> int:
        """How many names of a topology path say in which domain of a level a node is."""
        return self._levels.index(level) + 1 if level in self._levels else len(self._levels) + 1

    def use_scorer(self, scorer: Scorer) -> None:
        """Another placement policy. O(nodes)."""
        self._scorer = scorer
        self._rebuild()

    def sweep(self) -> None:
        """Called before each plan: has the scorer learned; what is no longer asked for?"""
        if self._scorer.version != self._version:
            self._rebuild()
        for columns in self._columns.values():
            columns.sweep()

    def _rebuild(self) -> None:
        self._version = self._scorer.version
        self._columns.clear()
        for row in self.rows.values():
            self._enter(row)

    def put(self, row: NodeRow) -> None:
        """Enter a node with what is free on it."""
        self.rows[row.node.name] = row
        self._enter(row)

    def _enter(self, row: NodeRow) -> None:
        cluster = row.node.cluster
        if cluster not in self._columns:
            self._columns[cluster] = Columns(self._scorer, self._label_keys)
        self._columns[cluster].put(row)

    def drop(self, row: NodeRow) -> None:
        """Take a node out, as it was entered."""
        del self.rows[row.node.name]
        self._columns[row.node.cluster].drop(row)

    def move(self, row: NodeRow) -> None:
        """`row.free` has changed."""
        self._columns[row.node.cluster].write(row)

    # -- placement -------------------------------------------------------------------------------
    def select(
        self,
        shape: Shape,
        request: Request,
        count: int,
        *,
        least: int = 0,
        wishes: Wishes = ANYHOW,
    ) -> list[NodeRow]:
        """The best `count` nodes of one cluster that each fit `request`, in rank order.

        Fewer if fewer fit, but none if they are fewer than `least`. Where `wishes.level` is
        required: as many as the best domain of that level has, for two and more. The ranks follow
        the topology, then the names.
        """
        columns = self._columns.get(shape.cluster)
        if columns is None:
            return []
        columns.settle()
        ratings = columns.ratings(shape)
        if count == 1 and not (wishes.last or wishes.beside):
            slot = _best(columns, ratings.current(), request, wishes)
            slots = [] if slot < 0 else [slot]
        else:
            slots = self._gang(columns, ratings, request, count, max(1, least), wishes)
        if len(slots) < least:
            return []
        found = [columns.rows[slot] for slot in slots]
        return [row for row in found if row is not None]

    def _gang(
        self,
        columns: Columns,
        ratings: Ratings,
        request: Request,
        count: int,
        least: int,
        wishes: Wishes,
    ) -> list[int]:
        rating = np.where(_room(columns, request, wishes.without), ratings.current(), NOWHERE)
        if wishes.last:
            rating[_slots(columns, wishes.last)] -= _LAST
        choice = Choice(columns.domains, rating, columns.tight, _warmth(columns, wishes.warm))
        domains = columns.domains
        whole = domains.whole
        number = choice.number(whole)
        if number < least:
            return []
        if count == 1 and not wishes.beside:
            return choice.best(whole, 1)
        depth = self._levels.index(wishes.level) if wishes.level in self._levels else domains.depth
        if wishes.required and depth >= domains.depth:
            return []
        if wishes.beside:
            return self._join(columns, choice, min(count, number), wishes, depth)
        if wishes.required:
            slots = choice.within(depth, count)
            if slots is None and choice.largest(depth) >= least:
                slots = choice.within(depth, choice.largest(depth))
            return slots or []
        number = min(count, number)
        return choice.compact(whole, number) if domains.depth else choice.best(whole, number)

    @staticmethod
    def _join(
        columns: Columns, choice: Choice, count: int, wishes: Wishes, depth: int
    ) -> list[int]:
        """Nodes for a gang that has some already: in the smallest domain around these."""
        domains = columns.domains
        there = _slots(columns, wishes.beside).tolist()
        for at in range(domains.depth - 1, -1, -1):
            if wishes.required and at < depth:
                return []
            around = {domains.around(slot, at) for slot in there}
            domain = next(iter(around), None)
            if len(around) == 1 and domain is not None:
                number = choice.number(domain)
                if number >= count or (wishes.required and at == depth):
                    return choice.compact(domain, min(count, number)) if number else []
        return [] if wishes.required else choice.compact(domains.whole, count)

    def together(self, rows: list[NodeRow], level: str) -> bool:
        """Whether nodes of one cluster lie in one domain of a level."""
        columns = self._columns[rows[0].node.cluster]
        columns.settle()
        domains = columns.domains
        depth = self._levels.index(level) if level in self._levels else domains.depth
        if depth >= domains.depth:
            return False
        around = {domains.around(row.slot, depth) for row in rows}
        return len(around) == 1 and None not in around

    def devices(self, shape: Shape, row: NodeRow) -> tuple[DeviceShare, ...]:
        """The device that a share is taken from on a node that fits; () lets `fits` choose."""
        if not shape.ask.shared or shape.ask.gpu_count != 1:
            return ()
        columns = self._columns[shape.cluster]
        columns.settle()
        ratings = columns.ratings(shape)
        return (DeviceShare(ratings.device(row), shape.ask.gpu_milli),)

    # -- reasons ---------------------------------------------------------------------------------
    def tally(self, shape: Shape, request: Request, wishes: Wishes = ANYHOW) -> Tally:
        """How many nodes pass which test, for a reason.

        Nodes that are passed over count with those that match, and pass no test.
        """
        columns = self._columns.get(shape.cluster)
        if columns is None or not len(columns):
            return Tally()
        columns.settle()
        ratings = columns.ratings(shape)
        matching = ratings.matching(columns.everything)
        whole = columns.whole[matching]
        able = ratings.with_gpus(columns.everything)
        if wishes.without:
            able[_slots(columns, wishes.without)] = False
        counts = [int(np.count_nonzero(able))]
        for column, needed in (
            (columns.cpu_milli, request.cpu_milli),
            (columns.memory_bytes, request.memory_bytes),
            (columns.tmp_bytes, request.tmp_bytes),
        ):
            if counts[-1]:  # most often GPUs are what lacks
                able &= column >= needed
                counts.append(int(np.count_nonzero(able)))
            else:
                counts.append(0)
        with_gpus, with_cpus, with_memory, fitting = counts
        return Tally(
            matching=len(whole),
            with_gpus=with_gpus,
            with_cpus=with_cpus,
            with_memory=with_memory,
            fitting=fitting,
            gpus_free=int(whole.sum()),
            most_gpus_free=int(whole.max(initial=0)),
            largest_domain=self._largest(columns, able, wishes) if wishes.required else 0,
        )

    def _largest(self, columns: Columns, able: Bools, wishes: Wishes) -> int:
        domains = columns.domains
        depth = self._levels.index(wishes.level) if wishes.level in self._levels else domains.depth
        if depth >= domains.depth:
            return 0
        rating = np.where(able, 0.0, NOWHERE)
        return Choice(domains, rating, columns.tight, None).largest(depth)


def _slots(columns: Columns, names: Collection[str]) -> Ints:
    known = columns.slot_of
    return np.array([known[name] for name in names if name in known], dtype=np.int64)


def _room(columns: Columns, request: Request, without: Collection[str]) -> Bools:
    """Nodes with enough memory and scratch space that are not passed over."""
    room: Bools = columns.memory_bytes >= request.memory_bytes
    if request.tmp_bytes:
        room &= columns.tmp_bytes >= request.tmp_bytes
    if without:
        room[_slots(columns, without)] = False
    return room


def _warmth(columns: Columns, warm: Mapping[str, int] | None) -> Ints | None:
    """Bytes that lie warm by slot; None if there are none."""
    if not warm:
        return None
    held = np.zeros(len(columns.rows), dtype=np.int64)
    for name, size in warm.items():
        if name in columns.slot_of:
            held[columns.slot_of[name]] = size
    return held


def _best(columns: Columns, rating: Floats, request: Request, wishes: Wishes) -> int:
    """The best slot for one part, -1 if there is none; on the path of every single-node job.

    First the best by rating alone: it mostly has the memory, and is not passed over.
    """
    if not len(rating):
        return -1
    slot = _first(columns, rating, wishes.warm)
    if slot < 0:
        return -1
    row = columns.rows[slot]
    assert row is not None, "nobody fits where no node is"
    free = row.free
    if (
        free.memory_bytes >= request.memory_bytes
        and free.tmp_bytes >= request.tmp_bytes
        and row.node.name not in wishes.without
    ):
        return slot
    room = _room(columns, request, wishes.without)
    return _first(columns, np.where(room, rating, NOWHERE), wishes.warm)


def _first(columns: Columns, rating: Floats, warm: Mapping[str, int] | None) -> int:
    slot = rating.argmax()
    best = rating[slot]
    if best == NOWHERE:
        return -1
    alike = (rating == best).nonzero()[0]  # flatnonzero: the same, at twice the price
    if len(alike) > 1:
        if warm:
            warmth = np.array([warm.get(_name(columns, at), 0) for at in alike.tolist()])
            alike = alike[warmth == warmth.max()]
        slot = alike[columns.tight[alike].argmin()]
    return int(slot)


def _name(columns: Columns, slot: int) -> str:
    row = columns.rows[slot]
    assert row is not None, "nobody fits where no node is"
    return row.node.name
