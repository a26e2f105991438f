"""What would have to end so that a waiting job starts: a small set of jobs, found greedily.

Used by `explain`. Pure. First what its limits lack: of the jobs that hold it, the smallest one that
will do, else the largest until enough is free. Then what its nodes lack, likewise on each node: the
nodes that cost least, in one cluster or domain, as the gang needs. Jobs that turn out not to be
needed are left out again, and the whole is tested as the planner would. Small, not surely the
smallest: at most MOST_NODES nodes of MOST_GROUPS groups are looked at, and MOST_ENDS jobs named.
Cost: O(running) for a limit + O(nodes looked at x jobs there) calls of `check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from zenkei.model.resources import Free, Misfit, allowed_devices
from zenkei.scheduler.free import HeldPart, check
from zenkei.scheduler.prospect import Prospect
from zenkei.scheduler.snapshot import IntArray, JobClass
from zenkei.scheduler.survey import Survey
from zenkei.scheduler.tree import Held

MOST_ENDS: Final = 64
"""Jobs in an answer; if more would have to end, there is none."""
MOST_NODES: Final = 12
"""Nodes looked at beside those that the gang needs."""
MOST_GROUPS: Final = 4


def way_out(prospect: Prospect) -> tuple[int, ...]:
    """Jobs, by their size; empty if nobody's end is known to help. Within `Prospect.asking`."""
    known, turn = prospect.known, prospect.turn
    wanted = prospect.job_class
    if known.paused or known.config.paused:
        return ()
    ended = _for_limits(prospect)
    if ended is None:
        return ()
    gone = {job: known.tree.held_by(job) for job in ended}
    for row in gone.values():
        assert row is not None, "jobs that hold something were chosen"
        turn.give(*row)
    try:
        placed = prospect.passes(wanted)
        if placed is None:
            return ()
        return _for_nodes(prospect, placed, ended)
    finally:
        for row in gone.values():
            assert row is not None, "jobs that hold something were chosen"
            turn.give(*row, times=-1)


# -- limits --------------------------------------------------------------------------------------
def _for_limits(prospect: Prospect) -> set[int] | None:
    """Who would have to end so that no limit is broken; None if that is not known."""
    tree, chosen = prospect.known.tree, set[int]()
    if not tree.branch(prospect.queue).missing and tree.branch(prospect.queue).children:
        return None
    for limit in prospect.turn.shortages(prospect.queue, prospect.user, prospect.job_class):
        if not limit.queue:
            return None  # not lent: who of the others must end is theirs to say
        amounts = {
            job: tree.vector(held)[limit.resource]
            for job, (_, _, held) in tree.holding(limit.queue, limit.user).items()
        }
        short = limit.short - sum(amounts.pop(job, 0) for job in sorted(chosen))
        more = _cover(amounts, short)
        if more is None:
            return None
        chosen.update(more)
    return chosen if len(chosen) <= MOST_ENDS else None


def _cover(amounts: dict[int, int], short: int) -> list[int] | None:
    """The smallest job that holds enough, else the largest ones until they do."""
    if short <= 0:
        return []
    enough = [(amount, job) for job, amount in amounts.items() if amount >= short]
    if enough:
        return [min(enough)[1]]
    found = []
    for amount, job in sorted(((a, j) for j, a in amounts.items() if a), key=lambda r: (-r[0], r)):
        found.append(job)
        short -= amount
        if short <= 0:
            # the last one may make an earlier one needless
            return [j for j in found if amounts[j] > -short] if short < 0 else found
    return None


# -- nodes ---------------------------------------------------------------------------------------
Price: TypeAlias = Callable[[int], float]


class _Spot:
    """A node with what would be free on it as jobs end. jobs: the parts of each."""

    def __init__(self, prospect: Prospect, rank: int, wanted: JobClass) -> None:
        node = prospect.survey.layout.nodes[rank]
        self.node = node
        self.jobs: dict[int, list[HeldPart]] = {}
        for part in prospect.known.held_on(node.name):
            self.jobs.setdefault(part.job, []).append(part)
        self._free = prospect.free(node.name)
        self._request = wanted.request
        self._constraints = dict(wanted.constraints)
        there = range(len(node.capacity.devices))
        self._usable = frozenset(index for index in there if index not in node.blocked)

    def fits(self, gone: set[int]) -> bool:
        return self._misfit(self._left(gone)) is None

    def _misfit(self, free: Free) -> Misfit | None:
        found = check(self.node, free, self._request, self._constraints)
        return found if isinstance(found, Misfit) else None

    def _left(self, gone: set[int]) -> Free:
        free = self._free.copy()
        for job in self.jobs.keys() & gone:
            self._give(free, job)
        return free

    def _give(self, free: Free, job: int, times: int = 1) -> Free:
        """As if the job had ended; -1: it has not."""
        for part in self.jobs[job]:
            free.cpu_milli += part.cpu_milli * times
            free.memory_bytes += part.memory_bytes * times
            free.tmp_bytes += part.tmp_bytes * times
            for index, milli in part.devices:
                if index in self._usable:
                    free.gpu_milli[index] += milli * times
        return free

    def ends(self, gone: set[int], price: Price) -> list[int] | None:
        """Jobs beside those gone that would have to end here; None: that does not help.

        The cheapest one that will do, else that which has most of what is lacking, and so on.
        """
        free, chosen = self._left(gone), list[int]()
        left = sorted(self.jobs.keys() - gone, key=lambda job: (price(job), job))
        while (misfit := self._misfit(free)) is not None:
            lacks = self._lacks(misfit, free)
            sizes = {job: self._size(job, misfit) for job in left}
            able = (job for job in left if sizes[job] >= lacks)
            one = next((j for j in able if not self._misfit(self._give(free.copy(), j))), None)
            if one is None:
                one = max((job for job in left if sizes[job]), key=sizes.__getitem__, default=None)
            if one is None:
                return None
            chosen.append(one)
            left.remove(one)
            self._give(free, one)
        for job in sorted(chosen, key=price, reverse=True):
            if self._misfit(self._give(free, job, -1)) is None:
                chosen.remove(job)
            else:
                self._give(free, job)
        return chosen

    def _lacks(self, misfit: Misfit, free: Free) -> int:
        """How much of one thing is missing: of GPUs, on how many devices."""
        request = self._request
        if misfit is Misfit.GPU:
            allowed = allowed_devices(self.node.capacity, request)
            room = sum(free.gpu_milli[index] >= request.gpu_milli for index in allowed)
            return request.gpu_count - room
        if misfit is Misfit.CPU:
            return request.cpu_milli - free.cpu_milli
        if misfit is Misfit.MEMORY:
            return request.memory_bytes - free.memory_bytes
        return request.tmp_bytes - free.tmp_bytes

    def _size(self, job: int, misfit: Misfit) -> int:
        """How much of that a job has here: of GPUs, on how many devices."""
        parts = self.jobs[job]
        if misfit is Misfit.GPU:
            return sum(len(part.devices) for part in parts)
        if misfit is Misfit.CPU:
            return sum(part.cpu_milli for part in parts)
        if misfit is Misfit.MEMORY:
            return sum(part.memory_bytes for part in parts)
        return sum(part.tmp_bytes for part in parts) if misfit is Misfit.TMP else 0


class _Price:
    """What it costs that a job ends: its GPUs, or a thousandth of them for each CPU."""

    def __init__(self, prospect: Prospect) -> None:
        self._tree = prospect.known.tree
        self._running = prospect.known.running

    def __call__(self, job: int) -> int:
        facts = self._running.get(job)
        if facts is not None and facts.stopping:
            return 0
        row = self._tree.held_by(job)
        held = row[2] if row is not None else Held()
        return 1 + (held.gpu_milli or held.cpu_milli // 1000)


def _for_nodes(prospect: Prospect, placed: JobClass, ended: set[int]) -> tuple[int, ...]:
    survey = prospect.survey
    usable = survey.suits(placed) & prospect.open(placed.request)
    price, best = _Price(prospect), None
    for ranks in _candidates(survey, placed, np.flatnonzero(usable)):
        spots = [_Spot(prospect, rank, placed) for rank in ranks]
        on = Counter(job for spot in spots for job in spot.jobs)
        shared = {job: price(job) / number for job, number in on.items()}
        for weight in (price, shared.__getitem__) if placed.fewest > 1 else (price,):
            jobs = _cheapest(spots, placed.fewest, set(ended), weight)
            if jobs is None:
                break
            jobs = _needed(spots, placed.fewest, jobs, ended, price)
            key = sum(map(price, jobs)), len(jobs), sorted(jobs)
            best = key if best is None or key < best else best
            if len(jobs) == 1:
                break
    if best is None or len(best[2]) > MOST_ENDS:
        return ()
    return tuple(sorted(best[2], key=lambda job: (-price(job), job)))


def _candidates(survey: Survey, placed: JobClass, usable: IntArray) -> list[list[int]]:
    """Nodes that lack least, of the groups in which most would do now."""
    groups = survey.groups(placed)[usable]
    request = placed.request
    fits = survey.fits(placed)[usable]
    gpus = np.maximum(request.gpu_count - survey.devices(request)[usable], 0)
    cpus = np.maximum(request.cpu_milli - survey.free[0, usable], 0)
    memory = np.maximum(request.memory_bytes - survey.free[1, usable], 0)
    order = np.lexsort((usable, memory, cpus, gpus, ~fits))
    found = []
    for group in np.unique(groups[groups >= 0]).tolist():
        own = order[groups[order] == group]
        if len(own) >= placed.fewest:
            ranks = usable[own[: placed.fewest + MOST_NODES]].tolist()
            found.append((-int(fits[own].sum()), int(gpus[own[: placed.fewest]].sum()), ranks))
    return [ranks for _, _, ranks in sorted(found)[:MOST_GROUPS]]


def _cheapest(spots: list[_Spot], number: int, gone: set[int], price: Price) -> set[int] | None:
    """One node after the other, whichever costs least beside those already taken.

    price: once with all of a job for each of its nodes, once with its part of it: then a gang on
    many of them comes before several small jobs.
    """
    left, taken = list(spots), 0
    costs = {id(spot): _cost(spot, gone, price) for spot in left}
    while taken < number:
        able = [spot for spot in left if costs[id(spot)] is not None]
        if not able:
            return None
        spot = min(able, key=lambda one: costs[id(one)] or (0, []))
        _, jobs = costs[id(spot)] or (0, [])
        taken += 1
        left.remove(spot)
        gone.update(jobs)
        for other in left if jobs else ():
            if not other.jobs.keys().isdisjoint(jobs):
                costs[id(other)] = _cost(other, gone, price)
    return gone


def _needed(
    spots: list[_Spot], number: int, gone: set[int], ended: set[int], price: Price
) -> set[int]:
    """Without those whose nodes are not needed after all, once the others have ended."""
    fits = {id(spot): spot.fits(gone) for spot in spots}
    for job in sorted(gone - ended, key=lambda job: (-price(job), job)):
        rest = gone - {job}
        without = {id(spot): spot.fits(rest) for spot in spots if job in spot.jobs}
        if sum((fits | without).values()) >= number:
            gone, fits = rest, fits | without
    return gone


def _cost(spot: _Spot, gone: set[int], price: Price) -> tuple[float, list[int]] | None:
    jobs = spot.ends(gone, price)
    return None if jobs is None else (sum(map(price, jobs)), jobs)
