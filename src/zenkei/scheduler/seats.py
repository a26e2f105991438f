"""Queues and users while a plan is made: copies of what they hold, and who of them comes first.

Made by `order.Turn` for what it touches, thrown away with it. Cost: O(resources) per key.

Between queues below one parent (hierarchical Dominant Resource Fairness: Ghodsi et al., NSDI 2011;
Bhattacharya et al., SoCC 2013; guarantees and borrowing as in Kueue and KAI):
 0 those whose next job stays within their quota, by the largest share of the quota that is held
 1 those that borrow, by (held beyond the quota + usage weight x mean past use beyond it) as the
   largest share of what the parent could have, over their weight
 2 those of weight 0, likewise
What is held counts with half of the next job: so whoever is rounded up is so by as much as the
others are rounded down, and each leaf comes within one gang of the exact shares (Webster's method).
Of a next job that starves it counts alone, and among equals the one that waits longest comes first:
a gang of more than its queue's share would else come after small jobs for ever.
Departures: what stays within a quota that names only some resources is decided by those of them
that the job asks for; a job that asks for none of them borrows. The share of one resource is taken
of the sum of what is held and was used, not of each. What queues hold whose jobs cannot start any
more still counts for those above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from zenkei.scheduler.line import Entry, Group, SegmentKey
from zenkei.scheduler.terms import BASE
from zenkei.scheduler.tree import Branch, Person, QueueTree

UserEntry: TypeAlias = tuple[int, float, int, "User"]
"""-(band), share, order of the next job."""
ColdEntry: TypeAlias = tuple[int, float, int, int, "User", Entry]
"""-(band), share, order of a job; its class, its user, and itself."""
Key: TypeAlias = tuple[int, float, int]
"""Stage, share, since when the next job starves (NEVER: it does not)."""
ChildEntry: TypeAlias = tuple[int, float, int, str, int, "Seat"]
"""Its key, name, version: one that is not the seat's own is stale."""
NEVER: Final = 1 << 62

RankedEntry: TypeAlias = tuple[tuple[int, float, int], "User", Entry]
"""Where it comes (`worth.Rank`), whose it is, and itself."""
Block: TypeAlias = tuple[list[tuple[int, "User", Group]], list[ColdEntry]]
"""Groups (with the bits of their classes) and single jobs, of the same band and share."""


class Ask:
    """What the jobs of a class want in queues that allow the same models.

    amounts: `[R]`, of the whole gang; of a model only if no other will do. kinds: models that they
    may take; empty: any, or no GPU. choice: several of them have limits of their own. narrowed: the
    queue allows less than the request.
    """

    __slots__ = ("amounts", "choice", "halves", "job_class", "kinds", "least", "narrowed", "nodes")

    def __init__(
        self,
        job_class: int,
        amounts: tuple[int, ...],
        kinds: tuple[str, ...],
        nodes: int,
        least: int,
        *,
        choice: tuple[tuple[int, str], ...] = (),
        narrowed: bool = False,
    ) -> None:
        self.job_class = job_class
        self.amounts = amounts
        self.halves = tuple(amount / 2 for amount in amounts)
        self.kinds = kinds
        self.nodes = nodes
        self.least = least
        self.choice = choice
        self.narrowed = narrowed


class User:
    """One person in one leaf queue. blocked: classes that are over a cap.

    hot: it was served, or passed over; from then on heaps has the segments that are left, by
    priority, and heap is that of the next job, of `priority`.
    """

    __slots__ = (
        "_held",
        "_past",
        "_person",
        "_seat",
        "_served_us",
        "_share",
        "blocked",
        "heap",
        "heaps",
        "hot",
        "name",
        "place",
        "priority",
    )

    def __init__(self, place: int, name: str, person: Person | None, seat: Seat) -> None:
        self.place = place
        self.name = name
        self.hot = False
        self.heap: list[Entry] = []
        self.heaps: dict[int, list[Entry]] = {}
        self.priority = 0
        self.blocked: set[int] = set()
        self._person = person
        self._seat = seat
        self._held: list[int] | None = None
        self._past: list[float] = []
        self._served_us = -1
        self._share = -1.0

    @property
    def held(self) -> list[int]:
        """What its jobs hold, with those of this plan: whoever changes it says so (`charged`)."""
        if self._held is None:
            tree, person = self._seat.tree, self._person
            if person is None:
                self._held = [0] * tree.size
                self._past = [0.0] * tree.size
            else:
                self._held = list(person.held)
                weight = tree.config.policy.usage_milli / 1000
                means = tree.mean(person.held, person.early, person.past)
                self._past = [weight * mean for mean in means]
        return self._held

    def charged(self) -> None:
        """What it holds was changed."""
        self._share = -1.0

    @property
    def served_us(self) -> int:
        """Up to when it got something here."""
        if self._served_us < 0:
            person = self._person
            self._served_us = 0 if person is None else max(person.used_us, *person.jobs.values(), 0)
        return self._served_us

    @served_us.setter
    def served_us(self, at_us: int) -> None:
        self._served_us = at_us

    def share(self) -> float:
        """The largest share of a resource, of what the queue's parent could have."""
        if self._share >= 0:
            return self._share
        if self._held is None and self._person is None:
            self._share = 0.0
        elif self._held is None and self._person is not None and self._seat.tree.size == BASE:
            self._share = self._seat.tree.share(self._person, self._seat.plain)
        else:
            held, past, scale = self.held, self._past, self._seat.plain
            best = max(
                (held[0] + past[0]) * scale[0],
                (held[1] + past[1]) * scale[1],
                (held[2] + past[2]) * scale[2],
            )
            for r in range(BASE, len(held)):
                best = max(best, (held[r] + past[r]) * scale[r])
            self._share = best
        return self._share


class Seat:
    """One queue. place: of a leaf, in the planner's table.

    ask, user, entry: of a leaf, what its next job is; passed, took, nodes: what the last job that
    was tested may have. head: the leaf below whose next job comes first.
    settled: its place among its siblings is that of the job that would be next. watch: `[R]`, the
    most that a next job below asks for: while there is room for that, none of them is blocked.
    """

    __slots__ = (
        "ask", "asks", "at", "below", "blocked", "blocks", "branch", "built", "cold", "covered",
        "entered", "entry", "head", "heap", "held", "leaves", "limited", "nodes", "nothing",
        "passed", "past", "path", "people", "place", "plain", "quota", "ranked", "refused", "scale",
        "settled", "took", "top", "tree", "up", "user", "user_heap", "users", "version", "watch",
    )  # fmt: skip

    def __init__(self, branch: Branch, tree: QueueTree, up: Seat | None, place: int = -1) -> None:
        terms = branch.terms
        self.branch = branch
        self.place = place
        self.tree = tree
        self.up = up
        self.held = list(branch.held)
        self.quota = terms.quota
        self.covered = terms.covered
        self.scale = terms.scale
        total = branch.above.terms.total if branch.above is not None else terms.total
        self.plain = tuple(1 / most if most else 0.0 for most in total)
        self.past = _past_beyond(branch, tree)
        self.heap: list[ChildEntry] = []
        self.below: list[Seat] = []
        self.leaves: dict[Seat, None] = {}
        self.people: dict[str, list[int]] = {}
        self.built = False
        self.settled = False
        self.entered = False
        self.nothing = (0.0,) * tree.size
        self.version = 0
        self.head: Seat | None = None
        self.path: tuple[Seat, ...] = ()
        self.limited = False
        self.watch = [0] * tree.size
        self._clear_leaf()

    def _clear_leaf(self) -> None:
        self.users: dict[int, User] = {}
        self.user_heap: list[UserEntry] = []
        self.blocks: list[tuple[tuple[int, float], Block]] = []
        self.cold: list[ColdEntry] = []
        self.ranked: list[RankedEntry] = []
        self.at = 0
        self.refused: set[SegmentKey] = set()
        self.blocked: set[int] = set()
        self.asks: dict[int, Ask] = {}
        self.top = 0
        self.ask: Ask | None = None
        self.passed: Ask | None = None
        self.user: User | None = None
        self.entry: Entry | None = None
        self.took: tuple[str, ...] = ()
        self.nodes = 0

    def person_held(self, name: str) -> list[int]:
        """What one person's jobs hold below, to be changed by the turn."""
        found = self.people.get(name)
        if found is None:
            person = self.branch.people.get(name)
            found = list(person.held) if person is not None else [0] * self.tree.size
            self.people[name] = found
        return found

    # -- its place among its siblings ------------------------------------------------------------
    def key(self, ask: Ask, starves_since_us: int | None = None) -> Key:
        """Its place, when `ask` is what its next job wants, which may starve."""
        more = ask.halves if starves_since_us is None else self.nothing
        since_us = NEVER if starves_since_us is None else starves_since_us
        if self.quota and self.within(ask):
            return 0, self._share_of_quota(more), since_us
        return (2 if self.branch.terms.weightless else 1), self._borrowed(more), since_us

    def first_key(self) -> Key:
        """The least that `key` can be, whatever its next job is."""
        if self._has_room():
            return 0, self._share_of_quota(self.nothing), 0
        return (2 if self.branch.terms.weightless else 1), self._borrowed(self.nothing), 0

    def _has_room(self) -> bool:
        held = self.held
        return any(held[r] < quota for r, quota in self.quota)

    def within(self, ask: Ask) -> bool:
        """Whether such a job stays within the quota, in what it asks for of what that names."""
        amounts, held = ask.amounts, self.held
        asked = False
        for r, quota in self.quota:
            if amounts[r]:
                if held[r] + amounts[r] > quota:
                    return False
                asked = True
        return self._choice_within(ask, asked) if ask.choice else asked

    def _choice_within(self, ask: Ask, asked: bool) -> bool:
        """One of the models that would do is within the quota, or not named by it."""
        quota = dict(self.quota)
        gpu_milli = ask.amounts[BASE - 1]
        for r, _ in ask.choice:
            if r in quota and self.held[r] + gpu_milli <= quota[r]:
                return True
        return asked and any(r not in quota for r, _ in ask.choice)

    def _share_of_quota(self, more: Sequence[float]) -> float:
        held, best = self.held, 0.0
        for r, quota in self.quota:
            if quota:
                best = max(best, (held[r] + more[r]) / quota)
        return best

    def _borrowed(self, more: Sequence[float]) -> float:
        held, covered, past, scale = self.held, self.covered, self.past, self.scale
        cpus = held[0] + more[0] - covered[0]
        memory = held[1] + more[1] - covered[1]
        gpus = held[2] + more[2] - covered[2]
        best = max(
            ((cpus if cpus > 0 else 0.0) + past[0]) * scale[0],
            ((memory if memory > 0 else 0.0) + past[1]) * scale[1],
            ((gpus if gpus > 0 else 0.0) + past[2]) * scale[2],
        )
        for r in range(BASE, len(held)):
            best = max(best, (max(0.0, held[r] + more[r] - covered[r]) + past[r]) * scale[r])
        return best


def _past_beyond(branch: Branch, tree: QueueTree) -> list[float]:
    """Mean past use beyond the quota, times its weight. `[R]`."""
    weight = tree.config.policy.usage_milli / 1000
    if not weight:
        return [0.0] * tree.size
    means = tree.mean(branch.held, branch.early, branch.past)
    return [
        weight * max(0.0, mean - covered)
        for mean, covered in zip(means, branch.terms.covered, strict=True)
    ]
