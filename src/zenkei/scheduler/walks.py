"""Two ways to walk over those who wait: fair between queues and users, or in one line.

Used by `order.Turn`, which says whether a job may be next (`Test`); a walk only knows the order.
Cost of `Fair`: O(depth x (resources + log children)) per job; a queue's segments are looked at when
its turn comes first. `InLine`: O(segments) to begin, O(log segments) per job.
Within a cycle what queues hold only grows, and the next job lies on the top of every heap, so the
top is replaced in place. Departure: when a next job in the middle of a heap cannot start any more,
its queue may come earlier than it stood, with a smaller one; a new entry is pushed, the old one is
known as stale.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol, TypeAlias

from zenkei.scheduler.line import Entry, Segment, SegmentKey, WaitingLine, submitted_of
from zenkei.scheduler.seats import Seat, User, UserEntry

Test: TypeAlias = Callable[[Seat, User, SegmentKey], bool]
"""Whether jobs of a segment may be next; sets what the seat's next job asks for."""
GetUser: TypeAlias = Callable[[Seat, int], User]


class Walk(Protocol):
    """head: the leaf whose next job (its user, entry, ask) comes first. None: nobody is left."""

    def head(self) -> Seat | None: ...

    def advance(self, leaf: Seat) -> None:
        """The next job of `leaf` has left, or is passed over."""
        ...

    def recheck(self, leaf: Seat) -> None:
        """The next job of `leaf` may be one that cannot start any more."""
        ...


class Fair:
    """Queues by `Seat.key`; in a leaf by band, then the user with the smallest share, then order.

    The band of a job is its priority and a step for each `ageing_us` that it waits. So that a long
    line of one user's old jobs does not come before everybody else's, a wait lifts a job at most to
    the highest priority that waits in the queue; beyond that counts only the time in which the
    user's jobs there got nothing at all. So no job and no user starves, whatever comes after.
    """

    def __init__(
        self,
        root: Seat,
        line: WaitingLine,
        test: Test,
        user: GetUser,
        dead: Container[int],
        *,
        now_us: int,
        ageing_us: int,
    ) -> None:
        """dead: classes of which nobody can start; it may grow."""
        self._root = root
        self._line = line
        self._test = test
        self._user = user
        self._dead = dead
        self._now_us = now_us
        self._ageing_us = ageing_us

    def head(self) -> Seat | None:
        return self._root.head if self._settle(self._root) else None

    def advance(self, leaf: Seat) -> None:
        assert leaf.user is not None
        _step(leaf.user.own())
        self._put_user(leaf, leaf.user)
        self._renew(leaf)

    def recheck(self, leaf: Seat) -> None:
        if leaf.head is not None:
            self._renew(leaf)

    # -- queues ----------------------------------------------------------------------------------
    def _settle(self, seat: Seat) -> bool:
        """Find the next job below; False if there is none."""
        if not seat.below:
            return self._settle_leaf(seat)
        if not seat.built:
            seat.built = True
            seat.heap = [(*s.first_key(), s.branch.name, s.version, s) for s in seat.below]
            heapify(seat.heap)
        heap = seat.heap
        while heap:
            top = heap[0]
            child = top[4]
            if top[3] != child.version:
                heappop(heap)
            elif child.settled:
                seat.head = child.head
                return True
            elif self._settle(child):
                child.settled = True
                assert child.head is not None
                assert child.head.ask is not None
                child.version += 1
                key = child.key(child.head.ask)
                heapreplace(heap, (*key, child.branch.name, child.version, child))
            else:
                child.version += 1
                heappop(heap)
        seat.head = None
        return False

    def _renew(self, leaf: Seat) -> None:
        """The next job of a leaf is another: its queues take their new places."""
        alive = self._settle_leaf(leaf)
        seat = leaf
        while seat.up is not None:
            up = seat.up
            heap = up.heap
            first = heap[0][4] is seat if heap else False
            seat.version += 1
            if alive:
                assert seat.head is not None
                assert seat.head.ask is not None
                key = seat.key(seat.head.ask)
                entry = (*key, seat.branch.name, seat.version, seat)
                if first:
                    heapreplace(heap, entry)
                else:
                    heappush(heap, entry)
            elif first:
                heappop(heap)
            before = up.head
            alive = self._settle(up)
            if up.head is before and before is not leaf:
                return
            seat = up

    # -- users and jobs of a leaf ----------------------------------------------------------------
    def _settle_leaf(self, leaf: Seat) -> bool:
        if not leaf.built:
            self._build(leaf)
        heap = leaf.user_heap
        test, dead = self._test, self._dead
        while heap:
            user = heap[0][3]
            entries = user.heap
            if test(leaf, user, entries[0][2]):
                leaf.user, leaf.entry, leaf.head = user, entries[0], leaf
                return True
            if entries[0][2][1] in dead:  # so may be many of those behind it
                left = [entry for entry in entries if entry[2][1] not in dead]
                heapify(left)
                user.keep(left)
            else:
                heappop(user.own())
            self._put_user(leaf, user)
        leaf.head = None
        return False

    def _build(self, leaf: Seat) -> None:
        leaf.built = True
        groups = self._line.of_queue(leaf.place)
        leaf.top = max(priority for _, priority in groups)
        for (place, priority), group in groups.items():
            user = leaf.users.get(place)
            if user is None:
                user = leaf.users[place] = self._user(leaf, place)
            user.heaps[priority] = group.heads()
        leaf.user_heap = [
            self._user_entry(leaf, user) for user in leaf.users.values() if user.heaps
        ]
        heapify(leaf.user_heap)

    def _aged(self, priority: int, order: int) -> int:
        """The priority with a step for each `ageing_us` of waiting."""
        waited_us = self._now_us - submitted_of(order)
        return priority + waited_us // self._ageing_us if waited_us > 0 else priority

    def _user_entry(self, leaf: Seat, user: User) -> UserEntry:
        """Choose the user's next job: highest priority with ageing, then order."""
        if not self._ageing_us:
            priority = max(user.heaps)
            user.priority, user.heap = priority, user.heaps[priority]
            return -priority, user.share(), user.heap[0][0], user
        band, order, priority = min(
            (-self._aged(priority, heap[0][0]), heap[0][0], priority)
            for priority, heap in user.heaps.items()
        )
        user.priority, user.heap = priority, user.heaps[priority]
        band = -band
        if band > leaf.top:
            unserved_us = self._now_us - max(submitted_of(order), user.served_us)
            band = max(leaf.top, priority + max(0, unserved_us) // self._ageing_us)
        return -band, user.share(), order, user

    def _put_user(self, leaf: Seat, user: User) -> None:
        """The user on top of the leaf's heap has another next job, or another share."""
        if not user.heap:
            user.heaps = {p: heap for p, heap in user.heaps.items() if heap}
        if user.heaps:
            heapreplace(leaf.user_heap, self._user_entry(leaf, user))
        else:
            heappop(leaf.user_heap)


def _step(heap: list[Entry]) -> None:
    """Past the next job."""
    _, at, key, segment = heap[0]
    if at + 1 < len(segment.keys):
        heapreplace(heap, (segment.keys[at + 1], at + 1, key, segment))
    else:
        heappop(heap)


class InLine:
    """One line of all queues: priority, then submission, then id."""

    def __init__(
        self, leaves: Iterable[Seat], line: WaitingLine, test: Test, user: GetUser
    ) -> None:
        self._test = test
        self._heap: list[tuple[int, int, SegmentKey, Segment, Seat, User]] = []
        for leaf in leaves:
            for (place, _), group in line.of_queue(leaf.place).items():
                person = leaf.users.get(place)
                if person is None:
                    person = leaf.users[place] = user(leaf, place)
                self._heap += [(*entry, leaf, person) for entry in group.heads()]
        heapify(self._heap)

    def head(self) -> Seat | None:
        heap = self._heap
        while heap:
            order, at, key, segment, leaf, user = heap[0]
            if self._test(leaf, user, key):
                leaf.user, leaf.entry, leaf.head = user, (order, at, key, segment), leaf
                return leaf
            heappop(heap)
        return None

    def advance(self, leaf: Seat) -> None:
        _, at, key, segment, _, user = self._heap[0]
        if at + 1 < len(segment.keys):
            heapreplace(self._heap, (segment.keys[at + 1], at + 1, key, segment, leaf, user))
        else:
            heappop(self._heap)

    def recheck(self, leaf: Seat) -> None:
        """Jobs are tested when they come first."""
