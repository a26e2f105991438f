"""Who is next: the decision loop over queues, users and jobs of one cycle.

Used by `planner`, one `Turn` per plan. The loop:

    turn = Turn(tree, line, classes, queues, users, now_us=now_us)
    for each claim in force: turn.charge(queue, user, held)
    while (head := turn.head()) is not None:
        rows = place(head.job_class, head.kinds)     # any of head.kinds; () is any model
        if rows:       turn.started(kinds)           # the head has its place, on these models
        elif ...:      turn.skip_class()             # nobody of its class can start now
        elif ...:      turn.skip_class(head.runs_us)  # nobody of its class who runs that long
        elif ...:      turn.skip_alike()             # nobody that differs in its age only
        else:          turn.skip_job()               # only the head may not; the next one may
    turn.quotas                                      # what preemption asks, at any time
    turn.why(queue, user, job_class)                 # the limit that a job waits for, if one does

A head has passed all limits of its queues and its user. `head` is idempotent. Limits only tighten
within a turn, and what a class lacks stays lacking, so nobody is asked twice. Who comes first is
said in `seats` (queues) and `walks` (users and jobs). Pure. Cost: see `walks`; limits O(depth).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Final, NamedTuple

from zenkei.model.ids import JobId
from zenkei.model.queue import Order
from zenkei.scheduler.gates import Gates, Leave, Shortage
from zenkei.scheduler.keeping import Keeping
from zenkei.scheduler.limits import closed
from zenkei.scheduler.line import Entry, SegmentKey, WaitingLine, job_of, runs_us
from zenkei.scheduler.owed import Owed
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.seats import Seat, User
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.tree import Branch, Held, QueueTree
from zenkei.scheduler.walks import Ages, Fair, Gone, InLine, Walk
from zenkei.scheduler.worth import OVERDUE, Indices

ENDLESS: Final = 1 << 62
"""How long a job runs that has no limit."""


class Head(NamedTuple):
    """The next job. order: see `line.order_of`. queue, user, job_class: places in the tables.

    kinds: GPU models that it may take now, by its request, its queues and what their limits leave;
    empty: any, or no GPU at all. nodes: the most that limits leave to a gang that takes fewer too.
    entitled: it stays within the quota of one of its queues at least.
    """

    order: int
    job_class: int
    queue: int
    user: int
    segment: SegmentKey
    kinds: tuple[str, ...]
    nodes: int
    entitled: bool

    @property
    def job(self) -> JobId:
        return job_of(self.order)

    @property
    def limit_us(self) -> int:
        return self.segment[4]

    @property
    def runs_us(self) -> int:
        """See `line.runs_us`."""
        return runs_us(self.segment)


class Turn:
    """See the module's docstring."""

    def __init__(
        self,
        tree: QueueTree,
        line: WaitingLine,
        classes: Sequence[JobClass],
        queues: Sequence[str],
        users: Sequence[str],
        *,
        now_us: int,
        could_start: Callable[[int], bool] = lambda job_class: True,
        mean_us: int = 0,
    ) -> None:
        """could_start: whether enough nodes are ready that suit a class. mean_us: of all runs."""
        tree.refresh(now_us)
        self._tree = tree
        self._line = line
        self._queues = queues
        self._users = users
        self._dead: dict[int, int] = {}
        """By class: from which length of a run on nobody starts."""
        self._gone = Gone()
        """Classes of which nobody at all starts."""
        self._narrow: dict[int, list[tuple[frozenset[str], int]]] = {}
        """By class: that, for those who may take certain models only."""
        self._passed: set[SegmentKey] = set()
        self._heading: dict[int, dict[Seat, None]] = {}
        """By class: the leaves whose next job is of it."""
        self._seats: dict[int, Seat] = {}
        self._leaves: dict[int, Seat] = {}
        self._closed: dict[int, Reason] = {}
        self._root = self._seat(tree.root)
        keeping = Keeping(tree.config.policy, now_us, could_start)
        self._gates = Gates(tree, classes, self._root, keeping)
        self._open_leaves()
        self._head: Head | None = None
        self.indices = Indices(classes.__getitem__, now_us=now_us, mean_us=mean_us)
        self._walk = self._make_walk(now_us)

    def _open_leaves(self) -> None:
        for place in sorted(self._line.queues, key=lambda place: self._queues[place]):
            branch = self._tree.branch(self._queues[place])
            reason = closed(branch)
            if reason is not None:
                self._closed[place] = reason
                continue
            self._leaves[place] = self._leaf(branch, place)

    def _make_walk(self, now_us: int) -> Walk:
        policy = self._tree.config.policy
        if policy.order is Order.FIFO:
            return InLine(self._leaves.values(), self._line, self._may_start, self._user)
        ageing_us = max(0, int(policy.ageing_s * 1e6))
        return Fair(
            self._root,
            self._line,
            self._may_start,
            self._user,
            self._gone,
            ages=Ages(now_us, ageing_us, now_us - int(policy.starvation_s * 1e6)),
            indices=self.indices,
        )

    # -- the loop --------------------------------------------------------------------------------
    def head(self) -> Head | None:
        """The next job that may start; None: nobody is left who could."""
        if self._head is not None:
            return self._head
        if not self._leaves or len(self._gone.classes) >= self._line.classes:
            return None
        leaf = self._walk.head()
        while leaf is not None and not self._still(leaf):
            self._walk.recheck(leaf)
            leaf = self._walk.head()
        if leaf is None:
            return None
        ask, entry, user = leaf.ask, leaf.entry, leaf.user
        assert ask is not None
        assert entry is not None
        assert user is not None
        entitled = False
        for seat in leaf.path:
            if seat.quota and seat.within(ask):
                entitled = True
                break
        self._head = Head(
            entry[0],
            ask.job_class,
            leaf.place,
            user.place,
            entry[2],
            leaf.took,
            leaf.nodes,
            entitled,
        )
        return self._head

    def started(self, kinds: tuple[tuple[str, int], ...] = (), nodes: int = 0) -> None:
        """The head has its place (or one is held for it).

        kinds: (model, gpu_milli) it got, needed only if its request leaves the model open. nodes:
        of a gang that takes fewer than it would; 0: as many as the head said.
        """
        leaf = self._leaf_of_head()
        ask, user = leaf.ask, leaf.user
        assert ask is not None
        assert user is not None
        amounts = self._gates.amounts(ask, nodes or leaf.nodes, kinds)
        self._charge(leaf, user, amounts)
        user.served_us = ENDLESS
        self._walk.advance(leaf)
        if leaf.limited:
            self._tighten(leaf, user)

    def skip_job(self) -> None:
        """The head stays in line; the next of its like has its turn."""
        self._walk.advance(self._leaf_of_head())

    def skip_alike(self) -> None:
        """Nobody of the head's segment starts, who differs from it in age only."""
        leaf = self._leaf_of_head()
        assert leaf.entry is not None
        self._passed.add(leaf.entry[2])
        self._walk.recheck(leaf)

    def keep_room(self) -> None:
        """Nodes are kept for the head: so is what it asks for of its limits, if it starves."""
        head = self._head
        assert head is not None
        leaf = self._leaves[head.queue]
        assert leaf.user is not None
        self._gates.keep(leaf, leaf.user, head.order, head.job_class)

    def skip_class(self, from_us: int = 0) -> None:
        """Nobody of the head's class (on the head's kinds) who may run so long starts any more.

        0: nobody at all. A job of which nobody knows runs longest.
        """
        head, leaf = self._head, self._leaf_of_head()
        assert head is not None
        assert leaf.ask is not None
        job_class = head.job_class
        if leaf.took != leaf.ask.kinds or leaf.ask.narrowed:
            dead = self._narrow.setdefault(job_class, [])
            dead.append((frozenset(head.kinds), from_us))
        else:
            dead_from = self._dead.get(job_class, ENDLESS)
            self._dead[job_class] = min(dead_from, from_us)
            if from_us <= 0:
                self._gone.add(job_class, self._line.bit(job_class))
        self._walk.recheck(leaf)
        for other in list(self._heading.get(job_class, ())):
            self._walk.recheck(other)

    def charge(self, queue: int, user: int, held: Held) -> None:
        """Somebody who is not in line keeps this: a claim in force. Before the first `head`."""
        place = queue
        leaf = self._leaves.get(place)
        if leaf is None:
            leaf = self._leaf(self._tree.branch(self._queues[queue]), place)
        person = leaf.users.get(user)
        if person is None:
            person = leaf.users[user] = self._user(leaf, user)
        self._charge(leaf, person, self._tree.vector(held))

    def why(self, queue: int, user: int, job_class: int) -> Reason | None:
        """The limit that keeps such a job from starting; None: no limit does, as far as known."""
        reason = self._closed.get(queue)
        if reason is not None:
            return reason
        return self._gates.why(queue, user, job_class)

    @cached_property
    def capped(self) -> dict[int, set[tuple[int, int]]]:
        """See `Gates.capped`; asked when everybody has had a turn."""
        return self._gates.capped()

    # -- what would be, for `explain` ------------------------------------------------------------
    def without(self, job: int | None) -> AbstractContextManager[None]:
        """Around questions about this job: no room is kept for itself. None: nor for others."""
        return self._gates.without(job)

    def trial(self, queue: str, user: int, wanted: JobClass) -> Leave | None:
        """What limits would leave to one more job in this queue; None: it may not start."""
        branch = self._tree.branch(queue)
        if closed(branch) is not None:
            return None
        leaf, person = self._visit(branch, user)
        return self._gates.trial(leaf, person, wanted)

    def shortages(self, queue: str, user: int, wanted: JobClass) -> list[Shortage]:
        """The limits that such a job would break, the leaf's first."""
        leaf, person = self._visit(self._tree.branch(queue), user)
        return self._gates.shortages(leaf, person, wanted)

    def is_owed(self, queue: str, wanted: JobClass) -> bool:
        """Whether the innermost of its queues with a quota stays within that with such a job."""
        amounts = self._tree.vector(Held.of(wanted, wanted.fewest))
        for branch in self._tree.branch(queue).path():
            seat = self._seat(branch)
            said = [(r, most) for r, most in branch.terms.quota if amounts[r]]
            if said:
                return all(seat.held[r] + amounts[r] <= most for r, most in said)
        return False

    def give(self, queue: str, user: str, held: Held, times: int = 1) -> None:
        """As if a job there had ended; -1: it has not. For `trial`."""
        amounts = [amount * times for amount in self._tree.vector(held)]
        branch: Branch | None = self._tree.branch(queue)
        self._gates.give(self._tree.branch(queue), amounts)
        while branch is not None:
            seat = self._seats.get(branch.place)
            people = [] if seat is None else [u.held for u in seat.users.values() if u.name == user]
            for sums in [] if seat is None else [seat.held, seat.person_held(user), *people]:
                for r, amount in enumerate(amounts):
                    sums[r] -= amount
            branch = branch.above

    def _visit(self, branch: Branch, user: int) -> tuple[Seat, User]:
        """A leaf and a person there, whether or not jobs wait in it."""
        leaf = self._seat(branch)
        if not leaf.path:
            leaf.path = tuple(self._seat(one) for one in branch.path())
            leaf.limited = self._gates.limits(leaf)
        person = leaf.users.get(user)
        if person is None:
            person = leaf.users[user] = self._user(leaf, user)
        return leaf, person

    def index(self, job: JobId, segment: SegmentKey) -> float:
        """By which a job may displace others of its queue; 0: its queue is not ordered so."""
        if not self._tree.branch(self._queues[segment[0]]).learned:
            return 0.0
        order = self._line.order_at(job.key)
        found = self.indices.index(segment, order)
        return found if found < OVERDUE else 0.0

    @property
    def quotas(self) -> Owed:
        """Quotas and what is held, for preemption: as they are now, and as they change."""

        def held(branch: Branch) -> Sequence[int]:
            seat = self._seats.get(branch.place)
            return branch.held if seat is None else seat.held

        return Owed(self._tree, self._queues, held)

    # -- what is behind it -----------------------------------------------------------------------
    def _leaf_of_head(self) -> Seat:
        assert self._head is not None, "there is a head before something is done with it"
        leaf = self._leaves[self._head.queue]
        self._head = None
        return leaf

    def _seat(self, branch: Branch, place: int = -1) -> Seat:
        known = self._seats.get(branch.place)
        if known is None:
            up = None if branch.above is None else self._seat(branch.above)
            known = self._seats[branch.place] = Seat(branch, self._tree, up, place)
        return known

    def _leaf(self, branch: Branch, place: int) -> Seat:
        """A leaf with its path, entered below the queues above it."""
        leaf = self._seat(branch, place)
        leaf.place = place
        path = []
        seat: Seat | None = leaf
        while seat is not None and seat.up is not None:
            path.append(seat)
            if not seat.entered:
                seat.entered = True
                seat.up.below.append(seat)
            seat = seat.up
        leaf.path = tuple(path)
        leaf.limited = self._gates.limits(leaf)
        return leaf

    def _user(self, leaf: Seat, place: int) -> User:
        name = self._users[place] if place < len(self._users) else ""
        return User(place, name, leaf.branch.people.get(name), leaf)

    def _charge(self, leaf: Seat, user: User, amounts: Sequence[int]) -> None:
        for seat in leaf.path:
            held = seat.held
            for r, amount in enumerate(amounts):
                held[r] += amount
        held = user.held
        for r, amount in enumerate(amounts):
            held[r] += amount
        user.charged()
        if leaf.limited:
            self._gates.take(leaf, user, amounts)

    def _may_start(self, leaf: Seat, user: User, entry: Entry) -> bool:
        """Whether jobs of a segment may be next: their class is not known to fail, no limit."""
        key = entry[2]
        job_class = key[1]
        if key in self._passed:
            return False
        dead_from = self._dead.get(job_class)
        if dead_from is not None and (runs_us(key) or ENDLESS) >= dead_from:
            return False
        if not self._gates.open(leaf, user, job_class):
            self._gates.refused(leaf, user, entry[0], job_class)
            return False
        dead = self._narrow.get(job_class)
        if dead is not None and self._dead_on(leaf, runs_us(key) or ENDLESS, dead):
            return False
        before = leaf.ask
        assert leaf.passed is not None
        leaf.ask = leaf.passed
        if before is None or before.job_class != job_class:
            if before is not None:
                self._heading[before.job_class].pop(leaf, None)
            self._heading.setdefault(job_class, {})[leaf] = None
        return True

    @staticmethod
    def _dead_on(leaf: Seat, length_us: int, dead: list[tuple[frozenset[str], int]]) -> bool:
        kinds = leaf.took
        return bool(kinds) and any(
            length_us >= from_us and on.issuperset(kinds) for on, from_us in dead
        )

    def _still(self, leaf: Seat) -> bool:
        assert leaf.entry is not None
        assert leaf.user is not None
        return self._may_start(leaf, leaf.user, leaf.entry)

    def _tighten(self, leaf: Seat, user: User) -> None:
        """Others whose next job is over a limit now take the places of their jobs after that."""
        for other in self._gates.tightened(leaf, user):
            self._walk.recheck(other)
