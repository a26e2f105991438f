"""Who waits, in order: higher priority first, then earlier submission, then smaller id.

Used by `planner` and `order`. A segment holds jobs that differ in nothing but their age, sorted: of
one class, queue, user, priority, time limit and forecast; a plan looks at heads only. Jobs whose
retry delay has not passed stand aside; one that lies further ahead than any delay is from before
the clock was set back, and does not. What a snapshot brings is read when it comes to it
(`Loaded`): most jobs are not looked at before they change. Pure. Cost: entering k jobs into a
segment O(k log n) and a memmove, or one merge if k is large; taking the head out O(1); `due` O(1)
while time moves forward; `load` O(jobs log jobs) in NumPy.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from zenkei.model.ids import JobId
from zenkei.model.instants import FURTHEST_US, is_ahead
from zenkei.scheduler.snapshot import IntArray, WaitingColumns, WaitingJob

_ID_BITS: Final = 60
_TIME_BITS: Final = 62
_ID_MASK: Final = (1 << _ID_BITS) - 1
_TIME_MASK: Final = (1 << _TIME_BITS) - 1
_MERGE: Final = 16
"""From this many new jobs on, a segment is merged instead of searched for each."""

SegmentKey: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""Queue, class, user, priority, limit_us, likely_us, worth, served_us."""
GroupKey: TypeAlias = tuple[int, int]
"""User, priority."""


Waiting: TypeAlias = tuple[int, SegmentKey, int]
"""Where a waiting job stands: order, segment, not_before_us. Plain: there are 50,000 of them."""


def order_of(row: WaitingJob) -> int:
    """One integer that sorts like (-priority, submitted_us, id)."""
    behind = -row.priority << _TIME_BITS | row.submitted_us
    return behind << _ID_BITS | row.job


def _segment_of(row: WaitingJob) -> SegmentKey:
    key = row.queue, row.job_class, row.user, row.priority, row.limit_us
    return *key, row.likely_us, row.worth, row.served_us


def job_of(order: int) -> JobId:
    """The job that `order_of` was made of."""
    return JobId.from_key(order & _ID_MASK)


def priority_of(order: int) -> int:
    """The priority of the job that `order_of` was made of."""
    return -(order >> _ID_BITS + _TIME_BITS)


def submitted_of(order: int) -> int:
    """When the job was submitted that `order_of` was made of."""
    return order >> _ID_BITS & _TIME_MASK


def runs_us(key: SegmentKey) -> int:
    """How long jobs of a segment run, as far as anybody knows; 0: nobody does."""
    limit_us, likely_us = key[4], key[5]
    return min(limit_us, likely_us) if limit_us and likely_us else limit_us or likely_us


class Segment:
    """Jobs that differ in their age only. keys[start:] are sorted; those before have left."""

    __slots__ = ("keys", "start")

    def __init__(self, keys: list[int]) -> None:
        """keys: sorted, and from now on its own."""
        self.keys = keys
        self.start = 0

    def __len__(self) -> int:
        return len(self.keys) - self.start

    def add(self, keys: list[int]) -> None:
        if len(keys) < _MERGE:
            for key in keys:
                insort(self.keys, key, lo=self.start)
            return
        del self.keys[: self.start]
        self.start = 0
        self.keys.extend(keys)
        self.keys.sort()  # two runs that are sorted already: a merge

    def remove(self, key: int) -> None:
        at = bisect_left(self.keys, key, lo=self.start)
        assert self.keys[at] == key, "only jobs that wait here are removed"
        if at > self.start:
            del self.keys[at]
            return
        self.start += 1
        if self.start > _MERGE and self.start * 2 > len(self.keys):
            del self.keys[: self.start]
            self.start = 0


Entry: TypeAlias = tuple[int, int, SegmentKey, Segment]
"""The order of a job, its place in the segment, and the segment. Orders are unique."""


class Loaded:
    """Jobs in line of a snapshot, read when it comes to them: most never are before they change.

    rows: of the columns, those in line.
    """

    def __init__(self, columns: WaitingColumns, rows: IntArray) -> None:
        by = columns.queue[rows], columns.user[rows], columns.priority[rows]
        rows = rows[np.lexsort(by[::-1])]
        self._columns = WaitingColumns(*(column[rows] for column in columns))
        queues, first = np.unique(self._columns.queue, return_index=True)
        ends = [*first.tolist(), len(rows)]
        self._ranges = dict(zip(queues.tolist(), pairwise(ends), strict=True))

    def classes(self) -> dict[int, int]:
        """How many jobs each class has."""
        names, counts = np.unique(self._columns.job_class, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    @property
    def queues(self) -> Iterable[int]:
        return self._ranges

    def groups(self, queue: int, bits: Mapping[int, int]) -> dict[GroupKey, Group]:
        """Those of one queue, without their segments."""
        first, last = self._ranges[queue]
        columns = self._columns
        users, priorities, classes = (
            column[first:last].tolist()
            for column in (columns.user, columns.priority, columns.job_class)
        )
        found: dict[GroupKey, Group] = {}
        group = Group()
        before: GroupKey | None = None
        for at, one in enumerate(zip(users, priorities, strict=True)):
            if one != before:
                before = one
                group = found[one] = Group(self, first + at)
            group.last = first + at + 1
            group.mask |= bits[classes[at]]
        return found

    def segments(self, first: int, last: int) -> dict[SegmentKey, list[int]]:
        """Orders of the jobs of these rows, in any order."""
        found: dict[SegmentKey, list[int]] = {}
        columns = [column[first:last].tolist() for column in self._columns]
        for job, job_class, queue, priority, submitted_us, _, user, *known in zip(
            *columns, strict=True
        ):
            key = (queue, job_class, user, priority, *known)
            order = (-priority << _TIME_BITS | submitted_us) << _ID_BITS | job
            found.setdefault(key, []).append(order)
        return found


class Group:
    """The segments of one user and priority in one queue. mask: the bits of all their classes."""

    __slots__ = ("_first", "_heads", "_loaded", "_segments", "_since_us", "last", "mask")

    def __init__(self, loaded: Loaded | None = None, first: int = 0) -> None:
        """loaded: it has jobs that nobody has looked at yet, in rows from `first` to `last`."""
        self._loaded = loaded
        self._first = self.last = first
        self._segments: dict[SegmentKey, Segment] = {}
        self.mask = 0
        self._heads: list[Entry] | None = None
        self._since_us = -1
        """No job was submitted before; -1: not known."""

    @property
    def segments(self) -> dict[SegmentKey, Segment]:
        if self._loaded is not None:
            for key, orders in self._loaded.segments(self._first, self.last).items():
                orders.sort()
                self._segments[key] = Segment(orders)
            self._loaded = None
        return self._segments

    def changed(self) -> None:
        """A segment is not what it was."""
        self._heads = None

    def joined(self, orders: list[int]) -> None:
        """These are new."""
        self._heads = None
        if self._since_us >= 0:
            self._since_us = min(self._since_us, submitted_of(min(orders)))

    def has_older(self, than_us: int) -> bool:
        """Whether the first job was submitted at `than_us` or before."""
        if self._since_us <= than_us:
            self._since_us = submitted_of(min([entry[0] for entry in self.heads()]))
        return self._since_us <= than_us

    @property
    def oldest_us(self) -> int:
        """When the first of them was submitted."""
        return submitted_of(min([entry[0] for entry in self.heads()]))

    def heads(self) -> list[Entry]:
        """The first jobs of all segments, in any order: not to be changed.

        Few groups change between two plans.
        """
        if self._heads is None:
            self._heads = [
                (segment.keys[segment.start], segment.start, key, segment)
                for key, segment in self.segments.items()
            ]
        return self._heads


class WaitingLine:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._jobs: dict[int, Waiting | int] = {}
        """Where each stands; a number: its row in `_columns`."""
        self._columns: WaitingColumns | None = None
        self._pristine = False
        """Nothing has changed since `load`."""
        self._queues: dict[int, dict[GroupKey, Group]] = {}
        self._unread: dict[int, Loaded] = {}
        """Queues of which `_queues` has no groups yet."""
        self._classes: dict[int, int] = {}
        """How many jobs in line each class has."""
        self._bits: dict[int, int] = {}
        self._spare_bits: list[int] = []
        self._aside: list[tuple[int, int]] = []
        """(not_before_us, job) of those whose time has not come, sorted."""
        self._now_us = 0
        """Jobs whose instant is ahead of this stand aside."""
        self._since_us = 0
        """No job in line was submitted before, as far as that was seen."""
        self._far: list[tuple[int, int]] = []
        """(not_before_us, job) of those in line that are too far ahead to stand aside, sorted."""

    def __len__(self) -> int:
        return len(self._jobs)

    def _standing(self, job: int) -> Waiting | None:
        known = self._jobs.get(job)
        return self._read(known) if isinstance(known, int) else known

    def _read(self, row: int) -> Waiting:
        assert self._columns is not None, "rows are those of a snapshot"
        one = WaitingJob(*(int(column[row]) for column in self._columns))
        return order_of(one), _segment_of(one), one.not_before_us

    def class_of(self, job: int) -> int | None:
        """The class of a waiting job; None if it does not wait."""
        known = self._standing(job)
        return None if known is None else known[1][1]

    def segment_of(self, job: int) -> SegmentKey | None:
        """Where a waiting job stands; None if it does not wait."""
        known = self._standing(job)
        return None if known is None else known[1]

    def order_at(self, job: int) -> int:
        """See `order_of`. Raises KeyError if it does not wait."""
        known = self._jobs[job]
        return self._read(known)[0] if isinstance(known, int) else known[0]

    def not_before_us(self, job: int) -> int:
        """When a waiting job may be tried. Raises KeyError if it does not wait."""
        known = self._jobs[job]
        return self._read(known)[2] if isinstance(known, int) else known[2]

    @property
    def aside(self) -> int:
        return len(self._aside)

    @property
    def next_us(self) -> int | None:
        """When the first of those that stand aside comes back, or one has to stand aside."""
        back_us = [self._aside[0][0]] if self._aside else []
        return min(back_us + self._nears_us(), default=None)

    def _nears_us(self) -> list[int]:
        return [self._far[0][0] - FURTHEST_US] if self._far else []

    def segments(self) -> Iterator[tuple[SegmentKey, Segment]]:
        """Those that have jobs."""
        for queue in [*self._queues]:
            for group in self._groups(queue).values():
                yield from group.segments.items()

    def _groups(self, queue: int) -> dict[GroupKey, Group]:
        """Of a queue in which jobs wait."""
        unread = self._unread.pop(queue, None)
        if unread is not None:
            self._queues[queue] = unread.groups(queue, self._bits)
        return self._queues[queue]

    @property
    def queues(self) -> Iterable[int]:
        """Those in which jobs wait."""
        return self._queues.keys()

    def of_queue(self, queue: int) -> Mapping[GroupKey, Group]:
        """Its segments that have jobs, by user and priority."""
        return self._groups(queue) if queue in self._queues else {}

    def has_older(self, than_us: int) -> bool:
        """Whether any job may have been submitted at `than_us` or before."""
        return self._since_us <= than_us

    @property
    def classes(self) -> int:
        """How many classes have jobs in line."""
        return len(self._classes)

    def bit(self, job_class: int) -> int:
        """One bit for each class that has jobs in line, as low as can be; 0 of others."""
        return self._bits.get(job_class, 0)

    def enter(self, rows: Iterable[WaitingJob]) -> None:
        """Jobs that wait from now on; none of them waits already."""
        self._pristine = False
        new: dict[SegmentKey, list[int]] = {}
        for row in rows:
            order = order_of(row)
            segment = _segment_of(row)
            self._since_us = min(self._since_us, row.submitted_us)
            self._jobs[row.job] = (order, segment, row.not_before_us)
            if row.not_before_us > self._now_us + FURTHEST_US:
                insort(self._far, (row.not_before_us, row.job))
            if is_ahead(row.not_before_us, self._now_us):
                insort(self._aside, (row.not_before_us, row.job))
            else:
                new.setdefault(segment, []).append(order)
        self._add(new)

    def load(self, columns: WaitingColumns) -> None:
        """`enter` for a whole snapshot, into an empty line. O(jobs log jobs), in NumPy."""
        jobs: list[int] = columns.job.tolist()
        self._jobs = dict(zip(jobs, range(len(jobs)), strict=True))
        self._columns, self._pristine = columns, True
        self._since_us = int(columns.submitted_us.min()) if jobs else 0
        self._start_over(self._now_us)

    def leave(self, job: int) -> None:
        """The job waits no longer, if it did. O(1) for the first of its segment."""
        known = self._standing(job)
        if known is None:
            return
        del self._jobs[job]
        self._pristine = False
        order, key, not_before_us = known
        if is_ahead(not_before_us, self._now_us):
            del self._aside[bisect_left(self._aside, (not_before_us, job))]
            return
        if not_before_us > self._now_us:
            del self._far[bisect_left(self._far, (not_before_us, job))]
        group = self._groups(key[0])[key[2:4]]
        group.changed()
        segment = group.segments[key]
        segment.remove(order)
        if not len(segment):
            self._drop(key)
        job_class = key[1]
        self._classes[job_class] -= 1
        if not self._classes[job_class]:
            del self._classes[job_class]
            self._spare_bits.append(self._bits.pop(job_class))

    def _drop(self, key: SegmentKey) -> None:
        queue, job_class, user, priority = key[:4]
        groups = self._queues[queue]
        group = groups[user, priority]
        del group.segments[key]
        if not any(one[1] == job_class for one in group.segments):
            group.mask ^= self._bits[job_class]
        if not group.segments:
            del groups[user, priority]
            if not groups:
                del self._queues[queue]

    def due(self, now_us: int) -> None:
        """Let those in line whose time has come by `now_us`, and only those.

        O(1) if nothing changes, O(waiting) if the clock ran backwards or did so earlier.
        """
        back = now_us < self._now_us and self._is_later(now_us)
        if back or any(now_us >= nears_us for nears_us in self._nears_us()):
            self._start_over(now_us)
            return
        self._now_us = now_us
        passed = bisect_left(self._aside, (now_us + 1,))
        new: dict[SegmentKey, list[int]] = {}
        for _, job in self._aside[:passed]:
            known = self._standing(job)
            assert known is not None, "who stands aside waits"
            new.setdefault(known[1], []).append(known[0])
        del self._aside[:passed]
        self._add(new)

    def _is_later(self, now_us: int) -> bool:
        """Whether the time of any job comes after `now_us`."""
        if self._columns is not None and self._pristine:
            return bool((self._columns.not_before_us > now_us).any())
        return any(standing[2] > now_us for _, standing in self._all())

    def _all(self) -> list[tuple[int, Waiting]]:
        return [
            (job, self._read(known) if isinstance(known, int) else known)
            for job, known in self._jobs.items()
        ]

    def _start_over(self, now_us: int) -> None:
        self._now_us = now_us
        for known in (self._queues, self._unread, self._classes, self._bits):
            known.clear()
        self._spare_bits.clear()
        if self._columns is not None and self._pristine:
            not_before_us = self._columns.not_before_us
            ahead = not_before_us > now_us
            some = zip(
                not_before_us[ahead].tolist(), self._columns.job[ahead].tolist(), strict=True
            )
            later = sorted(some)
            ahead &= not_before_us <= now_us + FURTHEST_US
            self._open(Loaded(self._columns, np.flatnonzero(~ahead)))
        else:
            every = self._all()
            new: dict[SegmentKey, list[int]] = {}
            for _, (order, segment, not_before) in every:
                if not is_ahead(not_before, now_us):
                    new.setdefault(segment, []).append(order)
            later = sorted((standing[2], job) for job, standing in every if standing[2] > now_us)
            self._add(new)
        first_far = bisect_left(later, (now_us + FURTHEST_US + 1,))
        self._aside, self._far = later[:first_far], later[first_far:]

    def _open(self, loaded: Loaded) -> None:
        """These are in line, and nobody else."""
        self._queues = {queue: {} for queue in loaded.queues}
        self._unread = dict.fromkeys(loaded.queues, loaded)
        self._classes = loaded.classes()
        self._bits = {job_class: 1 << i for i, job_class in enumerate(self._classes)}

    def _add(self, new: dict[SegmentKey, list[int]]) -> None:
        queues, classes = self._queues, self._classes
        for key, orders in new.items():
            queue, job_class, user, priority = key[:4]
            if queue in queues:
                groups = self._groups(queue)
            else:
                groups = queues[queue] = {}
            group = groups.get((user, priority))
            if group is None:
                group = groups[user, priority] = Group()
            group.joined(orders)
            if job_class not in classes:
                spare = self._spare_bits
                self._bits[job_class] = spare.pop() if spare else 1 << len(self._bits)
            classes[job_class] = classes.get(job_class, 0) + len(orders)
            segment = group.segments.get(key)
            if segment is not None:
                segment.add(orders)
                continue
            orders.sort()
            group.segments[key] = Segment(orders)
            group.mask |= self._bits[job_class]

    def ahead_of(self, job: int, *, in_queue: bool = False) -> int:
        """Jobs of all classes that stand before a waiting job. O(segments · log jobs).

        in_queue: of its own queue only, as where each queue has a line of its own.
        """
        known = self._standing(job)
        assert known is not None, "only a job that waits is asked about"
        order, (own, *_), _ = known
        return sum(
            bisect_left(segment.keys, order, lo=segment.start) - segment.start
            for queue in ((own,) if in_queue else [*self._queues])
            for group in self.of_queue(queue).values()
            for segment in group.segments.values()
            if segment.keys[segment.start] < order
        )
