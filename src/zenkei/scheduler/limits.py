"""The limits that keep a job from starting although there may be room, each as a typed reason.

Used by `order.Turn`. Pure. Cost: O(depth x resources) per question.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from zenkei.model.queue import Queue
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.reasons import Numbers, Reason
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.terms import BASE, Bound
from zenkei.scheduler.tree import Branch, QueueTree

_UNITS = ("cpu_milli", "memory_bytes", "gpu_milli")
_NEVER = {
    ReasonCode.QUEUE_CAP: ReasonCode.ABOVE_QUEUE_CAP,
    ReasonCode.USER_CAP: ReasonCode.ABOVE_USER_CAP,
    ReasonCode.BORROW_LIMIT: ReasonCode.ABOVE_BORROW_LIMIT,
}


def closed(branch: Branch) -> Reason | None:
    """Why nobody at all starts from this queue; None if it is open."""
    if branch.missing:
        return Reason(code=ReasonCode.UNKNOWN_QUEUE, numbers={"queue": branch.name})
    if branch.children:
        below = ", ".join(child.name for child in branch.children[:5])
        return Reason(
            code=ReasonCode.QUEUE_NOT_LEAF, numbers={"queue": branch.name, "below": below}
        )
    for queue in branch.path():
        if queue.wish.paused:
            numbers: Numbers = {"queue": queue.name, "why": queue.wish.paused}
            return Reason(code=ReasonCode.QUEUE_PAUSED, numbers=numbers)
    return None


def beyond(
    bound: Bound, queue: Queue, held: int, asked: int, kinds: tuple[str, ...], user: str = ""
) -> Reason:
    """`asked` more would go beyond `bound`; more than all of it: that never ends."""
    code = bound.code if asked <= bound.limit else _NEVER[bound.code]
    numbers = numbers_of(bound.resource, kinds)
    numbers |= {"queue": queue.name, "held": held, "asked": asked, "limit": bound.limit}
    if user:
        numbers["user"] = user
    return Reason(code=code, numbers=numbers)


def wrong_kind(job_class: JobClass, branch: Branch) -> Reason:
    """None of the models that it asks for may be used in its queue."""
    allowed = branch.terms.models or frozenset()
    return Reason(
        code=ReasonCode.GPU_KIND_NOT_ALLOWED,
        numbers={
            "queue": branch.name,
            "gpu_kinds": ", ".join(job_class.request.gpu_kinds),
            "allowed": ", ".join(sorted(allowed)),
        },
    )


def numbers_of(resource: int, kinds: tuple[str, ...]) -> Numbers:
    """What names a resource in a reason."""
    if resource < BASE:
        return {"resource": _UNITS[resource], "kind": ""}
    return {"resource": "gpu_milli", "kind": kinds[resource - BASE]}


class Lending:
    """What must stay free for queues that do not lend all of their quota.

    A queue needs what it and those below it hold, or what it does not lend if that is more. The
    needs of all may not grow beyond the cluster: then each unlent part is there when it is wanted.
    """

    def __init__(self, tree: QueueTree) -> None:
        self._tree = tree
        size = tree.size
        self._own = [list(branch.held) for branch in tree.branches]
        self._need = [[0] * size for _ in tree.branches]
        for branch in reversed(tree.branches):
            own, kept = self._own[branch.place], branch.terms.kept
            need = self._need[branch.place] = [max(own[r], kept[r]) for r in range(size)]
            if branch.above is not None:
                above = self._own[branch.above.place]
                for r in range(size):
                    above[r] += need[r] - branch.held[r]

    def short(self, path: Sequence[Branch], resource: int, asked: int) -> int:
        """By how much others would have to hold less, so that there is room; not above 0: none."""
        more = self.grown(path, resource, asked)
        return more - self.left(resource) if more else 0

    def is_beyond(self, path: Sequence[Branch], resource: int, asked: int, taken: int) -> bool:
        """Whether it would be short if the need of others grew by `taken` first."""
        more = self.grown(path, resource, asked)
        return more > 0 and more > self.left(resource) - taken

    def most(self, path: Sequence[Branch], resource: int) -> int:
        """What a job there could have if nobody held anything: all but what is kept from it."""
        own, need = self._needs_of_none
        most = self._tree.root.terms.total[resource] - need[0][resource]
        return most + sum(need[b.place][resource] - own[b.place][resource] for b in path)

    def unlent(self, branch: Branch, resource: int) -> int:
        """What is kept for a queue and those below it while they hold nothing."""
        return self._needs_of_none[1][branch.place][resource]

    @cached_property
    def _needs_of_none(self) -> tuple[list[list[int]], list[list[int]]]:
        """Own and needed amounts as they are while nothing is held anywhere."""
        tree, size = self._tree, self._tree.size
        own = [[0] * size for _ in tree.branches]
        need = [[0] * size for _ in tree.branches]
        for branch in reversed(tree.branches):
            mine, kept = own[branch.place], branch.terms.kept
            need[branch.place] = [max(mine[r], kept[r]) for r in range(size)]
            if branch.above is not None:
                above = own[branch.above.place]
                for r in range(size):
                    above[r] += need[branch.place][r]
        return own, need

    def grown(self, path: Sequence[Branch], resource: int, asked: int) -> int:
        """By how much the need of the whole cluster grows."""
        more = asked
        for branch in path:
            own, need = self._own[branch.place], self._need[branch.place]
            more = max(need[resource], own[resource] + more) - need[resource]
            if not more:
                break
        return more

    def take(self, path: Sequence[Branch], amounts: Sequence[int]) -> None:
        """Amounts below zero are given back."""
        for r, asked in enumerate(amounts):
            more = asked
            for branch in (*path, self._tree.root):
                own, need = self._own[branch.place], self._need[branch.place]
                own[r] += more
                more = max(own[r], branch.terms.kept[r]) - need[r]
                need[r] += more

    def left(self, resource: int) -> int:
        """By how much the needs may still grow."""
        return self._tree.root.terms.total[resource] - self._need[0][resource]

    def reason(self, path: Sequence[Branch], resource: int, asked: int, held: int) -> Reason:
        """held: by all in the cluster."""
        numbers = numbers_of(resource, self._tree.kinds) | {"queue": path[0].name}
        most = self.most(path, resource)
        if asked > most:
            numbers |= {"asked": asked, "limit": most}
            return Reason(code=ReasonCode.ABOVE_LENT, numbers=numbers)
        kept = self._need[0][resource] - held
        unheld = max(0, self._tree.root.terms.total[resource] - held)
        # where jobs make way, they hold what the place that is kept holds already
        numbers |= {
            "asked": asked,
            "unheld": unheld,
            "kept": min(kept, unheld),
        }
        return Reason(code=ReasonCode.QUOTA_NOT_LENT, numbers=numbers)
