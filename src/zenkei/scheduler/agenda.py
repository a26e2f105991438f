"""The nodes' time of one cycle: what falls free when, what is kept for whom, what started since.

Used by `calendar` only; pure. Holds the `Flat` of what the cycle found, the `Table` of nodes on
which something is kept, and the `Spares` beside what is kept. Exact: every part that starts is
entered before anybody asks again. Cost: see `timetable`, `spares`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.resources import Request
from zenkei.scheduler.earliest import Seeker
from zenkei.scheduler.holdings import Holdings
from zenkei.scheduler.promises import NEVER_US
from zenkei.scheduler.snapshot import IntArray
from zenkei.scheduler.spares import Spares
from zenkei.scheduler.timetable import Flat, Need, Table, Took

MOST_LATE: Final = 64
"""Nodes that parts went to since the last promise; with more, all is laid out anew."""


class _Change(NamedTuple):
    """What was taken from columns of the table: arguments of `Table.change`."""

    columns: IntArray
    amounts: IntArray
    milli: IntArray | None
    from_us: int
    to_us: int


class _Kept(NamedTuple):
    """What is kept for one job. The first change is from its start on."""

    columns: IntArray
    changes: list[_Change]


class Agenda:
    """See the module's docstring. Nodes go by their rank in `held.layout`."""

    def __init__(
        self,
        held: Holdings,
        now_us: int,
        estimates: Mapping[int, int],
        took: Sequence[tuple[int, Took]],
    ) -> None:
        self._held = held
        self._now_us = now_us
        self._estimates = estimates
        self._took = list(took)
        self.layout = held.layout
        self.ready = held.ready()
        self._flat = Flat(held, now_us, estimates, self._took)
        self._table = Table(len(self.layout.names), len(self.layout.milli))
        self._spares = Spares(self._table)
        self.seeker = Seeker(self._flat, self._table)
        self._late: dict[int, list[Took]] = {}
        self._kept: dict[int, _Kept] = {}
        self._marked = np.zeros(0, np.int64)
        """By column: for how many jobs something is kept there."""
        self.soonest_us = NEVER_US
        """Before this instant nothing is kept for anybody."""
        self._names: dict[bytes, frozenset[str]] = {}

    # -- what starts -----------------------------------------------------------------------------
    def took(self, rank: int, took: Took) -> None:
        column = int(self._table.column[rank])
        if column < 0:
            self._late.setdefault(rank, []).append(took)
        else:
            self._put(column, took)

    def _put(self, column: int, took: Took) -> None:
        self._table.take(column, took)
        self._spares.touch([column])

    def settle(self) -> None:
        """Enter what started on nodes without a column, before anything is looked for."""
        if not self._late:
            return
        if len(self._late) <= MOST_LATE:
            self._columns(np.array(sorted(self._late), np.int64))
            return
        self._took += [(rank, took) for rank, every in self._late.items() for took in every]
        self._late = {}
        self._flat = Flat(self._held, self._now_us, self._estimates, self._took)
        self.seeker = Seeker(self._flat, self._table)

    def _columns(self, ranks: IntArray) -> IntArray:
        """The columns of these nodes, which get one if they have none."""
        new = ranks[self._table.column[ranks] < 0]
        if len(new):
            before = len(self._table.rank)
            self._table.enter(self._flat, new)
            self._spares.touch(list(range(before, len(self._table.rank))))
            self._marked = np.concatenate((self._marked, np.zeros(len(new), np.int64)))
            self._names.clear()
            for column, rank in enumerate(new.tolist(), before):
                for took in self._late.pop(rank, ()):
                    self._put(column, took)
        return self._table.column[ranks]

    def enter(self, ranks: IntArray) -> None:
        """Give these nodes columns, so that `seeker.of_table` sees them."""
        self._columns(ranks)

    # -- what is kept ----------------------------------------------------------------------------
    def keep(
        self,
        job: int,
        request: Request,
        ranks: IntArray,
        devices: IntArray | None,
        from_us: int,
        to_us: int,
    ) -> None:
        """Nobody else may use what a part takes on each of these nodes between two instants.

        devices: of shares, one per node.
        """
        columns = self._columns(ranks)
        need = Need.of(request)
        amounts = np.empty((4, len(ranks)), np.int64)
        amounts[:] = np.array([[need.cpu], [need.memory], [need.tmp], [need.whole]])
        if need.whole and need.kinds:
            amounts[3] = self._of_one_kind(request, ranks)
        kept = [_Change(columns, amounts, None, from_us, to_us)]
        if need.share and devices is not None:
            for column, device in zip(columns.tolist(), devices.tolist(), strict=True):
                kept += self._share(column, device, need.share, from_us, to_us)
        for change in kept:
            self._table.change(*change)
        self._kept[job] = _Kept(columns, kept)
        self._marked[columns] += 1
        self._changed(columns)

    def _share(
        self, column: int, device: int, share: int, from_us: int, to_us: int
    ) -> list[_Change]:
        """Its part of the device, and from when that would be whole, one of the whole ones."""
        columns = np.array([column])
        whole_us = min(max(self._table.whole_from(column, device), from_us), to_us)
        milli = np.zeros((len(self._table.milli), 1), np.int64)
        milli[device] = share
        amounts = np.zeros((4, 1), np.int64)
        made = []
        if from_us < whole_us:
            made.append(_Change(columns, amounts, milli, from_us, whole_us))
        if whole_us < to_us:
            one = amounts.copy()
            one[3] = 1
            made.append(_Change(columns, one, None, whole_us, to_us))
        return made

    def _of_one_kind(self, request: Request, ranks: IntArray) -> IntArray:
        """GPUs to keep for a job that minds their model: all of a node that has others too."""
        allowed = self.layout.allowed(request)
        number = np.full(len(ranks), request.gpu_count, np.int64)
        if allowed is not None:
            there = self.layout.milli[:, ranks] > 0
            others = (there & ~allowed[:, ranks]).any(axis=0)
            number[others] = there.sum(axis=0)[others]
        return number

    def release(self, job: int) -> None:
        """Undo `keep`."""
        kept = self._kept.pop(job)
        for columns, amounts, milli, from_us, to_us in kept.changes:
            back = None if milli is None else -milli
            self._table.change(columns, -amounts, back, from_us, to_us)
        self._marked[kept.columns] -= 1
        self._changed(kept.columns)

    def lift(self, job: int) -> _Kept | None:
        """`release` for a moment; the answer is for `restore`. None: nothing is kept for it."""
        kept = self._kept.get(job)
        if kept is not None:
            self.release(job)
        return kept

    def restore(self, job: int, kept: _Kept) -> None:
        """Keep again what `lift` has released."""
        for change in kept.changes:
            self._table.change(*change)
        self._kept[job] = kept
        self._marked[kept.columns] += 1
        self._changed(kept.columns)

    def _changed(self, columns: IntArray) -> None:
        self.soonest_us = min(
            (kept.changes[0].from_us for kept in self._kept.values()), default=NEVER_US
        )
        self._spares.touch(columns.tolist())
        self._names.clear()

    def keeps(self, job: int) -> bool:
        return job in self._kept

    def marked(self) -> IntArray:
        """Nodes on which something is kept."""
        return self._table.rank[self._marked > 0]

    def spoilt(self, rank: int, need: Need, ends_us: int) -> list[int]:
        """Devices of a node that a part which starts now and ends then must leave alone."""
        column = int(self._table.column[rank])
        if not need.share or ends_us <= self.soonest_us or column < 0 or not self._marked[column]:
            return []
        return self._spares.spoilt(column, need, ends_us)

    def short(self, need: Need, ends_us: int) -> frozenset[str]:
        """Nodes on which a part that starts now and ends then takes from what is kept."""
        if ends_us <= self.soonest_us:
            return frozenset()
        short = self._spares.short(need, ends_us)
        short &= self._marked > 0
        key = short.tobytes()
        known = self._names.get(key)
        if known is None:
            names = self.layout.names
            ranks = self._table.rank[short].tolist()
            known = self._names[key] = frozenset([names[rank] for rank in ranks])
        return known
