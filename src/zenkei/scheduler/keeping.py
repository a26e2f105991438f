"""Room under limits that is kept for who starves there.

Small jobs that fit below a cap would else pass a gang for ever that needs most of it. A job that
has waited `Policy.starvation_s`, and is refused because a limit is full, or has its nodes kept,
keeps what it asks for of every limit on its way up: who has a later turn finds so much less room.
Of a limit only the one that waits longest of those keeps anything. So that what is kept is used,
only a job keeps any that could start on the nodes that are ready, and that its limits would let
pass beside what other queues have by right: their quotas. Made anew for each plan: nothing is kept
for who has started, or has left.

Used by `gates`. Pure. Cost: one comparison for each job that is refused; O(depth x siblings) for
those that starve longer than who keeps something in their queue already (of each person, where
persons have limits), and for MOST_FAILED of those that may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

from zenkei.model.ids import JobId
from zenkei.model.queue import Policy
from zenkei.scheduler.line import job_of, submitted_of
from zenkei.scheduler.promises import NEVER_US

LimitKey: TypeAlias = tuple[int, str, int]
"""Place of the queue (LENT: what queues lend), person (empty: all), resource."""
LENT: Final = -1
MOST_FAILED: Final = 16
"""If so many jobs of one queue may keep nothing, no others are asked."""


class Keeping:
    """See the module's docstring. amounts: what is kept of each limit."""

    def __init__(self, policy: Policy, now_us: int, could_start: Callable[[int], bool]) -> None:
        """could_start: whether enough nodes are ready that suit a class."""
        self._starved_us = now_us - int(policy.starvation_s * 1e6)
        self._is_off = not policy.reserve_gangs
        self._could_start = could_start
        self._keepers: dict[LimitKey, int] = {}
        self._since_us: dict[tuple[int, int], int] = {}
        self._failed: dict[tuple[int, int], int] = {}
        self.amounts: dict[LimitKey, int] = {}

    def starves(self, order: int, job_class: int, queue: int, user: int) -> bool:
        """Whether a job may keep something. user: -1 where no limit is that of a person."""
        since_us, where = submitted_of(order), (queue, user)
        if since_us > self._starved_us or self._is_off:
            return False
        if since_us >= self._since_us.get(where, NEVER_US):
            return False
        if self._failed.get(where, 0) >= MOST_FAILED:
            return False
        if not self._could_start(job_class):
            self.failed(queue, user)
            return False
        return True

    def failed(self, queue: int, user: int) -> None:
        """A job that starves may keep nothing."""
        self._failed[queue, user] = self._failed.get((queue, user), 0) + 1

    def keep(self, order: int, limits: Mapping[LimitKey, int], queue: int, user: int) -> None:
        """Of limits that somebody keeps already: if it waits longer."""
        since_us = self._since_us[queue, user] = submitted_of(order)
        for key, amount in limits.items():
            before = self._keepers.get(key)
            if before is None or since_us < submitted_of(before):
                self.amounts[key], self._keepers[key] = amount, order

    def keeper(self, key: LimitKey) -> JobId:
        """For whom a limit is kept. Raises KeyError if it is not."""
        return job_of(self._keepers[key])

    @contextmanager
    def without(self, job: int | None = None) -> Iterator[None]:
        """As if nothing were kept for this job, for questions about itself; None: for anybody."""
        before = self.amounts
        of = self._keepers
        self.amounts = {k: n for k, n in before.items() if job not in (None, job_of(of[k]).key)}
        try:
            yield
        finally:
            self.amounts = before
