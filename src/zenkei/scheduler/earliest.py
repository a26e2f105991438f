"""The earliest instant at which enough nodes each have room, and which nodes those are.

Used by `calendar` only; pure. Exact: nodes are looked at in the order of a lower bound (when enough
GPUs are free), and the search stops where no later node could make it earlier. Of the nodes that do
at that instant, those that fall free last are taken, so that others stay free until then.
Cost: O(candidates looked at · rows) + one sort per kind of bound and cycle; with a required level,
domains are looked at in the order of their bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.holdings import Bools
from zenkei.scheduler.promises import NEVER_US
from zenkei.scheduler.snapshot import IntArray
from zenkei.scheduler.timetable import (
    CPU,
    WHOLE,
    Flat,
    Need,
    Table,
    Windows,
    fitting,
    joined,
    windows,
)

_FIRST_LOOK: Final = 64


class Closed(NamedTuple):
    """A reservation that does not admit the job. members: `[N]`, the nodes it takes."""

    members: Bools
    from_us: int
    to_us: int


class Search(NamedTuple):
    """What is looked for. fit: `[N]`, nodes that may be taken. allowed: see `fitting`.

    run_us: how long it runs, NEVER_US for ever. domain: `[N]`, all nodes in one of these; None:
    anywhere.
    """

    need: Need
    number: int
    run_us: int
    fit: Bools
    allowed: Bools | None
    closed: Sequence[Closed]
    domain: IntArray | None


class Found(NamedTuple):
    """at: windows of all nodes that do at `at_us`, one per node and device."""

    at_us: int
    at: Windows


class Seeker:
    """Asks one `Flat` and the `Table` over it. Bounds are remembered per kind of need."""

    def __init__(self, flat: Flat, table: Table) -> None:
        self._flat = flat
        self._table = table
        self._bounds: dict[tuple[int, ...] | tuple[int, tuple[str, ...]], tuple[IntArray, IntArray]]
        self._bounds = {}

    def bound(self, need: Need, allowed: Bools | None) -> tuple[IntArray, IntArray]:
        """By node: no part fits before; and the nodes of which that is known, in that order."""
        key = (need.share, need.kinds) if need.share else (need.whole, -need.cpu * (not need.whole))
        known = self._bounds.get(key)
        if known is None:
            least_us = self._flat.least_us(need, allowed)
            order = np.argsort(least_us, kind="stable")
            order = order[: int(np.searchsorted(least_us[order], NEVER_US))]
            known = self._bounds[key] = least_us, order
        return known

    def earliest(self, search: Search) -> Found | None:
        least_us, order = self.bound(search.need, search.allowed)
        dirty = self.of_table(search)
        if search.domain is None:
            return self._anywhere(search, order, least_us, dirty)
        return self._in_a_domain(search, self._clean(order, search), least_us, dirty)

    def _clean(self, order: IntArray, search: Search) -> IntArray:
        """Those that may be taken and lie flat."""
        return order[search.fit[order] & (self._table.column[order] < 0)]

    def _anywhere(
        self, search: Search, order: IntArray, least_us: IntArray, dirty: Windows
    ) -> Found | None:
        at, look = 0, max(_FIRST_LOOK, 2 * search.number) + len(self._table.rank)
        some = [dirty]
        while True:
            some.append(self.of_flat(self._clean(order[at : at + look], search), search))
            at, look = at + look, 4 * look
            every = joined(some)
            at_us = meeting(every, search)
            if at >= len(order) or at_us <= least_us[order[at]]:
                break
        return None if at_us >= NEVER_US else Found(at_us, _open(every, at_us))

    def _in_a_domain(
        self, search: Search, order: IntArray, least_us: IntArray, dirty: Windows
    ) -> Found | None:
        """In the domain that has them first; of equals, the first."""
        domain = search.domain
        assert domain is not None
        dirty = dirty.keep(domain[dirty.rank] >= 0)
        order = order[domain[order] >= 0]
        best_us, best = NEVER_US, None
        for bound_us, one, nodes in _by_bound(search.number, order, least_us, dirty, domain):
            if bound_us > best_us or (best is not None and bound_us == best_us):
                break
            own = dirty.keep(domain[dirty.rank] == one)
            every = joined([own, self.of_flat(nodes, search)])
            at_us = meeting(every, search)
            if at_us < best_us:
                best_us, best = at_us, every
        return None if best is None else Found(best_us, _open(best, best_us))

    def opening(self, search: Search) -> Windows:
        """All windows of all nodes. O(nodes · rows)."""
        clean = np.flatnonzero(search.fit & (self._table.column < 0))
        return joined([self.of_table(search), self.of_flat(clean, search)])

    def free_now(
        self, nodes: IntArray, allowed: Bools | None
    ) -> tuple[IntArray, IntArray, IntArray]:
        """CPU, memory, disk `[3, M]`, whole GPUs and the most of one GPU, now."""
        flat, table = self._flat, self._table
        planes, milli = flat.planes[:, flat.start[nodes]], flat.milli_now[:, nodes]
        column = table.column[nodes]
        own = np.flatnonzero(column >= 0)
        planes[:, own] = table.planes[:, 0, column[own]]
        milli[:, own] = table.milli[:, 0, column[own]]
        whole = planes[WHOLE]
        if allowed is not None:
            milli = milli * allowed[:, nodes]
            whole = np.minimum(whole, (milli >= WHOLE_GPU_MILLI).sum(axis=0))
        return planes[CPU:WHOLE], whole, milli.max(axis=0, initial=0).astype(np.int64)

    def of_table(self, search: Search) -> Windows:
        table = self._table
        allowed = None if search.allowed is None else search.allowed[:, table.rank]
        fits = fitting(table.planes, table.milli, search.need, allowed)
        able = search.fit[table.rank]
        return _outside(
            windows(
                table.planes,
                [fit & able for fit in fits],
                table.rank,
                search.run_us,
                share=search.need.share > 0,
            ),
            search,
        )

    def of_flat(self, nodes: IntArray, search: Search) -> Windows:
        flat, need = self._flat, search.need
        planes = flat.planes[:, flat.rows(nodes)]
        milli = flat.milli(nodes) if need.share or search.allowed is not None else None
        allowed = None if search.allowed is None else search.allowed[:, nodes]
        fits = fitting(planes, milli, need, allowed)
        return _outside(windows(planes, fits, nodes, search.run_us, share=need.share > 0), search)


def meeting(every: Windows, search: Search) -> int:
    """The first instant that lies in windows of enough nodes; NEVER_US if there is none."""
    number = search.number
    if search.need.share:
        every = _of_any_device(every)
    if len(every.rank) < number:
        return NEVER_US
    if int(every.last.min(initial=NEVER_US)) >= NEVER_US:
        return int(np.partition(every.first, number - 1)[number - 1])
    closes = every.last[every.last < NEVER_US] + 1
    # at one instant, what closes counts before what opens
    instant = np.concatenate((2 * every.first + 1, 2 * closes))
    change = np.concatenate((np.ones(len(every.first), np.int64), np.full(len(closes), -1)))
    order = np.argsort(instant, kind="stable")
    enough = np.cumsum(change[order]) >= number
    at = int(enough.argmax())
    return int(instant[order[at]]) >> 1 if enough[at] else NEVER_US


def choose(
    found: Found, number: int, domain: IntArray | None, favoured: Collection[int]
) -> Windows:
    """`number` of the nodes that do, in their order. domain: few of these, as far as possible."""
    at = one_each(found.at)
    if len(at.rank) == number:
        return at
    if domain is not None:
        at = at.keep(_together(domain[at.rank], number))
    wanted = np.zeros(len(at.rank), np.int64)
    if favoured:
        wanted[:] = [rank not in favoured for rank in at.rank.tolist()]
    order = np.lexsort((at.rank, -at.first, wanted))[:number]
    return at.keep(np.sort(order))


def one_each(at: Windows) -> Windows:
    """One window of each node. Of a share's devices: that which falls free last, so that devices

    that are free before stay so for whole ones.
    """
    if not len(at.rank) or at.device[0] < 0:
        return at
    order = np.lexsort((at.device, -at.first, at.rank))
    at = at.keep(order)
    return at.keep(np.unique(at.rank, return_index=True)[1])


def _together(domain: IntArray, number: int) -> Bools:
    """Those in the smallest domain with so many; else in the largest ones until there are."""
    inside = domain >= 0
    names, place, counts = np.unique(domain[inside], return_inverse=True, return_counts=True)
    keep = np.zeros(len(domain), np.bool_)
    if (counts >= number).any():
        best = int(np.where(counts >= number, counts, NEVER_US).argmin())
        keep[np.flatnonzero(inside)[place == best]] = True
        return keep
    size = 0
    for best in np.lexsort((names, -counts)).tolist():
        keep[np.flatnonzero(inside)[place == best]] = True
        size += int(counts[best])
        if size >= number:
            return keep
    return np.ones(len(domain), np.bool_)


def _by_bound(
    number: int, order: IntArray, least_us: IntArray, dirty: Windows, domain: IntArray
) -> Iterator[tuple[int, int, IntArray]]:
    """Domains that could have enough nodes, soonest first: bound, domain, its nodes in `order`."""
    changed = np.unique(dirty.rank)
    every = np.concatenate((order, changed))
    bounds = np.concatenate((least_us[order], least_us[changed]))
    by = np.lexsort((bounds, domain[every]))
    names, start, counts = np.unique(domain[every[by]], return_index=True, return_counts=True)
    enough = counts >= number
    names, start, counts = names[enough], start[enough], counts[enough]
    least = bounds[by[start + number - 1]]
    own = order[np.argsort(domain[order], kind="stable")]
    first = np.searchsorted(domain[own], names)
    last = np.searchsorted(domain[own], names, side="right")
    for i in np.lexsort((names, least)).tolist():
        yield int(least[i]), int(names[i]), own[first[i] : last[i]]


def _open(every: Windows, at_us: int) -> Windows:
    return every.keep((every.first <= at_us) & (every.last >= at_us))


def _outside(some: Windows, search: Search) -> Windows:
    """`some` without the instants at which the job would run into a reservation."""
    for closed in search.closed:
        inside = closed.members[some.rank]
        if not inside.any():
            continue
        free, met = some.keep(~inside), some.keep(inside)
        last = closed.from_us - search.run_us if search.run_us < NEVER_US else -1
        before = met._replace(last=np.minimum(met.last, last))
        after = met._replace(first=np.maximum(met.first, closed.to_us))
        some = joined([free, *(w.keep(w.last >= w.first) for w in (before, after))])
    return some


def _of_any_device(some: Windows) -> Windows:
    """Windows of nodes, whichever device it is: those that touch are one."""
    order = np.lexsort((some.first, some.rank))
    rank, first, last = (column[order].tolist() for column in some[:3])
    made: list[list[int]] = []
    for one, opens, closes in zip(rank, first, last, strict=True):
        if made and made[-1][0] == one and opens <= made[-1][2] + 1:
            made[-1][2] = max(made[-1][2], closes)
        else:
            made.append([one, opens, closes])
    table = np.array(made, np.int64).reshape(len(made), 3)
    return Windows(table[:, 0], table[:, 1], table[:, 2], np.full(len(made), -1, np.int64))
