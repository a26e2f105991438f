"""What could be asked differently, and a request that would start now: values with their words.

Made by `nearest` for `explain`; shown by the command line and the pages. Pure. Cost: O(1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from zenkei.model.resources import WHOLE_GPU_MILLI, Request
from zenkei.model.wording import count
from zenkei.scheduler.census import without_rdma
from zenkei.scheduler.reasons import cores, cpus, size
from zenkei.scheduler.snapshot import JobClass


class Lever(StrEnum):
    """What could be asked differently."""

    NODES = "nodes"
    GPUS = "gpus"
    CPUS = "cpus"
    MEMORY = "memory"
    TMP = "tmp"
    GPU_KIND = "gpu_kind"
    RDMA = "rdma"
    CONSTRAINTS = "constraints"
    TOPOLOGY = "topology"
    QUEUE = "queue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """A request that differs in one thing and would start now.

    asked, would: in the unit of the request (GPUs in thousandths); 0, 0 where a wish is dropped.
    was, now: names instead, of queues, or of levels that are required; empty: none.
    """

    lever: Lever
    asked: int = 0
    would: int = 0
    was: str = ""
    now: str = ""

    def apply(self, job_class: JobClass) -> JobClass:
        """The class that would start; another queue is no matter of the class."""
        if self.lever is Lever.NODES:
            least = job_class.least if job_class.least < self.would else 0
            return replace(job_class, nodes=self.would, least=least)
        if self.lever is Lever.RDMA:
            return without_rdma(job_class)
        if self.lever is Lever.CONSTRAINTS:
            return replace(job_class, constraints=())
        if self.lever is Lever.TOPOLOGY:
            level = self.now or self.was
            return replace(job_class, level=level, required=bool(self.now))
        return replace(job_class, request=self._request(job_class))

    def _request(self, job_class: JobClass) -> Request:
        request = job_class.request
        match self.lever:
            case Lever.GPUS if request.gpu_milli == WHOLE_GPU_MILLI:
                return replace(request, gpu_count=self.would // WHOLE_GPU_MILLI)
            case Lever.GPUS:
                return replace(request, gpu_milli=self.would)
            case Lever.CPUS:
                return replace(request, cpu_milli=self.would)
            case Lever.MEMORY:
                return replace(request, memory_bytes=self.would)
            case Lever.TMP:
                return replace(request, tmp_bytes=self.would)
            case Lever.GPU_KIND:
                return replace(request, gpu_kinds=())
        return request

    @property
    def text(self) -> str:
        """One English clause, such as `with 4 GPUs per node instead of 8 GPUs`."""
        match self.lever:
            case Lever.GPU_KIND:
                return "with any type of GPU"
            case Lever.RDMA:
                return "without RDMA"
            case Lever.CONSTRAINTS:
                return "without the constraints"
            case Lever.TOPOLOGY:
                wider = f"within one {self.now} instead of one {self.was}"
                return wider if self.now else f"without the required {self.was}"
            case Lever.QUEUE:
                return f"in queue `{self.now}`"
        asked, would = (_SAY[self.lever](v) for v in (self.asked, self.would))
        if self.lever is Lever.NODES:
            return f"on {would} instead of {asked}"
        return f"with {would} per node instead of {asked}"


_SAY: Final[dict[Lever, Callable[[int], str]]] = {
    Lever.NODES: lambda n: count(n, "node"),
    Lever.GPUS: lambda n: f"{cores(n)} {'GPU' if n == WHOLE_GPU_MILLI else 'GPUs'}",
    Lever.CPUS: cpus,
    Lever.MEMORY: lambda n: f"{size(n)} of memory",
    Lever.TMP: lambda n: f"{size(n)} of scratch space",
}
