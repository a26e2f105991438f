"""The nodes as a plan leaves them, as columns: what would fit where, what lacks, who holds it.

Made by `planner` for `explain`, once per plan that is asked about. Pure. Says of all nodes what
`free.check` says of one (tested). Nodes go by their rank in `Holdings.layout`.
Cost: O(parts held) once; each question some ten NumPy calls on the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from zenkei.model.resources import Free, Misfit, Request, could_fit
from zenkei.scheduler.decisions import Start
from zenkei.scheduler.holdings import Bools, Holdings
from zenkei.scheduler.snapshot import IntArray, JobClass
from zenkei.scheduler.timetable import by_node

FITS: Final = -1
CODES: Final = tuple(Misfit)
CODE: Final = {misfit: code for code, misfit in enumerate(CODES)}
LACKS: Final = (Misfit.GPU, Misfit.CPU, Misfit.MEMORY, Misfit.TMP)
"""Misfits that end when something on the node ends."""


class Lacking(NamedTuple):
    """What one job holds on nodes that lack it: nodes, GPU and CPU thousandths, bytes."""

    job: int
    nodes: int
    gpu_milli: int
    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int


class Together(NamedTuple):
    """The most nodes that lie in one cluster, or in one domain of a level. where: its name."""

    nodes: int
    where: str


class Survey:
    """See the module's docstring.

    left: what the plan leaves of nodes that it touched. starts: what it has started. levels: names
    of the topology's levels, widest first. free: CPU, memory, scratch space `[3, N]`; milli: of
    each device `[D, N]`.
    """

    def __init__(
        self,
        holdings: Holdings,
        left: Mapping[str, Free],
        starts: Iterable[Start],
        levels: tuple[str, ...],
    ) -> None:
        self.layout = layout = holdings.layout
        self.ready = holdings.ready()
        self._levels = levels
        number = len(layout.names)
        rank, _, sizes, milli = holdings.columns()
        self.free = layout.sizes - by_node(sizes, rank, number)
        self.milli = (layout.milli - by_node(milli, rank, number)) * (layout.milli > 0)
        for name, free in left.items():
            at = layout.rank_of[name]
            self.free[:, at] = free.cpu_milli, free.memory_bytes, free.tmp_bytes
            self.milli[: len(free.gpu_milli), at] = free.gpu_milli
        rows = [(s.job.key, part) for s in starts for part in s.parts]
        requests = [part.request for _, part in rows]
        new = np.array(
            [(r.cpu_milli, r.memory_bytes, r.tmp_bytes) for r in requests], np.int64
        ).reshape(len(rows), 3)
        gpus = [sum(share.milli for share in part.devices) for _, part in rows]
        ranks = [layout.rank_of[part.node] for _, part in rows]
        self._job = np.concatenate((holdings.jobs(), np.array([j for j, _ in rows], np.int64)))
        self._rank = np.concatenate((rank, np.array(ranks, np.int64)))
        self._sizes = np.concatenate((sizes, new.T), axis=1)
        gpu_milli = milli.sum(axis=0, dtype=np.int64)
        self._gpu_milli = np.concatenate((gpu_milli, np.array(gpus, np.int64)))
        self._labelled: dict[tuple[str, tuple[str, ...]], Bools] = {}
        self._allowed: dict[tuple[str, ...], Bools | None] = {}

    # -- what fits -------------------------------------------------------------------------------
    def suits(self, wanted: JobClass) -> Bools:
        """Nodes that take work and would take a part if they were empty."""
        able = self.ready & self.could(wanted.request) & self._matches(wanted)
        able[self._avoided(wanted)] = False
        return able

    def fits(self, wanted: JobClass) -> Bools:
        """Nodes that would take a part now."""
        request = wanted.request
        able = self.suits(wanted) & (self.free >= _sizes(request)).all(axis=0)
        if request.gpu_count:
            able &= self.devices(request) >= request.gpu_count
        return able

    def could(self, request: Request) -> Bools:
        """Nodes that are large enough, devices in foreign use included."""
        layout = self.layout
        some = [could_fit(node.capacity, request) is None for node in layout.models]
        able: Bools = np.array(some, np.bool_)[layout.model]
        return able

    def devices(self, request: Request) -> IntArray:
        """By node: devices that have what a part asks of each."""
        enough = self.milli >= max(1, request.gpu_milli)
        allowed = self._devices_allowed(request)
        if allowed is not None:
            enough &= allowed
        number: IntArray = enough.sum(axis=0)
        return number

    def verdicts(self, wanted: JobClass) -> IntArray:
        """By node: why it does not take a part, as a place in CODES, or FITS."""
        layout, request = self.layout, wanted.request
        found = np.full(len(layout.names), FITS, np.int64)
        if request.gpu_count:
            found[self.devices(request) < request.gpu_count] = CODE[Misfit.GPU]
        for misfit, plane, asked in zip(
            (Misfit.TMP, Misfit.MEMORY, Misfit.CPU),
            self.free[::-1],
            _sizes(request)[::-1, 0],
            strict=True,
        ):
            found[plane < asked] = CODE[misfit]
        never = [could_fit(node.capacity, request) for node in layout.models]
        codes = np.array([FITS if m is None else CODE[m] for m in never], np.int64)
        if len(codes):
            codes = codes[layout.model]
            found = np.where(codes == FITS, found, codes)
        found[~self._matches(wanted)] = CODE[Misfit.CONSTRAINT]
        found[self._avoided(wanted)] = CODE[Misfit.AVOIDED]
        found[~self.ready] = CODE[Misfit.STATE]
        return found

    def _matches(self, wanted: JobClass) -> Bools:
        able = np.ones(len(self.layout.names), np.bool_)
        for wish in wanted.constraints:
            known = self._labelled.get(wish)
            if known is None:
                key, values = wish
                some = [node.labels.get(key) in values for node in self.layout.nodes]
                known = self._labelled[wish] = np.array(some, np.bool_)
            able &= known
        return able

    def _avoided(self, wanted: JobClass) -> list[int]:
        rank_of = self.layout.rank_of
        return [rank_of[name] for name in wanted.avoid if name in rank_of]

    def _devices_allowed(self, request: Request) -> Bools | None:
        kinds = request.gpu_kinds
        if kinds not in self._allowed:
            self._allowed[kinds] = self.layout.allowed(request) if kinds else None
        return self._allowed[kinds]

    # -- what lies together ----------------------------------------------------------------------
    def groups(self, wanted: JobClass) -> IntArray:
        """By node: where all of the gang must lie, a cluster or a domain; -1: in none."""
        if not wanted.required or wanted.nodes < 2:
            return self.layout.cluster
        if wanted.level not in self._levels:
            return np.full(len(self.layout.names), -1, np.int64)
        return self.layout.domains(self._levels.index(wanted.level))

    def most(self, able: Bools, wanted: JobClass) -> Together:
        """Of the nodes that are able: the most that a gang could have together."""
        groups = self.groups(wanted)
        ranks = np.flatnonzero(able & (groups >= 0))
        if not len(ranks):
            return Together(0, "")
        counts = np.bincount(groups[ranks])
        best = int(counts.argmax())
        node = self.layout.nodes[int(ranks[groups[ranks] == best][0])]
        if groups is self.layout.cluster:
            return Together(int(counts[best]), node.cluster)
        names = self._levels.index(wanted.level) + 1
        return Together(int(counts[best]), "/".join(node.topology[:names]))

    def enough(self, able: Bools, wanted: JobClass) -> bool:
        """Whether so many of the nodes that are able lie together."""
        groups = self.groups(wanted)
        inside = groups[able]
        inside = inside[inside >= 0]
        return len(inside) >= wanted.fewest and int(np.bincount(inside).max()) >= wanted.fewest

    # -- what is free, who holds the rest --------------------------------------------------------
    def free_of(self, request: Request, suitable: Bools) -> tuple[int, int, int, int, int]:
        """On suitable nodes: GPUs, CPUs, memory, scratch space in all, and the most GPUs on one."""
        milli = np.maximum(self.milli[:, suitable], 0)
        allowed = self._devices_allowed(request)
        if allowed is not None:
            milli = milli * allowed[:, suitable]
        by_one = milli.sum(axis=0, dtype=np.int64)
        cpu, memory, tmp = np.maximum(self.free[:, suitable], 0).sum(axis=1).tolist()
        return int(by_one.sum()), cpu, memory, tmp, int(by_one.max(initial=0))

    def holders(self, verdicts: IntArray, most: int) -> tuple[list[Lacking], int]:
        """Jobs that hold what nodes lack, those with most GPU, CPU, memory first, then by id.

        Not more than `most` of them; and how many there are.
        """
        code = verdicts[self._rank]
        holds = (code == CODE[Misfit.GPU]) & (self._gpu_milli > 0)
        for misfit, sizes in zip((Misfit.CPU, Misfit.MEMORY, Misfit.TMP), self._sizes, strict=True):
            holds |= (code == CODE[misfit]) & (sizes > 0)
        jobs, place = np.unique(self._job[holds], return_inverse=True)
        amounts = np.concatenate((self._gpu_milli[None, holds], self._sizes[:, holds]))
        sums = by_node(amounts, place, len(jobs))
        nodes = np.bincount(place, minlength=len(jobs))
        order = np.lexsort((jobs, *-sums[::-1]))[:most]
        rows = np.stack((jobs, nodes, *sums))[:, order].T.tolist()
        return [Lacking(*row) for row in rows], len(jobs)


def _sizes(request: Request) -> IntArray:
    return np.array([[request.cpu_milli], [request.memory_bytes], [request.tmp_bytes]], np.int64)
