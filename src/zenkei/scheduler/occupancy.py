"""Who holds what on the nodes, as preemption looks at it: jobs with all their parts.

Made once per plan, by whoever calls `preemption.victims`. Pure. Cost: O(parts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.snapshot import RunningJob

GPU: Final = "gpu"
CPU: Final = "cpu"
MEMORY: Final = "memory"
KIND: Final = "kind:"


@dataclass(slots=True, eq=False)
class Tenant:
    """A job that holds parts. facts: what is known of it; None: it cannot be displaced.

    gpu_milli, kinds, ...: of all its parts; amounts: the same by resource. nodes: where they lie,
    each once.
    """

    job: int
    facts: RunningJob | None
    stopping: bool
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    amounts: dict[str, int] = field(default_factory=dict)


class Occupancy:
    """See the module's docstring; it is told of the victims chosen since (`stop`).

    nodes: all of them, those that take no work too. parts: by node, of all jobs that hold any.
    running: what is known of each of those; a job without an entry cannot be displaced.
    held: amounts by leaf queue and priority of those that stay; leaving: by leaf, of those that do
    not.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        parts: Mapping[str, Iterable[HeldPart]],
        running: Mapping[int, RunningJob],
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.parts = {name: tuple(held) for name, held in parts.items()}
        self.tenants: dict[int, Tenant] = {}
        self.held: dict[int, dict[int, dict[str, int]]] = {}
        self.leaving: dict[int, dict[str, int]] = {}
        for name, held in self.parts.items():
            node = self.nodes.get(name)
            devices = node.capacity.devices if node is not None else ()
            for part in held:
                tenant = self.tenants.get(part.job)
                if tenant is None:
                    facts = running.get(part.job)
                    stopping = facts is not None and bool(facts.stopping)
                    tenant = self.tenants[part.job] = Tenant(part.job, facts, stopping)
                if not tenant.nodes or tenant.nodes[-1] != name:
                    tenant.nodes.append(name)
                tenant.cpu_milli += part.cpu_milli
                tenant.memory_bytes += part.memory_bytes
                for index, milli in part.devices:
                    tenant.gpu_milli += milli
                    if index < len(devices):
                        kind = devices[index].kind
                        tenant.kinds[kind] = tenant.kinds.get(kind, 0) + milli

        for tenant in self.tenants.values():
            self._enter(tenant)

    def _enter(self, tenant: Tenant) -> None:
        tenant.amounts = {KIND + kind: milli for kind, milli in tenant.kinds.items()}
        tenant.amounts[GPU] = tenant.gpu_milli
        tenant.amounts[CPU] = tenant.cpu_milli
        tenant.amounts[MEMORY] = tenant.memory_bytes
        if tenant.facts is not None:
            add(self._sums(tenant.facts, stopping=tenant.stopping), tenant.amounts)

    def _sums(self, facts: RunningJob, *, stopping: bool) -> dict[str, int]:
        if stopping:
            return self.leaving.setdefault(facts.queue, {})
        return self.held.setdefault(facts.queue, {}).setdefault(facts.priority, {})

    def stop(self, jobs: Iterable[JobId]) -> None:
        """These were chosen as victims: what they hold comes free, they are not asked again."""
        for job in jobs:
            tenant = self.tenants[job.key]
            if not tenant.stopping and tenant.facts is not None:
                add(self._sums(tenant.facts, stopping=False), tenant.amounts, -1)
                add(self._sums(tenant.facts, stopping=True), tenant.amounts)
            tenant.stopping = True


def add(sums: dict[str, int], amounts: Mapping[str, int], times: int = 1) -> None:
    """Enter amounts by resource into `sums`."""
    for key, amount in amounts.items():
        sums[key] = sums.get(key, 0) + times * amount
