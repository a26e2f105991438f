"""What is free on each node from when on, as rows of columns: the arithmetic under `calendar`.

Used by `calendar` only; pure. A node's time from now on is cut into *rows*, at each of which what
is free changes. Nodes on which things only fall free lie flat, sorted, as the cycle found them
(`Flat`). Nodes on which something is promised, or started later in the cycle, get a column of their
own in `Table`, where free amounts may fall as well. Whole GPUs are counted, not named: which ones
are free does not matter as long as there are enough. Shares are of one device, so `milli` has it;
but a share that is promised on a device that is whole by then is counted as a whole one from then
on, because it may as well be another.

Row planes: BEGIN, CPU, MEMORY, TMP, WHOLE (GPUs wholly free). Cost: `Flat` O(parts log parts) and
one pass over the rows; each operation of `Table` a few NumPy calls on rows x columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zenkei.model.resources import WHOLE_GPU_MILLI, Request
from zenkei.scheduler.holdings import Bools, Holdings
from zenkei.scheduler.promises import NEVER_US
from zenkei.scheduler.snapshot import IntArray

Millis = NDArray[np.int32]
BEGIN, CPU, MEMORY, TMP, WHOLE = range(5)
_DEVICES: Final = 5
"""Where devices begin, in an array that has them behind the planes."""
_REACH_BITS: Final = 46
"""Ends further ahead than 2^46 us, two years, are none."""
_SLACK: Final = 4


class Need(NamedTuple):
    """A request as the rows see it. share: of one device, else 0. kinds: models, if it minds."""

    cpu: int
    memory: int
    tmp: int
    whole: int
    share: int
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> Need:
        share = request.gpu_milli if request.gpu_count == 1 else 0
        part = 0 < share < WHOLE_GPU_MILLI
        whole = 0 if part else request.gpu_count * (request.gpu_milli > 0)
        sizes = request.cpu_milli, request.memory_bytes, request.tmp_bytes
        return cls(*sizes, whole, share if part else 0, request.gpu_kinds)


class Took(NamedTuple):
    """A part that started in this cycle. milli: by device."""

    sizes: tuple[int, int, int]
    milli: tuple[tuple[int, int], ...]
    ends_us: int


class Windows(NamedTuple):
    """Instants at which a part may start: from `first` to `last`, both included, on node `rank`.

    device: of a share, else -1. Windows of one node (and device) do not overlap.
    """

    rank: IntArray
    first: IntArray
    last: IntArray
    device: IntArray

    def keep(self, which: Bools | IntArray) -> Windows:
        return Windows(self.rank[which], self.first[which], self.last[which], self.device[which])


def joined(some: Sequence[Windows]) -> Windows:
    if len(some) == 1:
        return some[0]
    return Windows(*(np.concatenate(columns) for columns in zip(*some, strict=True)))


class Flat:
    """Nodes as the cycle found them: free amounts only grow. planes `[5, R]`, rows by node.

    start: of each node's rows, `[N + 1]`; the first begins now. extra: parts that started since.
    """

    def __init__(
        self,
        held: Holdings,
        now_us: int,
        estimates: Mapping[int, int] | None,
        extra: Sequence[tuple[int, Took]] = (),
    ) -> None:
        layout = held.layout
        rank, ends_us, sizes, milli = held.columns(estimates)
        if extra:
            rank, ends_us, sizes, milli = _with(extra, rank, ends_us, sizes, milli)
        number = len(layout.names)
        there = layout.milli > 0
        self.now_us = now_us
        self.milli_now = (layout.milli - by_node(milli, rank, number)) * there
        sizes_now = layout.sizes - by_node(sizes, rank, number)
        ahead_us = np.maximum(ends_us - now_us, 1)
        finite = np.flatnonzero(ahead_us < 1 << _REACH_BITS)
        key = rank[finite] << _REACH_BITS | ahead_us[finite]
        order = finite[np.argsort(key, kind="stable")]
        self._milli = milli[:, order] * there[:, rank[order]]
        counts = np.bincount(rank[order], minlength=number)
        self.start = np.concatenate(([0], np.cumsum(counts + 1)))
        self.counts = counts + 1
        self._part = np.cumsum(counts) - counts
        """The first part of each node in `_milli`."""
        row = np.arange(len(order)) + rank[order] + 1
        firsts = self.start[:-1]
        self.planes = np.zeros((5, number + len(order)), np.int64)
        self.planes[BEGIN, firsts] = now_us
        self.planes[BEGIN, row] = now_us + ahead_us[order]
        grown = self.planes[CPU:WHOLE]
        grown[:, row] = sizes[:, order]
        grown[:, firsts] = sizes_now
        _run_up(grown, firsts, self.counts)
        self._whole(rank[order], row)
        self._last = self._same_instant(rank[order])

    def _whole(self, rank: IntArray, row: IntArray) -> None:
        """How many GPUs are wholly free in each row. rank, row: of each part that ends."""
        whole, firsts = self.planes[WHOLE], self.start[:-1]
        now = (self.milli_now >= WHOLE_GPU_MILLI).sum(axis=0)
        whole[row] = (self._milli >= WHOLE_GPU_MILLI).sum(axis=0)
        whole[firsts] = now
        _run_up(self.planes[WHOLE:], firsts, self.counts)
        # a device that is shared becomes whole with the last of those on it
        shared = ((self.milli_now % WHOLE_GPU_MILLI) != 0).any(axis=0)
        parted = ((self._milli % WHOLE_GPU_MILLI) != 0).any(axis=0)
        shared[rank[parted]] = True
        for node in _batches(np.flatnonzero(shared), self.counts):
            milli = self._padded(node)
            counted = (milli >= WHOLE_GPU_MILLI).sum(axis=0)
            place = np.arange(len(counted))[:, None]
            real = place < self.counts[node]
            whole[(self.start[node] + place)[real]] = counted[real]

    def _same_instant(self, rank: IntArray) -> IntArray:
        """By row: the last one of the same node and instant, whose amounts then hold for all."""
        begin = self.planes[BEGIN]
        size = len(begin)
        last = np.arange(size)
        if len(rank):
            same = np.zeros(size, np.bool_)
            same[:-1] = begin[1:] == begin[:-1]
            same[self.start[1:] - 1] = False
            if same.any():
                last = np.where(same, size, last)
                last = np.minimum.accumulate(last[::-1])[::-1]
                self.planes[CPU:, same] = self.planes[CPU:, last[same]]
        return last

    def _padded(self, node: IntArray) -> Millis:
        """`[D, K, M]`: milli free by row, before rows of one instant are made alike."""
        most = int(self.counts[node].max(initial=1))
        place = np.arange(most - 1)[:, None]
        real = place < self.counts[node] - 1
        part = np.where(real, self._part[node] + place, 0)
        milli = np.zeros((len(self._milli), most, len(node)), np.int32)
        milli[:, 0] = self.milli_now[:, node]
        if self._milli.size:
            np.multiply(self._milli[:, part], real, out=milli[:, 1:])
        return np.cumsum(milli, axis=1, dtype=np.int32)

    def rows(self, node: IntArray) -> IntArray:
        """`[K, M]`: rows of some nodes. Those with fewer repeat their last."""
        most = int(self.counts[node].max(initial=1))
        last = self.counts[node] - 1
        return self.start[node] + np.minimum(np.arange(most)[:, None], last)

    def milli(self, node: IntArray) -> Millis:
        """`[D, K, M]` for the same nodes and rows as `rows`."""
        rows = self.rows(node)
        padded = self._padded(node)
        place = self._last[rows] - self.start[node]
        return padded[:, place, np.arange(len(node))]

    def least_us(self, need: Need, allowed: Bools | None) -> IntArray:
        """By node: not before this instant does a part fit. O(rows)."""
        if need.share:
            return self._share_us(need.share, allowed)
        plane, least = (WHOLE, need.whole) if need.whole else (CPU, need.cpu)
        short = self.planes[plane] < least
        missing = np.add.reduceat(short, self.start[:-1]) if len(short) else np.zeros(0, np.int64)
        row = self.start[:-1] + np.minimum(missing, self.counts - 1)
        return np.where(missing < self.counts, self.planes[BEGIN, row], NEVER_US)

    def _share_us(self, share: int, allowed: Bools | None) -> IntArray:
        found = np.full(len(self.counts), NEVER_US, np.int64)
        for node in _batches(np.arange(len(self.counts)), self.counts):
            enough = self.milli(node) >= share
            if allowed is not None:
                enough &= allowed[:, None, node]
            fits = enough.any(axis=0)
            begin = self.planes[BEGIN, self.rows(node)]
            found[node] = np.where(fits, begin, NEVER_US).min(axis=0)
        return found


class Table:
    """Columns of nodes on which free amounts may fall. rank `[M]`: of the node. column: by rank,

    -1 for none. Rows behind a node's last never begin, and say nothing.
    """

    def __init__(self, nodes: int, devices: int) -> None:
        self._all = np.zeros((_DEVICES + devices, _SLACK, _SLACK), np.int64)
        """Planes, then devices; with room for more columns."""
        self.rank = np.zeros(0, np.int64)
        self.column = np.full(nodes, -1, np.int64)

    @property
    def planes(self) -> IntArray:
        """`[5, K, M]`."""
        return self._all[:_DEVICES, :, : len(self.rank)]

    @property
    def milli(self) -> IntArray:
        """`[D, K, M]`: free of each device."""
        return self._all[_DEVICES:, :, : len(self.rank)]

    def enter(self, flat: Flat, node: IntArray) -> None:
        """Give these nodes, which have none, a column each."""
        rows = flat.rows(node)
        before, size = len(self.rank), len(self.rank) + len(node)
        self._reach(len(rows))
        if size > self._all.shape[2]:
            wider = np.zeros((*self._all.shape[:2], 2 * size), np.int64)
            wider[:, :, :before] = self._all[:, :, :before]
            self._all = wider
        fresh = self._all[:, :, before:size]
        fresh[BEGIN] = NEVER_US
        fresh[:_DEVICES, : len(rows)] = flat.planes[:, rows]
        fresh[_DEVICES:, : len(rows)] = flat.milli(node)
        padding = np.arange(len(rows))[:, None] >= flat.counts[node]
        fresh[BEGIN, : len(rows)][padding] = NEVER_US
        self.column[node] = np.arange(before, size)
        self.rank = np.concatenate((self.rank, node))

    def _reach(self, rows: int) -> None:
        """Room for so many rows."""
        more = rows - self._all.shape[1]
        if more > 0:
            tail = np.zeros((len(self._all), more + _SLACK, self._all.shape[2]), np.int64)
            tail[BEGIN] = NEVER_US
            self._all = np.concatenate((self._all, tail), axis=1)

    def change(
        self,
        columns: IntArray,
        amounts: IntArray,
        milli: IntArray | None,
        from_us: int,
        to_us: int,
    ) -> None:
        """Take from `columns` between two instants: amounts `[4, M]` of CPU to WHOLE.

        milli: `[D, M]`, taken from devices that are not whole then. Negative amounts give back.
        """
        some = _cut(self._all[:, :, columns], from_us, to_us)
        within = (some[BEGIN] >= from_us) & (some[BEGIN] < to_us)
        some[CPU:_DEVICES] -= amounts[:, None, :] * within
        if milli is not None:
            some[_DEVICES:] -= milli[:, None, :] * within
        rows = some.shape[1]
        self._reach(rows)
        self._all[:, :rows, columns] = some

    def whole_from(self, column: int, device: int) -> int:
        """From which instant on a device is wholly free; it then stays so. NEVER_US: from none."""
        whole = self.milli[device, :, column] >= WHOLE_GPU_MILLI
        return int(self.planes[BEGIN, int(whole.argmax()), column]) if whole.any() else NEVER_US

    def take(self, column: int, took: Took) -> None:
        """`change` for one part that runs from now on: in place."""
        if took.ends_us >= NEVER_US:
            at = self._all.shape[1]
        else:
            if self._all[BEGIN, -1, column] < NEVER_US:
                self._reach(self._all.shape[1] + 1)
            own = self._all[:, :, column]
            at = int(own[BEGIN].searchsorted(took.ends_us))
            if own[BEGIN, at] != took.ends_us:
                own[:, at + 1 :] = own[:, at:-1].copy()
                own[:, at] = own[:, at - 1]
                own[BEGIN, at] = took.ends_us
        own = self._all[:, :at, column]
        for plane, amount in enumerate(took.sizes, CPU):
            own[plane] -= amount
        for index, milli in took.milli:
            free = own[_DEVICES + index]
            own[WHOLE] -= (free >= WHOLE_GPU_MILLI) & (milli > 0)
            free -= milli

    def lowest(self, columns: IntArray, to_us: int) -> IntArray:
        """`[4, M]`: the least of CPU to WHOLE from now up to an instant."""
        planes = self.planes if len(columns) == len(self.rank) else self.planes[:, :, columns]
        later = planes[BEGIN] >= to_us
        lowest: IntArray = np.where(later, NEVER_US, planes[CPU:]).min(axis=1)
        return lowest

    def lowest_milli(self, columns: IntArray, to_us: int) -> IntArray:
        """`[D, M]`: the least of each device; -1 where a share would cost a GPU that is needed."""
        begin, whole = self.planes[BEGIN][:, columns], self.planes[WHOLE][:, columns]
        milli = self.milli[:, :, columns]
        needed = (milli >= WHOLE_GPU_MILLI) & (whole <= 0)
        later = begin >= to_us
        free = np.where(later, WHOLE_GPU_MILLI, np.where(needed, -1, milli))
        lowest: IntArray = free.min(axis=1)
        return lowest


def fitting(
    planes: IntArray, milli: IntArray | Millis | None, need: Need, allowed: Bools | None
) -> list[Bools]:
    """`[K, M]`: in which rows a part fits; for a share, one such for each device.

    milli is looked at for shares, and where a node's models differ. allowed: `[D, M]`.
    """
    fits = planes[CPU] >= need.cpu
    for plane, least in ((MEMORY, need.memory), (TMP, need.tmp)):
        fits &= planes[plane] >= least
    if need.share:
        assert milli is not None
        spare = planes[WHOLE] >= 1
        found = []
        for device, free in enumerate(milli):
            enough = fits & (free >= need.share) & ((free < WHOLE_GPU_MILLI) | spare)
            found.append(enough if allowed is None else enough & allowed[device])
        return found
    fits &= planes[WHOLE] >= need.whole
    if need.whole and allowed is not None and milli is not None:
        fits &= ((milli >= WHOLE_GPU_MILLI) & allowed[:, None, :]).sum(axis=0) >= need.whole
    return [fits]


def windows(
    planes: IntArray, fits: list[Bools], rank: IntArray, run_us: int, *, share: bool
) -> Windows:
    """When a part that runs `run_us` (NEVER_US: for ever) may start. fits: of `fitting`."""
    begin = planes[BEGIN]
    some = []
    for device, fit in enumerate(fits):
        until = np.where(fit, NEVER_US, begin)
        until = np.minimum.accumulate(until[::-1], axis=0)[::-1]
        opens = fit & (begin < NEVER_US)
        opens[1:] &= ~fit[:-1]
        row, column = np.nonzero(opens)
        first, end = begin[row, column], until[row, column]
        if run_us >= NEVER_US:
            last = np.where(end >= NEVER_US, NEVER_US, -1)
        else:
            last = np.where(end >= NEVER_US, NEVER_US, end - run_us)
        keep = last >= first
        number = np.full(len(row), device if share else -1, np.int64)
        some.append(Windows(rank[column], first, last, number).keep(keep))
    return joined(some) if some else Windows(*(np.zeros(0, np.int64),) * 4)


def _cut(some: IntArray, *instants_us: int) -> IntArray:
    """`some` with rows that begin at these instants, rising, none of them before the first row."""
    begin, size = some[BEGIN], some.shape[1]
    cuts: list[tuple[IntArray, Bools, int]] = []
    shift = np.zeros(some.shape[2], np.int64)
    for instant_us in instants_us:
        if instant_us < NEVER_US:
            new = ~(begin == instant_us).any(axis=0)
            at = np.where(new, (begin <= instant_us).sum(axis=0) + shift, size + len(instants_us))
            shift = shift + new
            cuts.append((at, new, instant_us))
    row = source = np.arange(size + len(cuts))[:, None]
    for at, _, _ in cuts:
        source = source - (row >= at)
    made: IntArray = some[:, np.minimum(source, size - 1), np.arange(some.shape[2])]
    made[BEGIN, np.broadcast_to(source, made.shape[1:]) >= size] = NEVER_US
    for at, new, instant_us in cuts:
        made[BEGIN, at[new], np.flatnonzero(new)] = instant_us
    # most columns have a row to spare: the table grows only when none has
    used = size if (made[BEGIN, size:] >= NEVER_US).all() else len(row)
    return made[:, :used]


def by_node(amounts: IntArray | Millis, rank: IntArray, nodes: int) -> IntArray:
    """`[X, N]`: sums of `[X, P]`. Exact below 2^53."""
    return (
        np.array([np.bincount(rank, weights=row, minlength=nodes) for row in amounts], np.float64)
        .astype(np.int64)
        .reshape(len(amounts), nodes)
    )


def _run_up(planes: IntArray, firsts: IntArray, counts: IntArray) -> None:
    """Sums along the rows of each node, in place; the first row of each has its amount."""
    if not planes.shape[1]:
        return
    first = planes[:, firsts].copy()
    np.cumsum(planes, axis=1, out=planes)
    planes -= np.repeat(planes[:, firsts] - first, counts, axis=1)


def _batches(node: IntArray, counts: IntArray, cells: int = 200_000) -> list[IntArray]:
    """Nodes with like numbers of rows together, so that padding stays small."""
    if not len(node):
        return []
    node = node[np.argsort(counts[node], kind="stable")]
    rows = np.cumsum(counts[node])
    ends = np.searchsorted(rows, np.arange(cells, rows[-1] + cells, cells))
    return [part for part in np.split(node, ends) if len(part)]


def _with(
    extra: Sequence[tuple[int, Took]],
    rank: IntArray,
    ends_us: IntArray,
    sizes: IntArray,
    milli: Millis,
) -> tuple[IntArray, IntArray, IntArray, Millis]:
    more = np.zeros((len(milli), len(extra)), np.int32)
    for at, (_, took) in enumerate(extra):
        for device, taken in took.milli:
            more[device, at] += taken
    return (
        np.concatenate((rank, np.array([one for one, _ in extra], np.int64))),
        np.concatenate((ends_us, np.array([took.ends_us for _, took in extra], np.int64))),
        np.concatenate((sizes, np.array([took.sizes for _, took in extra], np.int64).T), axis=1),
        np.concatenate((milli, more), axis=1),
    )
