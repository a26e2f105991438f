"""The limits of queues and users while a plan is made: who may pass, and why the others may not.

Used by `order.Turn`. One reason for all jobs that ask for the same of the same queue or user.
Limits only tighten within a turn: whoever may not pass now will not later. Cost: O(depth) per job
that is next, nothing where no queue has limits; `tightened` looks at a queue's leaves only when
there is not room any more for the largest that one of them asks for next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, TypeAlias

from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.keeping import LENT, Keeping, LimitKey
from zenkei.scheduler.limits import Lending, beyond, numbers_of, wrong_kind
from zenkei.scheduler.reasons import Reason, limit_kept
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


Obstacle: TypeAlias = tuple[Seat, Bound | int, User | None]
"""The queue and the limit that stops a job, and whose limit it is if it is a person's. An int: what
others do not lend of that resource."""


class Gates:
    """See the module's docstring."""

    def __init__(
        self, tree: QueueTree, classes: Sequence[JobClass], root: Seat, keeping: Keeping
    ) -> None:
        self._keeping = keeping
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

    def _against(self, leaf: Seat, user: User, ask: Ask) -> Obstacle | None:
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
        amounts, found = _least(ask), []
        for seat, bound, person, held in self._bounds(leaf, user):
            r, who = bound.resource, person.name if person is not None else ""
            short = held[r] + amounts[r] - bound.limit
            if amounts[r] and short > 0:
                found.append(Shortage(seat.branch.name, who, r, short))
        path = [seat.branch for seat in leaf.path]
        for r, more in enumerate(amounts if self._lending is not None else ()):
            short = self._lending.short(path, r, more) if self._lending is not None else 0
            if short > 0:
                found.append(Shortage("", "", r, short))
        return found

    def _obstacle(self, leaf: Seat, user: User, amounts: Sequence[int]) -> Obstacle | None:
        """The first limit on the way up that would be broken, else the first that is kept."""
        kept: Obstacle | None = None
        for seat, bound, person, held in self._bounds(leaf, user):
            more = amounts[bound.resource]
            if not more:
                continue
            if held[bound.resource] + more > bound.limit:
                return seat, bound, person
            if kept is None and self._keeping.amounts:
                key = _key(seat, person, bound.resource)
                most = bound.limit - self._keeping.amounts.get(key, 0)
                if held[bound.resource] + more > most:
                    kept = seat, bound._replace(code=ReasonCode.LIMIT_KEPT), person
        if self._lending is not None:
            path = [seat.branch for seat in leaf.path]
            for r, more in enumerate(amounts):
                short = self._lending.short(path, r, more) if more else 0
                if short > 0:
                    return leaf, r, None
                lent = self._keeping.amounts.get((LENT, "", r), 0)
                if kept is None and lent and self._lending.is_beyond(path, r, more, lent):
                    kept = self._root, Bound(r, 0, ReasonCode.LIMIT_KEPT), None
        return kept

    @staticmethod
    def _bounds(leaf: Seat, user: User) -> Iterator[tuple[Seat, Bound, User | None, Sequence[int]]]:
        """Every limit on the way up, and what is held of it: by all, or by the person."""
        for seat in leaf.path:
            terms = seat.branch.terms
            for bound in terms.bounds:
                yield seat, bound, None, seat.held
            if terms.user_bounds:
                held = user.held if seat is leaf else seat.person_held(user.name)
                for bound in terms.user_bounds:
                    yield seat, bound, user, held

    def _fewer(self, leaf: Seat, user: User, ask: Ask, found: Obstacle) -> Obstacle | None:
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

    def _choose(self, leaf: Seat, user: User, ask: Ask) -> Obstacle | None:
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

    # -- who starves -----------------------------------------------------------------------------
    def without(self, job: int | None) -> AbstractContextManager[None]:
        """See `Keeping.without`."""
        return self._keeping.without(job)

    def refused(self, leaf: Seat, user: User, order: int, job_class: int) -> None:
        """A limit has just refused this job, or one like it: what it asks for may be kept."""
        why = self.why(leaf.place, user.place, job_class)
        if why is not None and why.code in _PASSING:
            self.keep(leaf, user, order, job_class)

    def keep(self, leaf: Seat, user: User, order: int, job_class: int) -> None:
        """Who comes later finds less room under its limits, if it starves."""
        ask = leaf.asks.get(job_class)
        if not leaf.limited or ask is None:
            return
        of_persons = any(seat.branch.terms.user_bounds for seat in leaf.path)
        where = leaf.place, user.place if of_persons else -1
        if not self._keeping.starves(order, job_class, *where):
            return
        limits = self._to_keep(leaf, user, _least(ask))
        if limits is None:
            self._keeping.failed(*where)
        else:
            self._keeping.keep(order, limits, *where)

    def _to_keep(
        self, leaf: Seat, user: User, amounts: Sequence[int]
    ) -> dict[LimitKey, int] | None:
        """How much of which limits; None: it would not pass if who comes later held nothing."""
        limits: dict[LimitKey, int] = {}
        for seat, bound, person, _ in self._bounds(leaf, user):
            r, more = bound.resource, amounts[bound.resource]
            if more and more + self._by_right(leaf, seat, person, r) > bound.limit:
                return None
            if more:
                limits[_key(seat, person, r)] = more
        if self._lending is None:
            return limits
        path, total = [seat.branch for seat in leaf.path], self._tree.root.terms.total
        for r, more in enumerate(amounts):
            if more and more + self._by_right(leaf, None, None, r) > total[r]:
                return None
            grown = self._lending.grown(path, r, more)
            if grown:
                limits[LENT, "", r] = grown
        return limits

    def _by_right(self, leaf: Seat, top: Seat | None, person: User | None, resource: int) -> int:
        """What other queues below `top` (None: all) hold within their quotas, or would at once.

        Of a person: what it holds there. Of all: what they do not lend, if that is more.
        """
        found = 0
        for seat in leaf.path:
            if seat is top or seat.up is None:
                break
            waits = {below.branch.place for below in seat.up.below}
            for other in seat.up.branch.children:
                if other is seat.branch:
                    continue
                covered = int(other.terms.covered[resource])
                if person is not None:
                    theirs = other.people.get(person.name)
                    found += min(covered, theirs.held[resource]) if theirs is not None else 0
                    continue
                held = covered if other.place in waits else min(covered, other.held[resource])
                if top is None and self._lending is not None:
                    held = max(held, self._lending.unlent(other, resource))
                found += held
        return found

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
        code = None if isinstance(bound, int) else bound.code
        key = (seat, name, r, code, asked)
        known = self._reasons.get(key)
        if known is None:
            if isinstance(bound, int):
                assert self._lending is not None
                path = [one.branch for one in leaf.path]
                known = self._lending.reason(path, r, asked, self._root.held[r])
            elif code is ReasonCode.LIMIT_KEPT:
                known = self._kept(seat, r, name, asked)
            else:
                held = self._held(leaf, seat, person)[r]
                known = beyond(bound, seat.branch.wish, held, asked, self._tree.kinds, name)
            self._reasons[key] = known
        return known

    def _kept(self, seat: Seat, resource: int, user: str, asked: int) -> Reason:
        key = (LENT if seat is self._root else seat.branch.place, user, resource)
        numbers = numbers_of(resource, self._tree.kinds)
        numbers |= {"queue": "" if seat is self._root else seat.branch.name, "user": user}
        numbers |= {"asked": asked, "kept": self._keeping.amounts[key]}
        return limit_kept(self._keeping.keeper(key), numbers)

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


def _key(seat: Seat, person: User | None, resource: int) -> LimitKey:
    return seat.branch.place, person.name if person is not None else "", resource


def _least(ask: Ask) -> list[int]:
    """What a job takes at its least size, on the first of the models that it would take."""
    amounts = [amount * (ask.least or ask.nodes) // ask.nodes for amount in ask.amounts]
    if ask.choice and ask.choice[0][0] >= 0:
        amounts[ask.choice[0][0]] = amounts[GPU]
    return amounts
