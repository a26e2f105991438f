"""The cheapest whole gangs to displace so that `count` nodes each take one part.

Used by `preemption`. A gang that is taken leaves all of its nodes, so its price is shared by those
of them that help: a covering problem, hard in general. What is done instead of trying all sets:

1. on each node the cheapest jobs to take (`vacating`), at full prices and at prices shared equally
   by the nodes of a gang, as if all of them helped; the `count` cheapest at shared prices are a
   bound from below (up to the heuristics for CPUs and memory);
2. from each of the two, node by node the cheapest next one; nodes of jobs that were taken are
   looked at again, for they need less now;
3. whoever is not needed stays, dearest first;
4. improvement: each gang that was taken is spared once, others are taken in its stead; each gang
   that was not taken is taken once, for those whom it spares. What is cheaper is kept.

Pure, deterministic. Cost: O(nodes x jobs there) + O(tries x nodes); a try stops at the bound, and
their number falls with the size of the search (`_EFFORT`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from zenkei.scheduler.rights import Rights
from zenkei.scheduler.vacating import Price, Spot, Vacancy, vacate

_EFFORT: Final = 60_000
"""Nodes and jobs looked at by all tries of the improvement together."""
_AGAIN: Final = 4
"""Attempts to find, on one node, jobs that may all be taken together."""


class Cover:
    """One search over `spots`, all of which could take a part. weight: what losing a job counts."""

    def __init__(
        self, spots: Sequence[Spot], count: int, rights: Rights, weight: Mapping[int, int]
    ) -> None:
        self._spots = spots
        self._count = count
        self._rights = rights
        self._weight = weight
        self.taken: dict[int, None] = {}
        self._banned = -1
        self._of: dict[int, list[int]] = {}
        for i, spot in enumerate(spots):
            for job in spot.pieces:
                if job in weight:
                    self._of.setdefault(job, []).append(i)
        self._fit = [spot.fits for spot in spots]
        self._fitting = sum(self._fit)
        self._shared: dict[int, float] = {
            job: weight[job] / min(count, len(at)) for job, at in self._of.items()
        }
        self._cheap: dict[bool, list[Vacancy | None]] = {}
        self._stale: dict[bool, set[int]] = {}

    # -- what is taken -------------------------------------------------------------------------
    def _look(self, at: Iterable[int]) -> None:
        for i in at:
            fit = self._spots[i].fits
            self._fitting += fit - self._fit[i]
            self._fit[i] = fit
            for stale in self._stale.values():
                stale.add(i)

    def take(self, job: int) -> None:
        self.taken[job] = None
        self._rights.take(job)
        for i in self._of[job]:
            self._spots[i].give(job)
        self._look(self._of[job])

    def spare(self, job: int) -> None:
        del self.taken[job]
        self._rights.take(job, -1)
        for i in self._of[job]:
            self._spots[i].take_back(job)
        self._look(self._of[job])

    def set(self, jobs: Iterable[int]) -> None:
        """Exactly these are taken."""
        wanted = dict.fromkeys(jobs)
        for job in [job for job in self.taken if job not in wanted]:
            self.spare(job)
        for job in wanted:
            if job not in self.taken:
                self.take(job)

    def fitting(self) -> list[Spot]:
        """Nodes that take a part now."""
        return [spot for spot, fit in zip(self._spots, self._fit, strict=True) if fit]

    def cost(self) -> int:
        return sum(self._weight[job] for job in self.taken)

    # -- one node ------------------------------------------------------------------------------
    def _may(self, job: int) -> bool:
        return (
            job in self._weight
            and job not in self.taken
            and job != self._banned
            and self._rights.allows(job)
        )

    def _vacate(self, i: int, price: Price) -> Vacancy | None:
        """The cheapest jobs of a node that may be taken together."""
        refused: set[int] = set()
        for _ in range(_AGAIN):
            found = vacate(self._spots[i], price, lambda job: job not in refused and self._may(job))
            if found is None or len(found.jobs) < 2:
                return found
            beyond = self._rights.allow_all(found.jobs)
            if beyond is None:
                return found
            refused.add(beyond)
        return None

    def _vacancies(self, shared: bool) -> list[Vacancy | None]:
        """Of each node, as things are taken now; only nodes that changed are looked at again."""
        price: Price = self._shared if shared else self._weight
        if shared not in self._cheap:
            self._cheap[shared] = [self._vacate(i, price) for i in range(len(self._spots))]
            self._stale[shared] = set()
        known, stale = self._cheap[shared], self._stale[shared]
        for i in sorted(stale):
            known[i] = self._vacate(i, price)
        stale.clear()
        return known

    def bound(self) -> float:
        """No set of jobs costs less; infinite if too few nodes can be vacated. With none taken."""
        prices = sorted(v.price for v in self._vacancies(True) if v is not None)
        return sum(prices[: self._count]) if len(prices) >= self._count else float("inf")

    # -- the search ----------------------------------------------------------------------------
    def fill(self, shared: bool) -> bool:
        """Take what is cheapest, node by node, until `count` fit; False if that fails."""
        if self._fitting >= self._count:
            return True
        price: Price = self._shared if shared else self._weight
        heap = [
            (v.price, i, v.jobs) for i, v in enumerate(self._vacancies(shared)) if v is not None
        ]
        heapify(heap)
        while self._fitting < self._count:
            if not heap:
                return False
            _, i, jobs = heappop(heap)
            if self._fit[i]:
                continue
            if any(not self._may(job) for job in jobs) or (
                len(jobs) > 1 and self._rights.allow_all(jobs) is not None
            ):
                again = self._vacate(i, price)
                if again is not None:
                    heappush(heap, (again.price, i, again.jobs))
                continue
            for job in jobs:
                self.take(job)
            for other in {o for job in jobs for o in self._of[job]}:
                if not self._fit[other]:
                    found = self._vacate(other, price)
                    if found is not None:
                        heappush(heap, (found.price, other, found.jobs))
        return True

    def prune(self, keep: int = -1) -> None:
        """Spare whoever is not needed, dearest first; `keep` is not tried."""
        for job in sorted(self.taken, key=lambda j: (-self._weight[j], j)):
            if job != keep:
                self._spare_if(job)

    def _spare_if(self, job: int) -> None:
        lost, at = 0, self._of[job]
        spare = self._fitting - self._count
        spots, fit = self._spots, self._fit
        undo = len(at)
        for n, i in enumerate(at):
            spots[i].take_back(job)
            lost += fit[i] and not spots[i].fits
            if lost > spare:
                undo = n + 1
                break
        for i in at[:undo]:
            spots[i].give(job)
        if lost <= spare:
            self.spare(job)

    def search(self) -> list[int] | None:
        """The jobs to take, sorted; None if none that were found suffice."""
        bound = self.bound()
        if bound == float("inf"):
            return None
        best: list[int] | None = None
        cost = 0
        for shared in (True, False):
            self.set(())
            if not self.fill(shared):
                continue
            self.prune()
            if best is None or self.cost() < cost:
                best, cost = list(self.taken), self.cost()
            if cost <= bound:
                break
        if best is not None and cost > bound:
            best = self._improved(best, cost, bound)
        self.set(best or ())
        return None if best is None else sorted(best)

    def _improved(self, best: list[int], cost: int, bound: float) -> list[int]:
        effort = _EFFORT
        size = len(self._spots) + len(best)
        better = True
        while better and cost > bound:
            better = False
            for spared, job in self._tries(best):
                effort -= size
                if effort < 0:
                    return best
                self.set(best)
                if self._tried(spared, job) and self.cost() < cost:
                    best, cost, better = list(self.taken), self.cost(), True
                    break
        return best

    def _tries(self, best: list[int]) -> list[tuple[bool, int]]:
        """Gangs to spare, dearest first; gangs to take, cheapest by node first."""
        spare = [(True, job) for job in sorted(best, key=lambda j: (-self._weight[j], j))]
        most = sum(self._weight[job] for job in best)
        wide = [
            job
            for job, at in self._of.items()
            if len(at) > 1 and job not in best and self._weight[job] < most
        ]
        wide.sort(key=lambda j: (self._shared[j], j))
        take = [(False, job) for job in wide]
        mixed = [one for pair in zip(spare, take, strict=False) for one in pair]
        return mixed + spare[len(take) :] + take[len(spare) :]

    def _tried(self, spared: bool, job: int) -> bool:
        if not spared:
            if not self._rights.allows(job):
                return False
            self.take(job)
            self.prune(keep=job)
            return True
        self.spare(job)
        self._banned = job
        try:
            if not self.fill(False):
                return False
        finally:
            self._banned = -1
            self._look(self._of[job])
        self.prune()
        return True
