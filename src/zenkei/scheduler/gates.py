"""The limits of queues and users while a plan is made: who may pass, and why the others may not.

Used by `order.Turn`. One reason for all jobs that ask for the same of the same queue or user.
Limits only tighten within a turn: whoever may not pass now will not later. Cost: O(depth) per job
that is next, nothing where no queue has limits; `tightened` looks at a queue's leaves only when
there is not room any more for the largest that one of them asks for next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from zenkei.scheduler.limits import Lending, beyond, wrong_kind
from zenkei.scheduler.reasons import Reason, ReasonCode
from zenkei.scheduler.seats import Ask, Seat, User
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.terms import BASE, GPU, Bound
from zenkei.scheduler.tree import Branch, Held, QueueTree

_PASSING: Final = (
    ReasonCode.QUEUE_CAP,
    ReasonCode.USER_CAP,
    ReasonCode.BORROW_LIMIT,
    ReasonCode.QUOTA_NOT_LENT,
)
"""Limits that are full now and would not be if others held less."""


class Leave(NamedTuple):
    """What limits leave to a job: models it may take (none: any, or no GPU), and nodes at most."""

    kinds: tuple[str, ...]
    nodes: int


class Shortage(NamedTuple):
    """A limit that a job would break by `short` of a resource. queue: whose; user: empty: anybody.

    queue is empty where it is what others do not lend.
    """

    queue: str
    user: str
    resource: int
    short: int


class Gates:
    """See the module's docstring."""

    def __init__(self, tree: QueueTree, classes: Sequence[JobClass], root: Seat) -> None:
        self._tree = tree
        self._classes = classes
        self._root = root
        self._lending = Lending(tree) if tree.lends else None
        self._asks: dict[tuple[frozenset[str] | None, int], Ask | None] = {}
        self._reasons: dict[tuple[object, ...], Reason] = {}
        self._why: dict[tuple[int, int, int], Reason] = {}
        """By queue, user (-1: anybody) and class."""

    def limits(self, leaf: Seat) -> bool:
        """Whether anything limits the jobs of a leaf but the models that are allowed."""
        terms = [seat.branch.terms for seat in leaf.path]
        return self._lending is not None or any(t.bounds or t.user_bounds for t in terms)

    def why(self, queue: int, user: int, job_class: int) -> Reason | None:
        found = self._why.get((queue, -1, job_class))
        return found if found is not None else self._why.get((queue, user, job_class))

    def capped(self) -> dict[int, set[tuple[int, int]]]:
        """By leaf, the (user, class) that a limit refused for now; user -1: anybody's."""
        found: dict[int, set[tuple[int, int]]] = {}
        for (queue, user, job_class), reason in self._why.items():
            if reason.code in _PASSING:
                found.setdefault(queue, set()).add((user, job_class))
        return found

    # -- what is asked ---------------------------------------------------------------------------
    def amounts(self, ask: Ask, nodes: int, kinds: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
        """Of a job that starts on so many nodes, on these models."""
        if nodes == ask.nodes and not (kinds and ask.choice):
            return ask.amounts
        return self._tree.vector(Held.of(self._classes[ask.job_class], nodes, kinds))

    def _ask(self, leaf: Seat, job_class: int) -> Ask | None:
        """None: the queue allows none of the models."""
        models = leaf.branch.terms.models
        if (models, job_class) not in self._asks:
            wanted = self._classes[job_class]
            self._asks[models, job_class] = self._make_ask(models, job_class, wanted)
        return self._asks[models, job_class]

    def _make_ask(
        self, models: frozenset[str] | None, job_class: int, wanted: JobClass
    ) -> Ask | None:
        request = wanted.request
        kinds = request.gpu_kinds
        narrowed = False
        if request.gpu_count and models is not None:
            there = self._tree.models
            if not kinds and there and models.isdisjoint(there):
                return None
            narrowed = not models.issuperset(kinds or there)
            kinds = tuple(sorted(models.intersection(kinds) if kinds else models))
            if not kinds:
                return None
        choice: list[tuple[int, str]] = []
        amounts = self._tree.vector(Held.of(wanted, wanted.nodes))
        named = self._tree.kinds
        if named and request.gpu_count:
            could = kinds or self._tree.models
            only = could[0] if len(could) == 1 else ""
            gpu_milli = amounts[GPU]
            by_kind = (gpu_milli if kind == only else 0 for kind in named)
            amounts = (*amounts[:BASE], *by_kind)
            if not only:
                choice = [(BASE + i, kind) for i, kind in enumerate(named) if kind in could]
                if choice:
                    kinds_left = [k for k in could if k not in named]
                    choice += [(-1, kind) for kind in kinds_left]
        return Ask(
            job_class,
            amounts,
            kinds if request.gpu_count else (),
            wanted.nodes,
            wanted.least,
            choice=tuple(choice),
            narrowed=narrowed,
        )

    # -- who may pass ----------------------------------------------------------------------------
    def open(self, leaf: Seat, user: User, job_class: int) -> bool:
        """Whether a job may pass; sets what it takes (`leaf.passed`, `took`, `nodes`)."""
        if job_class in leaf.blocked or job_class in user.blocked:
            return False
        ask = leaf.asks.get(job_class)
        if ask is None:
            ask = self._ask(leaf, job_class)
            if ask is None:
                self._block(leaf, None, job_class, self._wrong_kind(leaf, job_class))
                return False
            leaf.asks[job_class] = ask
        leaf.passed, leaf.took, leaf.nodes = ask, ask.kinds, ask.nodes
        if not leaf.limited:
            return True
        return self._pass(leaf, user, ask)

    def _pass(self, leaf: Seat, user: User, ask: Ask) -> bool:
        found = self._against(leaf, user, ask)
        if found is None:
            self._watch(leaf, ask.amounts)
            return True
        seat, bound, person = found
        reason = self._reason(leaf, seat, bound, person, ask)
        self._block(leaf, person, ask.job_class, reason)
        return False

    def _against(
        self, leaf: Seat, user: User, ask: Ask
    ) -> tuple[Seat, Bound | int, User | None] | None:
        """What stands against it; if nothing does, `leaf.took` and `leaf.nodes` say what it has."""
        found = self._obstacle(leaf, user, ask.amounts)
        if found is not None and ask.least:
            found = self._fewer(leaf, user, ask, found)
        if found is None and ask.choice:
            found = self._choose(leaf, user, ask)
        return found

    def trial(self, leaf: Seat, user: User, wanted: JobClass) -> Leave | None:
        """What limits would leave to a job of any class, as things are; None if they stop it.

        Changes nothing.
        """
        ask = self._make_ask(leaf.branch.terms.models, -1, wanted)
        if ask is None:
            return None
        before = leaf.took, leaf.nodes
        leaf.took, leaf.nodes = ask.kinds, ask.nodes
        try:
            if leaf.limited and self._against(leaf, user, ask) is not None:
                return None
            return Leave(leaf.took, leaf.nodes)
        finally:
            leaf.took, leaf.nodes = before

    def shortages(self, leaf: Seat, user: User, wanted: JobClass) -> list[Shortage]:
        """All limits that such a job would break at its least size, on its first model."""
        ask = self._make_ask(leaf.branch.terms.models, -1, wanted)
        if ask is None:
            return []
        amounts = [amount * wanted.fewest // wanted.nodes for amount in ask.amounts]
        if ask.choice and ask.choice[0][0] >= 0:
            amounts[ask.choice[0][0]] = amounts[GPU]
        found = []
        for seat in leaf.path:
            terms, name = seat.branch.terms, seat.branch.name
            own = user.held if seat is leaf else seat.person_held(user.name)
            for bounds, held, who in (
                (terms.bounds, seat.held, ""),
                (terms.user_bounds, own, user.name),
            ):
                for bound in bounds:
                    short = held[bound.resource] + amounts[bound.resource] - bound.limit
                    if amounts[bound.resource] and short > 0:
                        found.append(Shortage(name, who, bound.resource, short))
        path = [seat.branch for seat in leaf.path]
        for r, more in enumerate(amounts if self._lending is not None else ()):
            short = self._lending.short(path, r, more) if self._lending is not None else 0
            if short > 0:
                found.append(Shortage("", "", r, short))
        return found

    def _obstacle(
        self, leaf: Seat, user: User, amounts: Sequence[int]
    ) -> tuple[Seat, Bound | int, User | None] | None:
        """The first limit on the way up that would be broken. An int: what others do not lend."""
        for seat in leaf.path:
            terms = seat.branch.terms
            for bound in terms.bounds:
                more = amounts[bound.resource]
                if more and seat.held[bound.resource] + more > bound.limit:
                    return seat, bound, None
            if terms.user_bounds:
                held = user.held if seat is leaf else seat.person_held(user.name)
                for bound in terms.user_bounds:
                    more = amounts[bound.resource]
                    if more and held[bound.resource] + more > bound.limit:
                        return seat, bound, user
        if self._lending is not None:
            path = [seat.branch for seat in leaf.path]
            for r, more in enumerate(amounts):
                if more and not self._lending.room(path, r, more):
                    return leaf, r, None
        return None

    def _fewer(
        self, leaf: Seat, user: User, ask: Ask, found: tuple[Seat, Bound | int, User | None]
    ) -> tuple[Seat, Bound | int, User | None] | None:
        """The most nodes with which a gang may pass that may be smaller. O(log nodes)."""
        if ask.choice:
            return found

        def passes(nodes: int) -> bool:
            amounts = [amount * nodes // ask.nodes for amount in ask.amounts]
            return self._obstacle(leaf, user, amounts) is None

        low, high = ask.least - 1, ask.nodes
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if passes(middle) else (low, middle)
        if low < ask.least:
            return found
        leaf.nodes = low
        return None

    def _choose(
        self, leaf: Seat, user: User, ask: Ask
    ) -> tuple[Seat, Bound | int, User | None] | None:
        """Leave out the models of which a limit would be broken; None if some are left."""
        gpu_milli = ask.amounts[GPU]
        left, found = [], None
        for r, kind in ask.choice:
            if r < 0:
                left.append(kind)
                continue
            only = [0] * self._tree.size
            only[r] = gpu_milli
            obstacle = self._obstacle(leaf, user, only)
            if obstacle is None:
                left.append(kind)
            else:
                found = found or obstacle
        if not left:
            return found
        if len(left) < len(ask.choice):
            leaf.took = tuple(sorted(left))
        return None

    # -- reasons ---------------------------------------------------------------------------------
    def _wrong_kind(self, leaf: Seat, job_class: int) -> Reason:
        kinds = self._classes[job_class].request.gpu_kinds
        key = (leaf, kinds)
        if key not in self._reasons:
            self._reasons[key] = wrong_kind(self._classes[job_class], leaf.branch)
        return self._reasons[key]

    def _reason(
        self, leaf: Seat, seat: Seat, bound: Bound | int, person: User | None, ask: Ask
    ) -> Reason:
        name = person.name if person is not None else ""
        r = bound if isinstance(bound, int) else bound.resource
        asked = ask.amounts[r] or ask.amounts[GPU]
        key = (seat, name, r, isinstance(bound, int), asked)
        known = self._reasons.get(key)
        if known is None:
            if isinstance(bound, int):
                assert self._lending is not None
                held = self._root.held[r]
                known = self._lending.reason(leaf.branch, r, asked, held)
            else:
                held = self._held(leaf, seat, person)[r]
                known = beyond(bound, seat.branch.wish, held, asked, self._tree.kinds, name)
            self._reasons[key] = known
        return known

    @staticmethod
    def _held(leaf: Seat, seat: Seat, person: User | None) -> Sequence[int]:
        if person is None:
            return seat.held
        return person.held if seat is leaf else seat.person_held(person.name)

    def _block(self, leaf: Seat, person: User | None, job_class: int, reason: Reason) -> None:
        (leaf if person is None else person).blocked.add(job_class)
        self._why[leaf.place, -1 if person is None else person.place, job_class] = reason

    # -- what was given --------------------------------------------------------------------------
    def take(self, leaf: Seat, user: User, amounts: Sequence[int]) -> None:
        """Count what was given away where queues and the root do not count it themselves."""
        for seat in leaf.path[1:]:
            if seat.branch.terms.user_bounds:
                held = seat.person_held(user.name)
                for r, amount in enumerate(amounts):
                    held[r] += amount
        if self._lending is not None:
            self._lending.take([seat.branch for seat in leaf.path], amounts)
            for r, amount in enumerate(amounts):
                self._root.held[r] += amount

    def give(self, branch: Branch, amounts: Sequence[int]) -> None:
        """What is not lent, as if a job in `branch` held so much less: for trials."""
        if self._lending is not None:
            self._lending.take([*branch.path()], [-amount for amount in amounts])

    def _watch(self, leaf: Seat, amounts: Sequence[int]) -> None:
        for seat in (*leaf.path[1:], self._root):
            if seat is self._root or seat.branch.terms.bounds or seat.branch.terms.user_bounds:
                seat.watch = list(map(max, seat.watch, amounts))
                seat.leaves[leaf] = None

    def tightened(self, leaf: Seat, user: User) -> Iterator[Seat]:
        """Leaves whose next job may be over a limit since the last start, which was in `leaf`."""
        for seat in leaf.path[1:]:
            terms = seat.branch.terms
            if any(b.limit - seat.held[b.resource] < seat.watch[b.resource] for b in terms.bounds):
                yield from self._look_again(seat)
            elif terms.user_bounds:
                yield from [
                    s for s in seat.leaves if s.user is not None and s.user.name == user.name
                ]
        lending = self._lending
        if lending is not None and any(
            lending.left(r) < most for r, most in enumerate(self._root.watch)
        ):
            yield from self._look_again(self._root)

    def _look_again(self, seat: Seat) -> Iterator[Seat]:
        """All leaves below; the watch is set anew as each passes again."""
        seat.watch = [0] * self._tree.size
        yield from list(seat.leaves)
