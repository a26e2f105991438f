"""Who is next: the decision loop over queues, users and jobs of one cycle.

Used by `planner`, one `Turn` per plan. The loop:

    turn = Turn(tree, line, classes, queues, users, now_us=now_us)
    for each claim in force: turn.charge(queue, user, held)
    while (head := turn.head()) is not None:
        rows = place(head.job_class, head.kinds)     # any of head.kinds; () is any model
        if rows:       turn.started(kinds)           # the head has its place, on these models
        elif ...:      turn.skip_class()             # nobody of its class can start now
        elif ...:      turn.skip_class(head.limit_us)  # nobody of its class who runs that long
        else:          turn.skip_job()               # only the head may not; the next one may
    turn.why(queue, user, job_class)                 # the limit that a job waits for, if one does

A head has passed all limits of its queues and its user. `head` is idempotent. Limits only tighten
within a turn, and what a class lacks stays lacking, so nobody is asked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zenkei.model.ids import JobId
from zenkei.scheduler.line import WaitingLine
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.tree import Held, QueueTree


class Head(NamedTuple):
    """The next job. order: see `line.order_of`. queue, user, job_class: places in the tables.

    kinds: GPU models that it may take now, by its request, its queues and what their limits leave;
    empty: any, or no GPU at all. entitled: it stays within the quota of one of its queues at least,
    so it may displace those who borrow (`QueueTree.may_reclaim`).
    """

    order: int
    job_class: int
    queue: int
    user: int
    limit_us: int
    kinds: tuple[str, ...]
    entitled: bool

    @property
    def job(self) -> JobId:
        raise NotImplementedError


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
    ) -> None:
        raise NotImplementedError

    def head(self) -> Head | None:
        """The next job that may start; None: nobody is left who could."""
        raise NotImplementedError

    def started(self, kinds: tuple[tuple[str, int], ...] = (), nodes: int = 0) -> None:
        """The head has its place (or one is held for it).

        kinds: (model, gpu_milli) it got, needed only if its request leaves the model open. nodes:
        of a gang that takes fewer than it would; 0: all.
        """
        raise NotImplementedError

    def skip_job(self) -> None:
        """The head stays in line; the next of its like has its turn."""
        raise NotImplementedError

    def skip_class(self, from_limit_us: int = 0) -> None:
        """Nobody of the head's class (on the head's kinds) who may run so long starts any more."""
        raise NotImplementedError

    def charge(self, queue: int, user: int, held: Held) -> None:
        """Somebody who is not in line keeps this: a claim in force. Before the first `head` only."""
        raise NotImplementedError

    def why(self, queue: int, user: int, job_class: int) -> Reason | None:
        """The limit that keeps such a job from starting; None: no limit does, as far as is known."""
        raise NotImplementedError
