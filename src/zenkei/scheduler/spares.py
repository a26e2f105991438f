"""What later jobs may use of nodes on which something is promised, up to a given end.

Used by `calendar` only; pure. For each end that is asked for, the least that is free on each
promised node until then is kept, and brought up to date for the nodes that were touched since.
A job fits beside the promises if it fits into that; which devices it must leave alone is asked for
beside (`spoilt`). Cost: one pass over the table for a new end,
then O(touched nodes · rows), and some ten NumPy calls on the promised nodes for an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zenkei.scheduler.holdings import Bools
from zenkei.scheduler.snapshot import IntArray
from zenkei.scheduler.timetable import CPU, MEMORY, TMP, WHOLE, Need, Table


@dataclass(slots=True)
class _Until:
    """lowest `[4, M]`, milli `[D, M]` (None until shares ask). seen: of the log."""

    lowest: IntArray
    milli: IntArray | None
    seen: int


class Spares:
    """See the module's docstring."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._log: list[int] = []
        self._until: dict[int, _Until] = {}

    def touch(self, columns: list[int]) -> None:
        """What is free in these columns of the table has changed, or they are new."""
        self._log += columns

    def short(self, need: Need, ends_us: int) -> Bools:
        """By column: whether a part that starts now and ends then finds too little until then."""
        until = self._current(ends_us)
        lowest = until.lowest
        short: Bools = np.less(lowest[CPU - 1], need.cpu)
        short |= lowest[MEMORY - 1] < need.memory
        short |= lowest[TMP - 1] < need.tmp
        if need.whole:
            short |= lowest[WHOLE - 1] < need.whole
        elif need.share:
            now, later = self._table.milli[:, 0], self._devices(until, ends_us)
            short |= ~((now >= need.share) & (later >= need.share)).any(axis=0)
        return short

    def spoilt(self, column: int, need: Need, ends_us: int) -> list[int]:
        """Devices that a share must leave alone, because somebody who comes later needs them."""
        later = self._devices(self._current(ends_us), ends_us)[:, column]
        now = self._table.milli[:, 0, column]
        spoilt: list[int] = np.flatnonzero((now >= need.share) & (later < need.share)).tolist()
        return spoilt

    def _devices(self, until: _Until, ends_us: int) -> IntArray:
        if until.milli is None:
            until.milli = self._table.lowest_milli(np.arange(len(self._table.rank)), ends_us)
        return until.milli

    def _current(self, ends_us: int) -> _Until:
        table, until = self._table, self._until.get(ends_us)
        size = len(table.rank)
        if until is None:
            every = np.arange(size)
            until = _Until(table.lowest(every, ends_us), None, len(self._log))
            self._until[ends_us] = until
        elif until.seen < len(self._log):
            columns = np.array(sorted(set(self._log[until.seen :])), np.int64)
            until.lowest = _wider(until.lowest, size)
            until.lowest[:, columns] = table.lowest(columns, ends_us)
            if until.milli is not None:
                until.milli = _wider(until.milli, size)
                until.milli[:, columns] = table.lowest_milli(columns, ends_us)
            until.seen = len(self._log)
        return until


def _wider(columns: IntArray, size: int) -> IntArray:
    """Room for `size` columns; what is in the new ones does not matter."""
    if columns.shape[1] == size:
        return columns
    wider = np.zeros((len(columns), size), columns.dtype)
    wider[:, : columns.shape[1]] = columns
    return wider
