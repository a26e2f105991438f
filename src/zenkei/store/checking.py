"""What must be true of a store's rows at any time; each breach is a sentence.

Called by `check` of every store and by the simulator's checkers. Pure. Cost: replays every event.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from zenkei.lifecycle.evolve import evolve
from zenkei.model.cluster import Allocation, Node
from zenkei.model.event import Effect, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job
from zenkei.model.queue import PastUsage
from zenkei.model.resources import Free


def replay_differs(jobs: Mapping[JobId, Job], events: Iterable[Event]) -> Iterator[str]:
    """Rows that the events, in order of seq, do not make."""
    made: dict[JobId, Job] = {}
    last = 0
    for event in events:
        if event.seq <= last:
            yield f"event {event.seq} comes after event {last}"
        last = event.seq
        try:
            made[event.job] = evolve(made.get(event.job), event)
        except ValueError as error:
            yield f"event {event.seq} cannot be replayed: {error}"
    for job in jobs.values():
        if made.get(job.id) != job:
            yield f"job {job.id} is {job}, its events make {made.get(job.id)}"
    for lost in made.keys() - jobs.keys():
        yield f"job {lost} has events and no row"


def wrongly_held(
    jobs: Mapping[JobId, Job], nodes: Iterable[Node], allocations: Iterable[Allocation]
) -> Iterator[str]:
    """Allocations that nobody may hold, jobs that lack theirs, and nodes that are given twice."""
    free = {node.name: Free.of(node.capacity) for node in nodes}
    held: set[AttemptId] = set()
    for allocation in allocations:
        held.add(allocation.attempt)
        job = jobs.get(allocation.attempt.job)
        if job is None or not job.state.holds_allocation:
            state = job.state if job else "unknown"
            yield f"attempt {allocation.attempt} holds devices, its job is {state}"
        elif job.attempt != allocation.attempt.number:
            yield f"attempt {allocation.attempt} holds devices, current is {job.attempt}"
        for part in allocation.parts:
            if part.node in free:
                free[part.node].take(part.request, part.devices)
    for job in jobs.values():
        if job.state.holds_allocation and AttemptId(job.id, job.attempt) not in held:
            yield f"job {job.id} is {job.state} and holds nothing"
    for name, left in free.items():
        least = min((left.cpu_milli, left.memory_bytes, left.tmp_bytes, *left.gpu_milli))
        if least < 0:
            yield f"node {name} is given away more than once: {left}"


def effects_of_nobody(jobs: Mapping[JobId, Job], effects: Iterable[Effect]) -> Iterator[str]:
    """Outbox rows of jobs that do not exist. A preparation belongs to a whole submission."""
    numbers = {job.number for job in jobs}
    for effect in effects:
        if effect.job not in jobs and not (effect.job.member < 0 and effect.job.number in numbers):
            yield f"effect {effect.key} belongs to no job"


def wrongly_counted(usage: Iterable[PastUsage]) -> Iterator[str]:
    """Past usage that no use can have made."""
    for past in usage:
        sums = (past.cpu_milli_s, past.memory_byte_s, past.gpu_milli_s)
        if not all(math.isfinite(one) and one >= 0.0 for one in sums):
            yield f"the past usage of {past.user} in {past.queue} is {sums}"
