"""What must never be of claims and displaced jobs, read from a whole log at the end of a run.

Called by `checkers.check_end`. A claim keeps what it names from all others until it ends; nobody is
displaced for a job that does not wait, nor twice in one attempt, nor more often than the policy
lets; a claim never outlives what it was made for. Cost: O(events + allocations x claims in force).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from zenkei.model import event as e
from zenkei.model.cluster import Node, NodePart
from zenkei.model.event import Event
from zenkei.model.ids import JobId
from zenkei.model.job import PREEMPTION_WINDOW_US, StopReason
from zenkei.model.resources import Free

_ENDS = (e.Allocated, e.Held, e.Cancelled, e.Rejected, e.Edited)
"""Events of a waiting job that end its claim."""


class Log:
    """A log read in order: who waits, who runs where, who is leaving, what is claimed."""

    def __init__(self, nodes: Mapping[str, Node], most_preemptions: int) -> None:
        self._nodes = nodes
        self._most = most_preemptions
        self._pending: set[JobId] = set()
        self._held: dict[JobId, tuple[NodePart, ...]] = {}
        self._leaving: set[JobId] = set()
        self._claims: dict[JobId, e.Claimed] = {}
        self._displaced: dict[JobId, list[int]] = defaultdict(list)
        self.displacements = 0

    def breaches(self, events: Iterable[Event]) -> Iterator[str]:
        """Each a sentence."""
        for event in events:
            yield from self._take(event)

    def _take(self, event: Event) -> Iterator[str]:
        job, body = event.job, event.body
        if isinstance(body, e.Allocated):
            yield from self._allocated(event, body)
            self._held[job] = body.parts
            self._pending.discard(job)
        elif isinstance(body, e.StopOrdered) and body.favoured:
            yield from self._stopped(event, body)
        elif isinstance(body, e.Claimed):
            if job not in self._pending:
                yield f"parts are claimed for job {job}, which does not wait"
            self._claims[job] = body
        if isinstance(body, e.StopOrdered | e.Exited):
            self._leaving.add(job)
        elif isinstance(body, e.Released):
            self._held.pop(job, None)
            self._leaving.discard(job)
        if isinstance(body, _ENDS):
            self._claims.pop(job, None)
        if isinstance(body, e.Prepared) or (
            isinstance(body, e.Released) and body.next.value == "pending"
        ):
            self._pending.add(job)
        elif isinstance(body, e.Held | e.Cancelled | e.Rejected):
            self._pending.discard(job)

    def _stopped(self, event: Event, body: e.StopOrdered) -> Iterator[str]:
        job, favoured = event.job, JobId.parse(body.favoured)
        self.displacements += 1
        if body.reason is not StopReason.PREEMPTED or not body.why:
            yield f"job {job} is displaced for {favoured} as {body.reason} ({body.why or 'why?'})"
        if favoured == job or favoured not in self._pending:
            yield f"job {job} is displaced for job {favoured}, which does not wait"
        if job in self._leaving or job not in self._held:
            yield f"job {job} is displaced although it is leaving or holds nothing"
        recent = [us for us in self._displaced[job] if us > event.at_us - PREEMPTION_WINDOW_US]
        self._displaced[job] = [*recent, event.at_us]
        if len(self._displaced[job]) > self._most:
            yield f"job {job} was displaced {len(self._displaced[job])} times within an hour"

    def _allocated(self, event: Event, body: e.Allocated) -> Iterator[str]:
        """Nothing of it may be another's by a claim that is in force."""
        others = {
            job: claim
            for job, claim in self._claims.items()
            if job != event.job and event.at_us < claim.until_us
        }
        for part in body.parts:
            for job, claim in others.items():
                yield from self._taken(event.job, part, job, claim)

    def _taken(self, job: JobId, part: NodePart, owner: JobId, claim: e.Claimed) -> Iterator[str]:
        kept = [c for c in claim.parts if c.node == part.node]
        if not kept or part.node not in self._nodes:
            return
        free = Free.of(self._nodes[part.node].capacity)
        stays = [p for j, parts in self._held.items() if j not in self._leaving for p in parts]
        for taken in (part, *kept, *(p for p in stays if p.node == part.node)):
            free.take(taken.request, taken.devices)
        mine = {share.index for share in part.devices}
        gpus = [free.gpu_milli[i] for i in mine & {s.index for c in kept for s in c.devices}]
        if min((free.cpu_milli, free.memory_bytes, free.tmp_bytes, *gpus)) < 0:
            yield f"job {job} was given on {part.node} what is claimed for job {owner}"
