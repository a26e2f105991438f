"""Two ways to walk over those who wait: fair between queues and users, or in one line.

Used by `order.Turn`, which says whether a job may be next (`Test`); a walk only knows the order.
Cost of `Fair`: O(depth x (resources + log children)) per job. When the turn of a leaf comes first,
a few bits for each of its groups, and a key for those of which a class is not known to fail;
segments are looked at when the turn of their band and share comes, users one by one once served.
`InLine`: O(segments) to begin, O(log segments) per job.
Within a cycle what queues hold only grows, and the next job lies on the top of every heap, so the
top is replaced in place. Departure: when a next job in the middle of a heap cannot start any more,
its queue may come earlier than it stood, with a smaller one; a new entry is pushed, the old one is
known as stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple, Protocol, TypeAlias

from zenkei.scheduler.line import (
    Entry,
    Group,
    GroupKey,
    Segment,
    SegmentKey,
    WaitingLine,
    submitted_of,
)
from zenkei.scheduler.seats import Block, ColdEntry, Key, Seat, User, UserEntry
from zenkei.scheduler.worth import ByWorth, Indices

Test: TypeAlias = Callable[[Seat, User, Entry], bool]
"""Whether a job, and those of its segment, may be next; sets what the seat's next job asks for."""
GetUser: TypeAlias = Callable[[Seat, int], User]


class Gone:
    """Classes of which nobody can start any more; bits: those of `WaitingLine.bit`."""

    __slots__ = ("bits", "classes")

    def __init__(self) -> None:
        self.bits = 0
        self.classes: set[int] = set()

    def add(self, job_class: int, bit: int) -> None:
        self.bits |= bit
        self.classes.add(job_class)


class Walk(Protocol):
    """head: the leaf whose next job (its user, entry, ask) comes first. None: nobody is left."""

    def head(self) -> Seat | None: ...

    def advance(self, leaf: Seat) -> None:
        """The next job of `leaf` has left, or is passed over."""
        ...

    def recheck(self, leaf: Seat) -> None:
        """The next job of `leaf` may be one that cannot start any more."""
        ...


class Ages(NamedTuple):
    """What waiting does. ageing_us: for a step of priority. starved_us: who came before starves."""

    now_us: int
    ageing_us: int
    starved_us: int


class Fair:
    """Queues by `Seat.key`; in a leaf by band, then the user with the smallest share, then order;
    in one with `order: learned` as `worth` says.

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
        gone: Gone,
        *,
        ages: Ages,
        indices: Indices,
    ) -> None:
        self._by_worth = ByWorth(line, test, user, gone.classes, indices)
        self._root = root
        self._line = line
        self._test = test
        self._user = user
        self._gone = gone
        self._now_us, self._ageing_us, self._starved_us = ages

    def head(self) -> Seat | None:
        return self._root.head if self._settle(self._root) else None

    def advance(self, leaf: Seat) -> None:
        if leaf.branch.learned:
            self._by_worth.advance(leaf)
            self._renew(leaf)
            return
        user = leaf.user
        assert user is not None
        if not user.hot:
            self._heat(leaf, user)
        _step(user.heap)
        self._put_user(leaf, user)
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
            child = top[5]
            if top[4] != child.version:
                heappop(heap)
            elif child.settled:
                seat.head = child.head
                return True
            elif self._settle(child):
                child.settled = True
                child.version += 1
                key = self._key(child)
                heapreplace(heap, (*key, child.branch.name, child.version, child))
            else:
                child.version += 1
                heappop(heap)
        seat.head = None
        return False

    def _key(self, seat: Seat) -> Key:
        """The place of a queue among its siblings, by its next job."""
        leaf = seat.head
        assert leaf is not None
        assert leaf.ask is not None
        assert leaf.entry is not None
        since_us = submitted_of(leaf.entry[0])
        return seat.key(leaf.ask, since_us if since_us <= self._starved_us else None)

    def _renew(self, leaf: Seat) -> None:
        """The next job of a leaf is another: its queues take their new places."""
        alive = self._settle_leaf(leaf)
        seat = leaf
        while seat.up is not None:
            up = seat.up
            heap = up.heap
            first = heap[0][5] is seat if heap else False
            seat.version += 1
            if alive:
                key = self._key(seat)
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
        if leaf.branch.learned:
            return self._by_worth.settle(leaf)
        if not leaf.built:
            self._build(leaf)
        heap, test, gone = leaf.user_heap, self._test, self._gone.classes
        while True:
            cold = self._cold(leaf)
            if cold is not None and (not heap or cold[:3] < heap[0][:3]):
                user, entry = cold[4], cold[5]
                if test(leaf, user, entry):
                    leaf.user, leaf.entry, leaf.head = user, entry, leaf
                    return True
                leaf.refused.add(entry[2])
                leaf.at += 1
                continue
            if not heap:
                leaf.head = None
                return False
            user = heap[0][3]
            entries = user.heap
            if test(leaf, user, entries[0]):
                leaf.user, leaf.entry, leaf.head = user, entries[0], leaf
                return True
            if entries[0][2][1] in gone:  # so may be many of those behind it
                entries[:] = [entry for entry in entries if entry[2][1] not in gone]
                heapify(entries)
            else:
                heappop(entries)
            self._put_user(leaf, user)

    def _cold(self, leaf: Seat) -> ColdEntry | None:
        """The next job of those who were not served, if its class is not known to fail."""
        gone = self._gone.classes
        while True:
            cold, at = leaf.cold, leaf.at
            while at < len(cold):
                entry = cold[at]
                if entry[3] not in gone and not entry[4].hot:
                    leaf.at = at
                    return entry
                at += 1
            leaf.at = at
            if not self._open(leaf):
                return None

    def _build(self, leaf: Seat) -> None:
        """Sort the groups of which somebody may start, by band and share: jobs when it comes to it.

        Jobs of one group differ in their bands only if they have waited long.
        """
        leaf.built = True
        alive = ~self._gone.bits
        groups = self._line.of_queue(leaf.place)
        some = [(one, group) for one, group in groups.items() if group.mask & alive]
        if not some:
            return
        leaf.top = max([priority for _, priority in groups])
        old = self._with_old_jobs(groups.items())
        aged: dict[User, None] = {}
        blocks: dict[tuple[int, float], Block] = {}
        users = leaf.users
        for (place, priority), group in some:
            user = users.get(place)
            if user is None:
                user = users[place] = self._user(leaf, place)
            if place in old:
                aged[user] = None
                continue
            key = -priority, user.share()
            block = blocks.get(key)
            if block is None:
                block = blocks[key] = ([], [])
            block[0].append((group.mask, user, group))
        for user in aged:
            theirs = {p: group for (place, p), group in groups.items() if place == user.place}
            for job in self._aged_jobs(leaf, user, theirs):
                blocks.setdefault(job[:2], ([], []))[1].append(job)
        heapify(leaf.user_heap)
        leaf.blocks = sorted(blocks.items(), key=_place, reverse=True)

    def _with_old_jobs(self, groups: Iterable[tuple[GroupKey, Group]]) -> set[int]:
        """Users of whom a job has waited for a step of priority."""
        if not self._ageing_us:
            return set()
        old_us = self._now_us - self._ageing_us
        if not self._line.has_older(old_us):
            return set()
        return {user for (user, _), group in groups if group.has_older(old_us)}

    def _open(self, leaf: Seat) -> bool:
        """The jobs of the next block of which somebody may start, in order; False if none is."""
        gone, alive, blocks = self._gone.classes, ~self._gone.bits, leaf.blocks
        while blocks:
            (band, share), (groups, cold) = blocks.pop()
            for mask, user, group in groups:
                if mask & alive and not user.hot:
                    cold += [
                        (band, share, entry[0], entry[2][1], user, entry)
                        for entry in group.heads()
                        if entry[2][1] not in gone
                    ]
            if cold:
                cold.sort()
                leaf.cold, leaf.at = cold, 0
                return True
        return False

    def _aged_jobs(self, leaf: Seat, user: User, groups: dict[int, Group]) -> list[ColdEntry]:
        """Jobs of a user of whom some waited long, each in its band.

        Of several priorities, a job that waited itself above all others may keep the user's next
        one from a better band, so that their order is found as it comes: the user is hot.
        """
        if len(groups) > 1 and any(
            self._aged_since(priority, group.oldest_us) > leaf.top
            for priority, group in groups.items()
        ):
            user.hot = True
            user.heaps = {priority: group.heads().copy() for priority, group in groups.items()}
            for heap in user.heaps.values():
                heapify(heap)
            leaf.user_heap.append(self._user_entry(leaf, user))
            return []
        share, gone = user.share(), self._gone.classes
        return [
            (
                -self._band(leaf, user, self._aged(priority, entry[0]), entry),
                share,
                entry[0],
                entry[2][1],
                user,
                entry,
            )
            for priority, group in groups.items()
            for entry in group.heads()
            if entry[2][1] not in gone
        ]

    def _band(self, leaf: Seat, user: User, aged: int, entry: Entry) -> int:
        if aged <= leaf.top:
            return aged
        unserved_us = self._now_us - max(submitted_of(entry[0]), user.served_us)
        return max(leaf.top, entry[2][3] + max(0, unserved_us) // self._ageing_us)

    def _aged(self, priority: int, order: int) -> int:
        """The priority with a step for each `ageing_us` of waiting."""
        return self._aged_since(priority, submitted_of(order))

    def _aged_since(self, priority: int, submitted_us: int) -> int:
        waited_us = self._now_us - submitted_us
        return priority + waited_us // self._ageing_us if waited_us > 0 else priority

    def _heat(self, leaf: Seat, user: User) -> None:
        """From now on the user's jobs, of which the next one is the head, change their places."""
        user.hot = True
        gone = self._gone.classes
        for (place, priority), group in self._line.of_queue(leaf.place).items():
            if place == user.place:
                left = [
                    entry
                    for entry in group.heads()
                    if entry[2][1] not in gone and entry[2] not in leaf.refused
                ]
                if left:
                    heapify(left)
                    user.heaps[priority] = left
        assert leaf.entry is not None
        user.priority = leaf.entry[2][3]
        user.heap = user.heaps[user.priority]
        heappush(leaf.user_heap, (-(1 << 62), 0.0, 0, user))

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
        return -self._band(leaf, user, -band, user.heap[0]), user.share(), order, user

    def _put_user(self, leaf: Seat, user: User) -> None:
        """The user on top of the leaf's heap has another next job, or another share."""
        if not user.heap:
            user.heaps = {p: heap for p, heap in user.heaps.items() if heap}
        if user.heaps:
            heapreplace(leaf.user_heap, self._user_entry(leaf, user))
        else:
            heappop(leaf.user_heap)


def _place(block: tuple[tuple[int, float], Block]) -> tuple[int, float]:
    return block[0]


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
            entry = (order, at, key, segment)
            if self._test(leaf, user, entry):
                leaf.user, leaf.entry, leaf.head = user, entry, leaf
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
