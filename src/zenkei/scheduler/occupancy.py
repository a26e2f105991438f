"""Who holds what on the nodes, as preemption looks at it: jobs with all their parts.

Made once per plan over what is known, by whoever calls `preemption.victims`; victims chosen in the
plan are told to the roster, which takes them back afterwards. Pure. Cost: O(1); a tenant is made
when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.ledger import CPU, GPU, KIND, MEMORY, Ledger
from zenkei.scheduler.roster import JOB, STOPPING, Roster, held_in
from zenkei.scheduler.snapshot import RunningJob


class Tenant(NamedTuple):
    """A job of which something is known. amounts: all its parts together, by resource."""

    facts: RunningJob
    gpu_milli: int
    cpu_milli: int
    amounts: dict[str, int]


class _Tenants(dict[int, Tenant]):
    def __init__(self, roster: Roster) -> None:
        super().__init__()
        self._roster = roster

    def __missing__(self, job: int) -> Tenant:
        facts, held = self._roster[job]
        amounts = {KIND + kind: milli for kind, milli in held.kinds}
        amounts[GPU] = held.gpu_milli
        amounts[CPU] = held.cpu_milli
        amounts[MEMORY] = held.memory_bytes
        made = self[job] = Tenant(facts, held.gpu_milli, held.cpu_milli, amounts)
        return made


class Occupancy:
    """See the module's docstring.

    nodes: all of them, those that take no work too. parts: by node and job, of all jobs that hold
    any. roster: those of them of which more is known; others cannot be displaced. tenants: the
    same, one at a time.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        parts: Mapping[str, Mapping[int, Sequence[HeldPart]]],
        roster: Roster,
        ledger: Ledger | None = None,
    ) -> None:
        """ledger: one that knows the quotas of earlier plans."""
        self.nodes = nodes
        self.parts = parts
        self.roster = roster
        self.ledger = Ledger() if ledger is None else ledger
        self.tenants: Mapping[int, Tenant] = _Tenants(roster)

    def stopping(self) -> set[int]:
        """Jobs whose places come free by themselves."""
        table = self.roster.columns()
        jobs: list[int] = table[JOB, np.flatnonzero(table[STOPPING])].tolist()
        return {*jobs}

    def stop(self, jobs: Iterable[JobId]) -> None:
        """These were chosen as victims: what they hold comes free, they are not asked again."""
        self.roster.stop(job.key for job in jobs)


def occupancy(
    nodes: Iterable[Node],
    parts: Mapping[str, Iterable[HeldPart]],
    running: Mapping[int, RunningJob],
) -> Occupancy:
    """All at once. parts: by node. running: what is known of jobs that hold any. O(parts)."""
    known = {node.name: node for node in nodes}
    by_job: dict[int, list[HeldPart]] = {}
    by_node: dict[str, dict[int, list[HeldPart]]] = {}
    for name, held in parts.items():
        on = by_node[name] = {}
        for part in held:
            by_job.setdefault(part.job, []).append(part)
            on.setdefault(part.job, []).append(part)
    roster = Roster()
    for job, held in by_job.items():
        if job in running:
            roster.put(running[job], held_in(held, known))
    return Occupancy(known, by_node, roster)
