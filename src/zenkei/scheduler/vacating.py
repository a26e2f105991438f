"""The cheapest jobs to take from one node so that one part of a gang fits there.

Used by `cover`. A `Spot` is a node with what is free on it and the jobs that could be taken away.
Whole GPUs: jobs that share devices go together, and a knapsack over these groups is exact. A share
of a GPU, CPUs, memory and scratch space: by what covers most of the lack for its price, then what
is not needed after all is left. Pure. Cost: O(groups x GPUs asked + jobs on the node).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from zenkei.model.cluster import Node
from zenkei.model.resources import WHOLE_GPU_MILLI, Free, Request, allowed_devices
from zenkei.scheduler.free import HeldPart

Price: TypeAlias = Mapping[int, float]


class Vacancy(NamedTuple):
    """price: of all `jobs` together; what is free anyway has none."""

    price: float
    jobs: tuple[int, ...]


class _Piece(NamedTuple):
    """What a job leaves on the node. devices: (index, milli), those that may be used only."""

    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int
    devices: tuple[tuple[int, int], ...]


class Spot:
    """See the module's docstring. free: changed by `give` and `take_back` as jobs are chosen."""

    __slots__ = ("devices", "free", "node", "pieces", "request")

    def __init__(
        self, node: Node, free: Free, request: Request, parts: Sequence[HeldPart], gone: set[int]
    ) -> None:
        """parts: all that is held there. gone: jobs whose parts count as free already."""
        self.node = node
        self.request = request
        self.free = free.copy()
        blocked = set(node.blocked)
        self.devices = allowed_devices(node.capacity, request)
        self.pieces: dict[int, _Piece] = {}
        usable = set(range(len(self.free.gpu_milli))) - blocked  # the others have nothing free
        for part in parts:
            devices = tuple((i, milli) for i, milli in part.devices if i in usable)
            piece = _Piece(part.cpu_milli, part.memory_bytes, part.tmp_bytes, devices)
            if part.job in gone:
                self._add(piece, 1)
            elif part.job in self.pieces:
                self.pieces[part.job] = _joined(self.pieces[part.job], piece)
            else:
                self.pieces[part.job] = piece

    def _add(self, piece: _Piece, sign: int) -> None:
        free = self.free
        free.cpu_milli += sign * piece.cpu_milli
        free.memory_bytes += sign * piece.memory_bytes
        free.tmp_bytes += sign * piece.tmp_bytes
        for index, milli in piece.devices:
            free.gpu_milli[index] += sign * milli

    def give(self, job: int) -> None:
        """`job` is taken away."""
        self._add(self.pieces[job], 1)

    def take_back(self, job: int) -> None:
        """`job` stays after all."""
        self._add(self.pieces[job], -1)

    @property
    def lack(self) -> tuple[int, int, int, int]:
        """CPU, memory, disk, devices that are missing; above zero where something is."""
        free, wants = self.free, self.request
        devices = 0
        if wants.gpu_count:
            milli = free.gpu_milli
            enough = wants.gpu_milli
            devices = wants.gpu_count - sum(milli[i] >= enough for i in self.devices)
        return (
            wants.cpu_milli - free.cpu_milli,
            wants.memory_bytes - free.memory_bytes,
            wants.tmp_bytes - free.tmp_bytes,
            devices,
        )

    @property
    def fits(self) -> bool:
        free, wants = self.free, self.request
        if (
            wants.cpu_milli > free.cpu_milli
            or wants.memory_bytes > free.memory_bytes
            or wants.tmp_bytes > free.tmp_bytes
        ):
            return False
        if not wants.gpu_count:
            return True
        milli, enough = free.gpu_milli, wants.gpu_milli
        return sum(milli[i] >= enough for i in self.devices) >= wants.gpu_count


def vacate(spot: Spot, price: Price, may: Callable[[int], bool]) -> Vacancy | None:
    """The cheapest jobs of `spot`, of those that `may` be taken, whose end makes a part fit."""
    if spot.fits:
        return Vacancy(0, ())
    able = [job for job in spot.pieces if may(job)]
    if not able:
        return None
    devices = spot.lack[3]
    chosen: list[int] = []
    if devices > 0:
        found = (
            _whole(spot, able, price, devices)
            if spot.request.gpu_milli == WHOLE_GPU_MILLI
            else _share(spot, able, price)
        )
        if found is None:
            return None
        chosen = found
    for job in chosen:
        spot.give(job)
    try:
        if not spot.fits:
            more = _scalars(spot, [job for job in able if job not in chosen], price)
            if more is None:
                return None
            chosen = _needed(spot, chosen + more, price, given=len(chosen))
        return Vacancy(sum(price[job] for job in chosen), tuple(sorted(chosen)))
    finally:
        for job in chosen:
            spot.take_back(job)


def _needed(spot: Spot, jobs: list[int], price: Price, given: int) -> list[int]:
    """`jobs` without those that are not needed, dearest first. All are given afterwards.

    given: of `jobs`, so many from the first on are given already; what is left out is taken back.
    """
    for job in jobs[given:]:
        spot.give(job)
    kept = list(jobs)
    for job in sorted(jobs, key=lambda j: (-price[j], j)):
        spot.take_back(job)
        if spot.fits:
            kept.remove(job)
        else:
            spot.give(job)
    return kept


def _whole(spot: Spot, able: list[int], price: Price, lack: int) -> list[int] | None:
    """Groups of jobs that free at least `lack` more whole devices, at the least price: exact."""
    groups = _groups(spot, able)
    if sum(len(devices) for _, devices in groups) < lack:
        return None
    # best[n]: the cheapest groups that free n devices, `lack` standing for more than that too
    best: list[tuple[float, tuple[int, ...]] | None] = [(0, ())] + [None] * lack
    for g, (jobs, devices) in enumerate(groups):
        size, cost = len(devices), sum(price[job] for job in jobs)
        for n in range(lack, 0, -1):
            before = best[max(0, n - size)]
            if before is None:
                continue
            now = best[n]
            if now is None or before[0] + cost < now[0]:
                best[n] = (before[0] + cost, (*before[1], g))
    found = best[lack]
    assert found is not None, "the groups suffice"
    return [job for g in found[1] for job in groups[g][0]]


def _groups(spot: Spot, able: list[int]) -> list[tuple[list[int], list[int]]]:
    """(jobs, devices that their end leaves whole): jobs that share a device are in one group."""
    milli = spot.free.gpu_milli
    wanted = {i for i in spot.devices if milli[i] < WHOLE_GPU_MILLI}
    on: dict[int, list[int]] = {}
    freed: dict[int, int] = {}
    for job in able:
        for index, amount in spot.pieces[job].devices:
            if index in wanted:
                on.setdefault(index, []).append(job)
                freed[index] = freed.get(index, milli[index]) + amount
    group_of: dict[int, int] = {}
    groups: list[tuple[list[int], list[int]]] = []
    for index in sorted(on):
        jobs = on[index]
        if freed[index] < WHOLE_GPU_MILLI:
            continue
        known = sorted({group_of[job] for job in jobs if job in group_of})
        into = known[0] if known else len(groups)
        if not known:
            groups.append(([], []))
        for other in known[1:]:
            for job in groups[other][0]:
                group_of[job] = into
            groups[into][0].extend(groups[other][0])
            groups[into][1].extend(groups[other][1])
            groups[other] = ([], [])
        groups[into][1].append(index)
        for job in dict.fromkeys(jobs):
            if job not in group_of:
                group_of[job] = into
                groups[into][0].append(job)
    return [group for group in groups if group[1]]


def _share(spot: Spot, able: list[int], price: Price) -> list[int] | None:
    """The cheapest jobs of one device that leave the share that is asked."""
    best: tuple[float, int, list[int]] | None = None
    for index in spot.devices:
        lack = spot.request.gpu_milli - spot.free.gpu_milli[index]
        there = [(job, dict(spot.pieces[job].devices).get(index, 0)) for job in able]
        found = _cover([(job, (milli,)) for job, milli in there if milli], (lack,), price)
        if found is not None:
            cost = sum(price[job] for job in found)
            if best is None or (cost, index) < best[:2]:
                best = (cost, index, found)
    return None if best is None else best[2]


def _scalars(spot: Spot, able: list[int], price: Price) -> list[int] | None:
    """Jobs that cover the lack of CPU, memory and disk."""
    return _cover([(job, spot.pieces[job][:3]) for job in able], spot.lack[:3], price)


_EXACT = 6
"""Up to so many jobs, all sets are tried."""


def _cover(
    offers: list[tuple[int, tuple[int, ...]]], lack: tuple[int, ...], price: Price
) -> list[int] | None:
    """Jobs whose offers sum up to `lack` at least; None if all of them together do not."""
    if any(sum(o[r] for _, o in offers) < amount for r, amount in enumerate(lack) if amount > 0):
        return None
    short = [r for r, amount in enumerate(lack) if amount > 0]
    if len(offers) <= _EXACT:
        return _cheapest_of_all(offers, lack, price)
    left = {r: lack[r] for r in short}
    rest, chosen = dict(offers), list[int]()
    while any(amount > 0 for amount in left.values()):
        scored = []
        for job, offer in rest.items():
            use = sum(min(offer[r], left[r]) / lack[r] for r in short if left[r] > 0)
            if use > 0:
                scored.append((price[job] / use, job))
        _, job = min(scored)
        offer = rest.pop(job)
        chosen.append(job)
        for r in short:
            left[r] -= offer[r]
    by_job = dict(offers)
    for job in sorted(chosen, key=lambda j: (-price[j], j)):
        if all(left[r] + by_job[job][r] <= 0 for r in short):
            chosen.remove(job)
            for r in short:
                left[r] += by_job[job][r]
    alone = [(price[job], job) for job, offer in offers if all(offer[r] >= lack[r] for r in short)]
    if alone and min(alone)[0] < sum(price[job] for job in chosen):
        return [min(alone)[1]]
    return chosen


def _cheapest_of_all(
    offers: list[tuple[int, tuple[int, ...]]], lack: tuple[int, ...], price: Price
) -> list[int]:
    best: tuple[float, list[int]] | None = None
    for mask in range(1 << len(offers)):
        some = [offer for i, offer in enumerate(offers) if mask >> i & 1]
        cost = sum(price[job] for job, _ in some)
        if best is not None and cost >= best[0]:
            continue
        if all(sum(o[r] for _, o in some) >= amount for r, amount in enumerate(lack) if amount > 0):
            best = (cost, [job for job, _ in some])
    assert best is not None, "all together suffice"
    return best[1]


def _joined(one: _Piece, other: _Piece) -> _Piece:
    return _Piece(
        one.cpu_milli + other.cpu_milli,
        one.memory_bytes + other.memory_bytes,
        one.tmp_bytes + other.tmp_bytes,
        one.devices + other.devices,
    )
