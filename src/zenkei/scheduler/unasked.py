"""Who could not ask for room in a plan, because others asked in vain: some of them do so now.

Called by `cycle` when everybody has had a turn and no search for victims was left. Without it, jobs
that may displace others but would not fit even so, plan after plan, would keep everybody behind
them from what is theirs. Pure: whose turn it is follows from the time.
Cost: O(running + segments), and `Turn.is_owed` for each queue and class that waits for room.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, TypeAlias

from zenkei.scheduler.known import Known
from zenkei.scheduler.line import SegmentKey, job_of, runs_us
from zenkei.scheduler.order import Turn

Alike: TypeAlias = tuple[int, int, int, int]
"""Queue, class, priority and time limit: who has the same has the same rights over the same."""
TICK_US: Final = 5_000_000
"""How long the same jobs have the turn."""


class Unasked(NamedTuple):
    """The jobs whose turn it is, with their segments. again_us: when it is that of others."""

    jobs: tuple[tuple[int, SegmentKey], ...]
    again_us: int | None


def unasked(
    known: Known,
    turn: Turn,
    waits: Collection[int],
    asked: Collection[Alike],
    *,
    most: int,
    now_us: int,
) -> Unasked:
    """waits: classes that found no room. asked: those that have asked."""
    found: list[tuple[str, int, SegmentKey]] = []
    seen = set(asked)
    owed: dict[tuple[int, int], bool] = {}
    lowest: dict[int, int] = {}
    for row in known.running.values():
        lowest[row.queue] = min(row.priority, lowest.get(row.queue, row.priority))
    for queue in known.line.queues:
        heads = [
            (segment.keys[at], key)
            for group in known.line.of_queue(queue).values()
            for _, at, key, segment in group.heads()
            if key[1] in waits
        ]
        for order, key in sorted(heads):
            alike = (queue, key[1], key[3], runs_us(key))
            if alike in seen:
                continue
            seen.add(alike)
            one = (queue, key[1])
            if one not in owed:
                owed[one] = turn.is_owed(known.queues[queue], known.classes[key[1]])
            if owed[one] or lowest.get(queue, key[3]) < key[3]:
                found.append((known.queues[queue], order, key))
    found.sort()
    first = now_us // TICK_US * most % len(found) if found else 0
    chosen = (found[first:] + found[:first])[:most]
    again_us = (now_us // TICK_US + 1) * TICK_US if len(found) > most else None
    jobs = tuple((job_of(order).key, key) for _, order, key in chosen)
    return Unasked(jobs, again_us)
