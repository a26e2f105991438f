"""The tree of queues as it runs: quota, limits, what is held, what was used, and by whom.

Kept by `planner` by deltas, read by `order.Turn`, which works on copies of what it touches: a plan
changes nothing here. Pure. Cost: O(depth x resources) per change, O(queues) for another
configuration; sums are exact integers, so that the order of changes cannot be told from them.
"""

from __future__ import annotations

from typing import NamedTuple

from zenkei.model.cluster import Node
from zenkei.model.queue import ClusterConfig, PastUsage
from zenkei.scheduler.snapshot import JobClass


class Held(NamedTuple):
    """Amounts of what can be shared out. kinds: (GPU model, gpu_milli), sorted, where it is known."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    kinds: tuple[tuple[str, int], ...] = ()


class QueueTree:
    """See the module's docstring. Queues and users are named here; tables are the planner's."""

    def configure(self, config: ClusterConfig) -> None:
        """Obey another configuration; jobs keep what they hold. Raises InvalidInput on a cycle."""
        raise NotImplementedError

    def put_node(self, node: Node) -> None:
        """Its capacity counts; it replaces a node of that name."""
        raise NotImplementedError

    def drop_node(self, name: str) -> None:
        raise NotImplementedError

    def hold(self, job: int, queue: str, user: str, held: Held, since_us: int) -> None:
        """A job has this since `since_us`; it replaces what was known of the job."""
        raise NotImplementedError

    def let_go(self, job: int) -> None:
        """The job holds nothing any more, if it did."""
        raise NotImplementedError

    def use(self, row: PastUsage) -> None:
        """Replaces what was known of that queue and user."""
        raise NotImplementedError

    def may_reclaim(self, queue: str, job_class: JobClass, victim: str) -> bool:
        """Whether a job of `queue` is owed what jobs of the queue `victim` hold beyond their quota.

        True where the two paths part: there `queue`'s side stays within its quota with the job, and
        the other side is beyond its own in something that the job asks for.
        """
        raise NotImplementedError
