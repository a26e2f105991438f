"""Where one job of a class goes, as things are in the middle of a plan.

Called by `cycle`. Pure. A gang stays within one cluster; clusters are tried in the order of their
names. A job that failed on a node is not sent there again while enough others could do (`avoid`),
and a gang that comes back takes the nodes that it had, as far as they fit, and others for the rest
(`prefer`): what they hold ready stays of use. Cost: that of `index.select` per cluster.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from zenkei.model.resources import DeviceShare, Misfit
from zenkei.scheduler.free import check
from zenkei.scheduler.index import ANYHOW, NodeRow, Shape, Wishes
from zenkei.scheduler.known import Known
from zenkei.scheduler.placement.port import Ask
from zenkei.scheduler.snapshot import JobClass

NOBODY: frozenset[str] = frozenset()


class Wanted(NamedTuple):
    """A class as it may be placed now. kinds: GPU models that limits leave of those asked for.

    constraints: those of the class, as `check` takes them.
    """

    place: int
    kinds: tuple[str, ...]
    job_class: JobClass
    constraints: dict[str, tuple[str, ...]]


class Placed(NamedTuple):
    """Nodes of one cluster, in rank order."""

    cluster: str
    rows: list[NodeRow]


class Placer:
    """See the module's docstring."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._shapes: dict[tuple[int, tuple[str, ...], str], Shape] = {}
        self._wanted: dict[tuple[int, tuple[str, ...], int], Wanted] = {}

    def wanted(self, place: int, kinds: tuple[str, ...] = (), nodes: int = 0) -> Wanted:
        """The class at `place` on these models only (none: any it asks for), on so many nodes."""
        found = self._wanted.get((place, kinds, nodes))
        if found is None:
            found = self._wanted[place, kinds, nodes] = self._narrowed(place, kinds, nodes)
        return found

    def _narrowed(self, place: int, kinds: tuple[str, ...], nodes: int) -> Wanted:
        whole = self._known.classes[place]
        job_class = narrowed(whole, kinds, nodes)
        narrow = () if job_class.request is whole.request else kinds
        return Wanted(place, narrow, job_class, dict(job_class.constraints))

    def shape(self, wanted: Wanted, cluster: str) -> Shape:
        """Interned, so that a placement need not build it."""
        key = (wanted.place, wanted.kinds, cluster)
        found = self._shapes.get(key)
        if found is None:
            job_class = wanted.job_class
            ask = Ask.of(job_class.request)
            found = self._shapes[key] = Shape(cluster, ask, job_class.constraints)
        return found

    def place(self, wanted: Wanted, without: frozenset[str] = NOBODY) -> Placed | None:
        """The nodes for one job in the first cluster that has enough of them.

        without: nodes that are passed over. Of clusters that have less than a gang would take but
        the least that will do: that with most.
        """
        job_class = wanted.job_class
        if job_class.avoid or job_class.prefer:
            return self.place_again(wanted, without, forgives=self.forgives(job_class))
        wishes = wishes_of(job_class, without)
        found: Placed | None = None
        for cluster in sorted(self._known.clusters):
            rows = self._known.index.select(
                self.shape(wanted, cluster),
                job_class.request,
                job_class.nodes,
                least=job_class.fewest,
                wishes=wishes,
            )
            if len(rows) == job_class.nodes:
                return Placed(cluster, rows)
            if rows and (found is None or len(rows) > len(found.rows)):
                found = Placed(cluster, rows)
        return found

    def forgives(self, job_class: JobClass) -> bool:
        """Whether a class takes nodes that failed it too: too few others could ever do."""
        return bool(job_class.avoid) and not self._known.census.forgiving(job_class).avoid

    def place_again(
        self, wanted: Wanted, without: frozenset[str] = NOBODY, *, forgives: bool
    ) -> Placed | None:
        """`place` for a job that ran before: first where it was, where it failed last or never.

        Nodes of the last attempt keep their ranks; whoever replaces one takes its place.
        """
        clusters = self._known.clusters
        kept = {cluster: self._kept(cluster, wanted, without) for cluster in clusters}
        best: Placed | None = None
        for cluster in sorted(kept, key=lambda c: (-len(kept[c]), c)):
            rows = self._join(wanted, cluster, kept[cluster], without, forgives=forgives)
            if len(rows) == wanted.job_class.nodes:
                return Placed(cluster, rows)
            if rows and (best is None or len(rows) > len(best.rows)):
                best = Placed(cluster, rows)
        return best

    def _join(
        self,
        wanted: Wanted,
        cluster: str,
        found: dict[int, NodeRow],
        without: frozenset[str],
        *,
        forgives: bool,
    ) -> list[NodeRow]:
        """Nodes of the last attempt, by rank, and others for the rest; none if too few.

        Where all must lie in one domain and none has room for the rest beside the old nodes: all
        anew.
        """
        job_class, index = wanted.job_class, self._known.index
        required = job_class.required and job_class.nodes > 1
        if required and found and not index.together(list(found.values()), job_class.level):
            found = {}
        missing = job_class.nodes - len(found)
        names = tuple(row.node.name for row in found.values())
        avoid = () if forgives else job_class.avoid
        wishes = Wishes(
            without={*avoid, *names, *without},
            last=job_class.avoid if forgives else (),
            level=job_class.level,
            required=required,
            beside=names,
        )
        shape = self.shape(wanted, cluster)
        others = index.select(shape, job_class.request, missing, wishes=wishes) if missing else []
        rest = iter(others)
        ranks = [found.get(rank) or next(rest, None) for rank in range(job_class.nodes)]
        rows = [row for row in ranks if row is not None]
        if required and found and len(rows) < job_class.nodes:
            anew = self._join(wanted, cluster, {}, without, forgives=forgives)
            rows = anew if len(anew) > len(rows) else rows
        return rows if len(rows) >= job_class.fewest else []

    def _kept(self, cluster: str, wanted: Wanted, without: frozenset[str]) -> dict[int, NodeRow]:
        """By rank: nodes of the last attempt in `cluster` that fit again."""
        job_class = wanted.job_class
        kept = {}
        for rank, name in enumerate(job_class.prefer[: job_class.nodes]):
            row = self._known.index.rows.get(name)
            if row is not None and row.node.cluster == cluster and name not in without:
                fits = check(
                    row.node, row.free, job_class.request, wanted.constraints, job_class.avoid
                )
                if not isinstance(fits, Misfit):
                    kept[rank] = row
        return kept

    def devices(
        self, wanted: Wanted, cluster: str, row: NodeRow, spoilt: Collection[int] = ()
    ) -> tuple[DeviceShare, ...] | Misfit:
        """Named here, and checked by the predicate that the applier uses.

        spoilt: devices that must be left alone.
        """
        request, free = wanted.job_class.request, row.free
        if spoilt:
            free = free.copy()
            for index in spoilt:
                free.gpu_milli[index] = 0
            return check(row.node, free, request, wanted.constraints)
        on = self._known.index.devices(self.shape(wanted, cluster), row)
        return check(row.node, free, request, wanted.constraints, on=on)


def narrowed(job_class: JobClass, kinds: tuple[str, ...], nodes: int) -> JobClass:
    """`job_class` on these models only (none: any it asks for), on so many nodes (0: its own)."""
    request = job_class.request
    if request.gpu_count and kinds and {*kinds} != {*request.gpu_kinds}:
        job_class = replace(job_class, request=replace(request, gpu_kinds=kinds))
    if nodes and nodes < job_class.nodes:
        job_class = replace(job_class, nodes=nodes)
    return job_class


def wishes_of(job_class: JobClass, without: frozenset[str] = NOBODY) -> Wishes:
    """What a class asks for beside room."""
    if not job_class.avoid and not job_class.required:
        # the level that is preferred: gangs stand as near as can be at all levels
        return Wishes(without=without) if without else ANYHOW
    return Wishes(
        without=without.union(job_class.avoid),
        level=job_class.level,
        required=job_class.required and job_class.nodes > 1,
    )
