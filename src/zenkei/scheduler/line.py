"""Who waits, in order: higher priority first, then earlier submission, then smaller id.

Used by `planner` and `order`. A segment holds jobs that differ in nothing but their age, sorted: of
one class, queue, user, priority and time limit; a plan looks at heads only. Jobs whose retry delay
has not passed stand aside; one that lies further ahead than any delay is from before the clock was
set back, and does not. Pure. Cost: entering k jobs into a segment O(k log n) and a memmove, or one
merge if k is large; taking the head out O(1); `due` O(1) while time moves forward.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from zenkei.model.ids import JobId
from zenkei.model.instants import FURTHEST_US, is_ahead
from zenkei.scheduler.snapshot import WaitingColumns, WaitingJob

_ID_BITS: Final = 60
_TIME_BITS: Final = 62
_ID_MASK: Final = (1 << _ID_BITS) - 1
_TIME_MASK: Final = (1 << _TIME_BITS) - 1
_MERGE: Final = 16
"""From this many new jobs on, a segment is merged instead of searched for each."""

SegmentKey: TypeAlias = tuple[int, int, int, int, int]
"""Queue, class, user, priority, limit_us."""
GroupKey: TypeAlias = tuple[int, int]
"""User, priority."""


Waiting: TypeAlias = tuple[int, SegmentKey, int]
"""Where a waiting job stands: order, segment, not_before_us. Plain: there are 50,000 of them."""


def order_of(row: WaitingJob) -> int:
    """One integer that sorts like (-priority, submitted_us, id)."""
    behind = -row.priority << _TIME_BITS | row.submitted_us
    return behind << _ID_BITS | row.job


def job_of(order: int) -> JobId:
    """The job that `order_of` was made of."""
    return JobId.from_key(order & _ID_MASK)


def priority_of(order: int) -> int:
    """The priority of the job that `order_of` was made of."""
    return -(order >> _ID_BITS + _TIME_BITS)


def submitted_of(order: int) -> int:
    """When the job was submitted that `order_of` was made of."""
    return order >> _ID_BITS & _TIME_MASK


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


class Group:
    """The segments of one user and priority in one queue. mask: the bits of all their classes."""

    __slots__ = ("_heads", "_since_us", "mask", "segments")

    def __init__(self) -> None:
        self.segments: dict[SegmentKey, Segment] = {}
        self.mask = 0
        self._heads: list[Entry] | None = None
        self._since_us = -1
        """No job was submitted before; -1: not known."""

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
        self._jobs: dict[int, Waiting] = {}
        self._queues: dict[int, dict[GroupKey, Group]] = {}
        self._classes: dict[int, int] = {}
        """How many segments each class has."""
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

    def class_of(self, job: int) -> int | None:
        """The class of a waiting job; None if it does not wait."""
        known = self._jobs.get(job)
        return None if known is None else known[1][1]

    def segment_of(self, job: int) -> SegmentKey | None:
        """Where a waiting job stands; None if it does not wait."""
        known = self._jobs.get(job)
        return None if known is None else known[1]

    def not_before_us(self, job: int) -> int:
        """When a waiting job may be tried. Raises KeyError if it does not wait."""
        return self._jobs[job][2]

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
        for groups in self._queues.values():
            for group in groups.values():
                yield from group.segments.items()

    @property
    def queues(self) -> Iterable[int]:
        """Those in which jobs wait."""
        return self._queues.keys()

    def of_queue(self, queue: int) -> Mapping[GroupKey, Group]:
        """Its segments that have jobs, by user and priority."""
        return self._queues.get(queue, {})

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
        new: dict[SegmentKey, list[int]] = {}
        for row in rows:
            order = order_of(row)
            segment = (row.queue, row.job_class, row.user, row.priority, row.limit_us)
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
        """`enter` for a whole snapshot, into an empty line."""
        job, job_class, queue, priority, submitted_us, not_before_us, user, limit_us = (
            column.tolist() for column in columns
        )
        orders = [
            (-p << _TIME_BITS | s) << _ID_BITS | j
            for p, s, j in zip(priority, submitted_us, job, strict=True)
        ]
        segments = zip(queue, job_class, user, priority, limit_us, strict=True)
        self._since_us = min(submitted_us, default=0)
        self._jobs = dict(zip(job, zip(orders, segments, not_before_us, strict=True), strict=True))
        self._start_over(self._now_us)

    def leave(self, job: int) -> None:
        """The job waits no longer, if it did. O(1) for the first of its segment."""
        known = self._jobs.pop(job, None)
        if known is None:
            return
        order, key, not_before_us = known
        if is_ahead(not_before_us, self._now_us):
            del self._aside[bisect_left(self._aside, (not_before_us, job))]
            return
        if not_before_us > self._now_us:
            del self._far[bisect_left(self._far, (not_before_us, job))]
        group = self._queues[key[0]][key[2:4]]
        group.changed()
        segment = group.segments[key]
        segment.remove(order)
        if not len(segment):
            self._drop(key)

    def _drop(self, key: SegmentKey) -> None:
        queue, job_class, user, priority, _ = key
        groups = self._queues[queue]
        group = groups[user, priority]
        del group.segments[key]
        if not any(one[1] == job_class for one in group.segments):
            group.mask ^= self._bits[job_class]
        if not group.segments:
            del groups[user, priority]
            if not groups:
                del self._queues[queue]
        self._classes[job_class] -= 1
        if not self._classes[job_class]:
            del self._classes[job_class]
            self._spare_bits.append(self._bits.pop(job_class))

    def due(self, now_us: int) -> None:
        """Let those in line whose time has come by `now_us`, and only those.

        O(1) if nothing changes, O(waiting) if the clock ran backwards or did so earlier.
        """
        back = now_us < self._now_us and any(k[2] > now_us for k in self._jobs.values())
        if back or any(now_us >= nears_us for nears_us in self._nears_us()):
            self._start_over(now_us)
            return
        self._now_us = now_us
        passed = bisect_left(self._aside, (now_us + 1,))
        new: dict[SegmentKey, list[int]] = {}
        for _, job in self._aside[:passed]:
            order, segment, _ = self._jobs[job]
            new.setdefault(segment, []).append(order)
        del self._aside[:passed]
        self._add(new)

    def _start_over(self, now_us: int) -> None:
        self._now_us = now_us
        self._queues.clear()
        self._classes.clear()
        self._bits.clear()
        self._spare_bits.clear()
        new: dict[SegmentKey, list[int]] = {}
        for order, segment, not_before_us in self._jobs.values():
            if not_before_us <= now_us or not is_ahead(not_before_us, now_us):
                known = new.get(segment)
                if known is None:
                    new[segment] = [order]
                else:
                    known.append(order)
        later = sorted(
            (not_before_us, job)
            for job, (_, _, not_before_us) in self._jobs.items()
            if not_before_us > now_us
        )
        first_far = bisect_left(later, (now_us + FURTHEST_US + 1,))
        self._aside, self._far = later[:first_far], later[first_far:]
        self._add(new)

    def _add(self, new: dict[SegmentKey, list[int]]) -> None:
        queues, classes = self._queues, self._classes
        for key, orders in new.items():
            queue, job_class, user, priority, _ = key
            groups = queues.get(queue)
            if groups is None:
                groups = queues[queue] = {}
            group = groups.get((user, priority))
            if group is None:
                group = groups[user, priority] = Group()
            group.joined(orders)
            segment = group.segments.get(key)
            if segment is not None:
                segment.add(orders)
                continue
            orders.sort()
            group.segments[key] = Segment(orders)
            if job_class in classes:
                classes[job_class] += 1
            else:
                classes[job_class] = 1
                spare = self._spare_bits
                self._bits[job_class] = spare.pop() if spare else 1 << len(self._bits)
            group.mask |= self._bits[job_class]

    def ahead_of(self, job: int, *, in_queue: bool = False) -> int:
        """Jobs of all classes that stand before a waiting job. O(segments · log jobs).

        in_queue: of its own queue only, as where each queue has a line of its own.
        """
        order, (queue, *_), _ = self._jobs[job]
        lines = (self._queues.get(queue, {}),) if in_queue else self._queues.values()
        return sum(
            bisect_left(segment.keys, order, lo=segment.start) - segment.start
            for groups in lines
            for group in groups.values()
            for segment in group.segments.values()
            if segment.keys[segment.start] < order
        )
