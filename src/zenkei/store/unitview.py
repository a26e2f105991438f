"""What one unit may read of a batch: only what it declared.

Made by `units.Batch` for each unit; the `View` of `ports.store`. Cost: none of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from zenkei.model.cluster import Allocation, Node
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.ids import JobId
from zenkei.model.job import Job
from zenkei.ports.store import Reads

if TYPE_CHECKING:
    from zenkei.store.units import Batch


class UnitView:
    """`ports.store.View` of one unit: only what it declared."""

    __slots__ = ("_batch", "_jobs", "_reads")

    def __init__(self, batch: Batch, reads: Reads) -> None:
        self._batch = batch
        self._reads = reads
        self._jobs: Collection[JobId] = reads.jobs if len(reads.jobs) < 8 else set(reads.jobs)

    @property
    def now_us(self) -> int:
        return self._batch.now_us

    @property
    def clock_us(self) -> int:
        return self._batch.clock_us

    def job(self, job: JobId) -> Job | None:
        if job not in self._jobs and job.number not in self._reads.submissions:
            raise KeyError(f"job {job} was not declared in `reads`")
        return self._batch.job(job)

    def members(self, number: int) -> tuple[Job, ...]:
        if number not in self._reads.submissions:
            raise KeyError(f"submission {number} was not declared in `reads`")
        return self._batch.members(number)

    def node(self, name: str) -> Node | None:
        if name not in self._reads.nodes:
            raise KeyError(f"node {name} was not declared in `reads`")
        return self._batch.node(name)

    def held_on(self, name: str) -> tuple[Allocation, ...]:
        if name not in self._reads.nodes:
            raise KeyError(f"node {name} was not declared in `reads`")
        return self._batch.held_on(name)

    def known_request(self) -> tuple[int, str] | None:
        if self._reads.request_key is None:
            raise KeyError("no request key was declared in `reads`")
        return self._batch.request(self._reads.request_key)

    def cluster(self) -> ClusterRecord | None:
        if not self._reads.cluster:
            raise KeyError("the cluster was not declared in `reads`")
        return self._batch.cluster()

    def unfinished(self) -> Mapping[str, int]:
        if not self._reads.queues:
            raise KeyError("the queues were not declared in `reads`")
        return self._batch.unfinished()

    def next_number(self) -> int:
        return self._batch.next_number()
