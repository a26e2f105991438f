"""The order of a queue with `order: learned`: whoever is worth most first, for each GPU it takes.

Used by `walks` for a leaf, and by `cycle` for who may displace whom there. Pure.

The index of a job is I = worth / GPUs x (1 + wait / T): `WaitingJob.worth` is its Gittins index,
the rate at which jobs end while it is served, by what was learned of run times; T is an hour or ten
times the mean run, whichever is longer, so that waiting lifts everybody in the end. Higher priority
comes first, and before all others of their priority those that have waited OVERDUE_US, in the order
of their submission. People are not counted: that is what `order: fair` is for.

Source: Gittins, J. R. Stat. Soc. B 41 (1979), for jobs whose run time is not known; weighed with
GPUs as in Tiresias (Gu et al., NSDI 2019). Cost: O(segments) when the turn of a leaf comes first,
O(log segments) per job.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Final, TypeAlias

from zenkei.scheduler.line import Entry, SegmentKey, WaitingLine, submitted_of
from zenkei.scheduler.seats import Seat, User
from zenkei.scheduler.snapshot import JobClass

OVERDUE_US: Final = 2 * 86_400_000_000
LEAST_AGE_US: Final = 3_600_000_000
MEANS: Final = 10
"""Mean runs in which waiting doubles an index."""
OVERDUE: Final = float("inf")
"""The index of a job that has waited too long."""
ADVANTAGE: Final = 4
"""How many times the index of a running job a waiting one must have to take its place."""

Rank: TypeAlias = tuple[int, float, int]
"""-(priority), -(index), order: smaller comes first."""


def aged(worth: float, waited_us: int, mean_us: int) -> float:
    """What a job is worth that has waited so long, in all."""
    return worth * (1 + waited_us / max(LEAST_AGE_US, MEANS * mean_us))


class Indices:
    """The indices of one plan. sizes: GPUs by class, a thousandth of one for each CPU without."""

    def __init__(self, classes: Callable[[int], JobClass], *, now_us: int, mean_us: int) -> None:
        self._classes = classes
        self._now_us = now_us
        self._mean_us = mean_us
        self._sizes: dict[int, float] = {}

    def index(self, key: SegmentKey, order: int) -> float:
        """Of a waiting job; OVERDUE once it has waited so long."""
        waited_us = max(0, self._now_us - submitted_of(order) - key[7])
        if waited_us >= OVERDUE_US:
            return OVERDUE
        return aged(key[6], waited_us, self._mean_us) / self._size(key[1])

    def rank(self, key: SegmentKey, order: int) -> Rank:
        return -key[3], -self.index(key, order), order

    def _size(self, job_class: int) -> float:
        size = self._sizes.get(job_class)
        if size is None:
            wanted = self._classes(job_class)
            request = wanted.request
            milli = request.gpu_count * request.gpu_milli or request.cpu_milli / 1000
            size = self._sizes[job_class] = max(wanted.fewest * milli / 1000, 1e-6)
        return size


class ByWorth:
    """The jobs of a leaf in the order of their indices: see `walks.Fair` for what it is asked."""

    def __init__(
        self,
        line: WaitingLine,
        test: Callable[[Seat, User, Entry], bool],
        user: Callable[[Seat, int], User],
        gone: set[int],
        indices: Indices,
    ) -> None:
        """gone: classes of which nobody can start any more."""
        self._line = line
        self._test = test
        self._user = user
        self._gone = gone
        self._indices = indices

    def settle(self, leaf: Seat) -> bool:
        """Find the next job; False if there is none."""
        if not leaf.built:
            self._build(leaf)
        heap, gone = leaf.ranked, self._gone
        while heap:
            _, user, entry = heap[0]
            if entry[2][1] not in gone and self._test(leaf, user, entry):
                leaf.user, leaf.entry, leaf.head = user, entry, leaf
                return True
            heappop(heap)
        leaf.head = None
        return False

    def advance(self, leaf: Seat) -> None:
        """The next job has left, or is passed over."""
        heap = leaf.ranked
        _, user, (_, at, key, segment) = heap[0]
        if at + 1 < len(segment.keys):
            order = segment.keys[at + 1]
            entry = (order, at + 1, key, segment)
            heapreplace(heap, (self._indices.rank(key, order), user, entry))
        else:
            heappop(heap)

    def _build(self, leaf: Seat) -> None:
        leaf.built = True
        for (place, _), group in self._line.of_queue(leaf.place).items():
            user = leaf.users.get(place)
            if user is None:
                user = leaf.users[place] = self._user(leaf, place)
            leaf.ranked += [
                (self._indices.rank(entry[2], entry[0]), user, entry)
                for entry in group.heads()
                if entry[2][1] not in self._gone
            ]
        heapify(leaf.ranked)
