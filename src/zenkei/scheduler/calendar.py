"""When what is held falls free: reservations, protected starts of blocked gangs, back-filling.

Made by `planner` once per cycle over the `Holdings` that it keeps; pure. In the cycle, for each
job whose turn it is, in this order:

 1. `lift(job)`: its own promise of an earlier plan, if any, no longer counts;
 2. it is placed without the nodes of `forbids(request, ends_us, queue, user)`, and on a node not on
    devices that are `spoilt` there;
 3. started: `took` for each part. Blocked, and among the first `reserve_gangs`: `promise`.

A job's `ends_us` is now + its time limit; None without: it has no end for certain. Its `likely_us`
is now + what was learned of such jobs: promises go by that, reservations do not.

Guarantees. A job that respects `forbids` and `spoilt` delays no promise of this cycle beyond its
`due_us` and runs into no reservation. If the promises of the last plan come back as
`standing`, none that was given is ever broken by jobs behind it or beside it, and `due_us` never
grows; without, this holds for the first blocked gang only: those behind it are planned anew.

Departures from the ideal. A promised share keeps a whole GPU from when its device would
be whole. On nodes with several GPU
models a promise keeps all GPUs. Nothing is back-filled on nodes that a gang collects. A time limit
of more than two years is none.

Source: conservative back-filling, Mu'alem and Feitelson, IEEE TPDS 2001; that early ends may break
promises unless these are kept is theirs too.
Cost: nothing until it is asked; then once O(parts held · log), `promise` some 40 NumPy calls on the
candidates, `forbids` one pass over the promised nodes for a new `ends_us`, then O(changed nodes).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Final

import numpy as np

from zenkei.model.ids import JobId
from zenkei.model.nodenames import matcher
from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler import collecting
from zenkei.scheduler.agenda import Agenda
from zenkei.scheduler.earliest import Closed, Found, Search, choose, meeting, one_each
from zenkei.scheduler.holdings import Bools, Holdings
from zenkei.scheduler.promises import (
    NEVER_US,
    Booking,
    Collecting,
    Promise,
    Standing,
    ancestries,
)
from zenkei.scheduler.reasons import Reason, reserved, would_delay
from zenkei.scheduler.snapshot import IntArray, JobClass
from zenkei.scheduler.timetable import Need, Took

_NO_DEVICES: Final[frozenset[int]] = frozenset()
_NOBODY: Final[frozenset[str]] = frozenset()


def bookings(config: ClusterConfig, names: Iterable[str]) -> tuple[Booking, ...]:
    """Reservations with the nodes they take, by start. Keep it until config or nodes change.

    A pattern that fits no node, and a window that is empty, take nothing.
    """
    every = list(names)
    made = []
    for one in sorted(config.reservations, key=lambda r: (r.from_us, r.to_us, r.name)):
        fits = matcher(one.nodes)
        nodes = frozenset(name for name in every if fits(name))
        if nodes and one.from_us < one.to_us:
            made.append(Booking(of=one, nodes=nodes))
    return tuple(made)


class Calendar:
    """See the module's docstring.

    held: nodes and what is held on them, as committed. booked: by `bookings`. estimates: when
    running jobs without a time limit are thought to have ended, by job. standing: see above; in the
    order in which they were made.
    """

    def __init__(
        self,
        held: Holdings,
        config: ClusterConfig,
        now_us: int,
        *,
        booked: tuple[Booking, ...] = (),
        estimates: Mapping[int, int] | None = None,
        standing: Iterable[Standing] = (),
    ) -> None:
        self._held = held
        self._policy = config.policy
        self._now_us = now_us
        self._estimates = dict(estimates or {})
        self._levels = {name: depth for depth, name in enumerate(config.levels)}
        self._took: list[tuple[str, Took]] = []
        self._known: Agenda | None = None
        self._standing = {one.job: one for one in standing}
        self._due_us: dict[int, int] = {}
        """Of promises of earlier plans that were lifted."""
        self._kept: dict[int, Promise | Collecting] = {}
        self._collectors = 0
        self._idle = 0
        self._booked = tuple(b for b in booked if b.of.to_us > now_us)
        self._queues = config.queues
        self._closed: dict[tuple[str, str], tuple[int, ...]] = {}
        self._unions: dict[tuple[int, ...], frozenset[str]] = {}
        self._members: dict[int, Bools] = {}
        self._joined: dict[tuple[frozenset[str], frozenset[str]], frozenset[str]] = {}
        self._next_us = [
            instant_us
            for one in self._booked
            for instant_us in (one.of.from_us, one.of.to_us)
            if instant_us > now_us
        ]

    @cached_property
    def _ancestry(self) -> Mapping[str, tuple[str, ...]]:
        return ancestries(self._queues)

    @property
    def next_us(self) -> int | None:
        """The next instant at which planning again could differ although nothing happens.

        Starts and ends of reservations, when a promise of an earlier plan was due, when a blocked
        gang begins to starve.
        """
        return min(self._next_us, default=None)

    @property
    def _agenda(self) -> Agenda:
        """Laid out when it is asked for first, with the promises of the last plan."""
        if self._known is None:
            ranks = self._held.layout.rank_of if self._took else {}
            took = [(ranks[node], took) for node, took in self._took]
            self._known = Agenda(self._held, self._now_us, self._estimates, took)
            for one in self._standing.values():
                self._stand(self._known, one)
        return self._known

    def lift(self, job: int) -> None:
        """The job's turn has come: what an earlier plan promised it is in nobody's way."""
        if job in self._standing:
            agenda = self._agenda
            one = self._standing.pop(job)
            if agenda.keeps(job):
                agenda.release(job)
                self._due_us[job] = one.due_us

    # -- who may go where ------------------------------------------------------------------------
    def forbids(
        self,
        request: Request,
        ends_us: int | None,
        *,
        queue: str = "",
        user: str = "",
        likely_us: int | None = None,
    ) -> frozenset[str]:
        """Nodes on which a part that starts now would delay a promise or meet a reservation.

        The same object as long as the answer is the same. ends_us: of the job, for certain: that
        counts for reservations. likely_us: by when it is thought to have ended; None: as ends_us.
        Few distinct values per cycle are cheap, so round up to the end of a duration bucket.
        """
        until_us = NEVER_US if ends_us is None else ends_us
        likely_us = until_us if likely_us is None else likely_us
        closed = self._reserved(until_us, queue, user) if self._booked else _NOBODY
        if self._known is None and not self._standing:
            return closed
        kept = self._agenda.short(Need.of(request), likely_us)
        if not closed or not kept:
            return closed or kept
        both = self._joined.get((closed, kept))
        if both is None:
            both = self._joined[closed, kept] = closed | kept
        return both

    def spoilt(self, node: str, request: Request, ends_us: int | None) -> frozenset[int]:
        """Devices of a node, not forbidden, that a share of one GPU must leave alone there.

        Nearly always none, and none for whole GPUs. Choose among the others as ever.
        """
        if self._known is None or request.gpu_count != 1:
            return _NO_DEVICES
        until_us = NEVER_US if ends_us is None else ends_us
        rank = self._known.layout.rank_of[node]
        return frozenset(self._known.spoilt(rank, Need.of(request), until_us))

    def _reserved(self, until_us: int, queue: str, user: str) -> frozenset[str]:
        """Nodes of reservations that a job would meet and that do not admit it."""
        met = tuple(
            i for i in self._closed_to(queue, user) if self._booked[i].of.from_us < until_us
        )
        known = self._unions.get(met)
        if known is None:
            known = self._unions[met] = _NOBODY.union(*(self._booked[i].nodes for i in met))
        return known

    def _closed_to(self, queue: str, user: str) -> tuple[int, ...]:
        """Places of the reservations that do not admit a job."""
        known = self._closed.get((queue, user))
        if known is None:
            line = self._ancestry.get(queue, (queue,))
            known = self._closed[queue, user] = tuple(
                i for i, one in enumerate(self._booked) if not one.admits(line, user)
            )
        return known

    def took(
        self, node: str, request: Request, devices: tuple[DeviceShare, ...], ends_us: int | None
    ) -> None:
        """A part starts on `node` in this cycle. O(1), on promised nodes O(rows)."""
        sizes = request.cpu_milli, request.memory_bytes, request.tmp_bytes
        until_us = NEVER_US if ends_us is None else max(ends_us, self._now_us + 1)
        took = Took(sizes, tuple(devices), until_us)
        if self._known is None and not self._standing:
            self._took.append((node, took))  # the nodes are laid out when somebody asks
        else:
            self._agenda.took(self._held.layout.rank_of[node], took)

    @contextmanager
    def without(self, job: int) -> Iterator[None]:
        """As if nothing were kept for a job: what `forbids` and `spoilt` then say."""
        kept = self._known.lift(job) if self._known is not None else None
        try:
            yield
        finally:
            if kept is not None and self._known is not None:
                self._known.restore(job, kept)

    def keeps_on(self) -> IntArray:
        """Ranks of nodes on which something is kept for somebody."""
        return self._known.marked() if self._known is not None else np.zeros(0, np.int64)

    # -- promises --------------------------------------------------------------------------------
    def promise(
        self,
        job: int,
        wanted: JobClass,
        *,
        limit_us: int = 0,
        since_us: int = 0,
        queue: str = "",
        user: str = "",
    ) -> Promise | Collecting | None:
        """The earliest start of a blocked job, kept free from now on; in the order of the line.

        wanted: with `avoid` as `Census.forgiving` leaves it; a gang that may be smaller is promised
        the least. limit_us: its time limit, 0 for none. since_us: since when it waits, for
        starvation. None: nobody knows, and it does not starve yet (or collects what is at its
        limit, or no cluster could ever hold it).
        """
        before = self._standing.get(job)
        self.lift(job)
        agenda = self._agenda
        agenda.settle()
        search = self._search(wanted, limit_us, queue, user)
        found = self._in_a_cluster(search)
        if found is None:
            return self._collect(job, wanted, search, since_us)
        rank_of = agenda.layout.rank_of
        names = (*wanted.prefer, *(before.nodes if before else ()))
        favoured = {rank_of[name] for name in names if name in rank_of}
        near = None if wanted.required else self._domain(wanted)
        chosen = choose(found, search.number, near, favoured)
        due_us = found.at_us + self._tolerance_us(since_us)
        due_us = min(due_us, int(chosen.last.min()), self._due_us.get(job, NEVER_US))
        due_us = max(found.at_us, due_us)
        ends_us = due_us + limit_us if limit_us else NEVER_US
        agenda.keep(job, wanted.request, chosen.rank, chosen.device, due_us, ends_us)
        nodes = tuple(agenda.layout.names[rank] for rank in chosen.rank.tolist())
        devices = tuple(chosen.device.tolist()) if search.need.share else ()
        made = Promise(job, wanted, nodes, found.at_us, due_us, ends_us, devices)
        self._kept[job] = made
        return made

    def _search(self, wanted: JobClass, limit_us: int, queue: str, user: str) -> Search:
        layout, request = self._agenda.layout, wanted.request
        return Search(
            need=Need.of(request),
            number=wanted.fewest,
            run_us=limit_us or NEVER_US,
            fit=layout.apt(wanted) & self._agenda.ready,
            allowed=layout.allowed(request) if request.gpu_kinds and request.gpu_count else None,
            closed=[
                Closed(self._inside(i), self._booked[i].of.from_us, self._booked[i].of.to_us)
                for i in self._closed_to(queue, user)
            ],
            domain=self._domain(wanted) if wanted.required else None,
        )

    def _inside(self, place: int) -> Bools:
        known = self._members.get(place)
        if known is None:
            layout = self._agenda.layout
            known = self._members[place] = np.zeros(len(layout.names), np.bool_)
            nodes = self._booked[place].nodes
            known[[layout.rank_of[name] for name in nodes if name in layout.rank_of]] = True
        return known

    def _domain(self, wanted: JobClass) -> IntArray | None:
        """By node: its domain of the level that the gang would be in; None if it does not mind."""
        if not wanted.level or wanted.fewest < 2:
            return None
        depth = self._levels.get(wanted.level)
        layout = self._agenda.layout
        if depth is None:
            # nobody told of such a level: no node is in a domain of it
            return np.full(len(layout.names), -1, np.int64)
        return layout.domains(depth)

    def _in_a_cluster(self, search: Search) -> Found | None:
        """A gang stays within one cluster: that in which it can start first."""
        layout, seeker = self._agenda.layout, self._agenda.seeker
        if len(layout.clusters) == 1:
            return seeker.earliest(search)
        best: Found | None = None
        for place in range(len(layout.clusters)):
            inside = search.fit & (layout.cluster == place)
            found = seeker.earliest(search._replace(fit=inside))
            if found is not None and (best is None or found.at_us < best.at_us):
                best = found
        return best

    def _tolerance_us(self, since_us: int) -> int:
        """None for who starves: else small jobs would put a gang off anew in plan after plan."""
        tolerance_us = int(self._policy.tolerance_s * 1e6)
        starving_us = since_us + int(self._policy.starvation_s * 1e6)
        if not tolerance_us or not since_us <= self._now_us < starving_us:
            return 0
        self._next_us.append(starving_us)
        return tolerance_us

    def _collect(
        self, job: int, wanted: JobClass, search: Search, since_us: int
    ) -> Collecting | None:
        """Nobody knows when: keep what falls free, once it has waited long enough."""
        starving_us = since_us + int(self._policy.starvation_s * 1e6)
        if since_us <= self._now_us < starving_us:
            self._next_us.append(starving_us)
            return None
        if self._collectors >= self._policy.reserve_gangs:
            return None
        agenda = self._agenda
        layout = agenda.layout
        every = int(layout.milli[:, agenda.ready].sum(dtype=np.int64))
        most_idle = every * self._policy.collect_gpus_milli // 1000 - self._idle
        fit = search.fit.copy()
        fit[agenda.marked()] = False
        chosen = collecting.choose(
            agenda.seeker, search._replace(fit=fit), layout.cluster, search.domain, most_idle
        )
        if chosen is None:
            return None
        self._collectors += 1
        self._idle += chosen.idle_gpu_milli
        agenda.keep(job, wanted.request, chosen.ranks, None, self._now_us, NEVER_US)
        nodes = tuple(layout.names[rank] for rank in chosen.ranks.tolist())
        made = Collecting(job, wanted, nodes, chosen.free, chosen.idle_gpu_milli)
        self._kept[job] = made
        return made

    def _stand(self, agenda: Agenda, one: Standing) -> None:
        """Keep a promise of an earlier plan on the same nodes, when it was due or soon after.

        Soon after: where what it waits for, or this plan, is late. What is due now is kept too:
        who is ahead in the line must not take its nodes at the last moment.
        """
        layout = agenda.layout
        ranks = np.array([layout.rank_of.get(name, -1) for name in one.nodes], np.int64)
        fit = layout.apt(one.wanted) & agenda.ready
        if not len(ranks) or ranks.min() < 0 or not fit[ranks].all():
            return
        request = one.wanted.request
        search = Search(
            need=Need.of(request),
            number=len(ranks),
            run_us=one.limit_us or NEVER_US,
            fit=np.isin(np.arange(len(fit)), ranks),
            allowed=layout.allowed(request) if request.gpu_kinds and request.gpu_count else None,
            closed=(),
            domain=None,
        )
        agenda.enter(np.sort(ranks))
        at = agenda.seeker.of_table(search)
        at = at._replace(first=np.maximum(at.first, max(one.due_us, self._now_us)))
        at = at.keep(at.first <= at.last)
        due_us = meeting(at, search)
        if due_us >= NEVER_US:
            return
        at = at.keep((at.first <= due_us) & (at.last >= due_us))
        if one.devices:
            # the same as before, unless another job has taken it and left a whole one in its place
            device = np.full(len(fit), -1, np.int64)
            device[ranks] = one.devices
            same = at.device == device[at.rank]
            other = ~np.isin(at.rank, at.rank[same])
            at = at.keep(same | other)
        at = one_each(at)
        ends_us = due_us + one.limit_us if one.limit_us else NEVER_US
        agenda.keep(one.job, request, at.rank, at.device, due_us, ends_us)
        if due_us > self._now_us:
            self._next_us.append(due_us)

    # -- why not ---------------------------------------------------------------------------------
    def why(
        self,
        request: Request,
        ends_us: int | None,
        nodes: Collection[str],
        *,
        queue: str = "",
        user: str = "",
        likely_us: int | None = None,
    ) -> Reason | None:
        """Why `nodes`, on which it would fit now, are forbidden; None if they are not.

        RESERVED names the reservation, WOULD_DELAY the first promised job, or one that collects.
        """
        forbidden = self.forbids(request, ends_us, queue=queue, user=user, likely_us=likely_us)
        met = forbidden & frozenset(nodes)
        until_us = NEVER_US if ends_us is None else ends_us
        for i in self._closed_to(queue, user):
            booked = self._booked[i]
            taken = len(met & booked.nodes)
            if taken and booked.of.from_us < until_us:
                begun = booked.of.from_us <= self._now_us
                return reserved(booked.of, taken, len(nodes), begun=begun)
        return self.kept_on(met, len(nodes))

    def kept_on(self, met: Collection[str], fitting: int) -> Reason | None:
        """For whom something is kept on `met`, of `fitting` nodes that would do; None: nobody."""
        for kept in (*self._kept.values(), *self._standing.values()):
            if not frozenset(kept.nodes).isdisjoint(met):
                due_us = None if isinstance(kept, Collecting) else kept.due_us
                return would_delay(JobId.from_key(kept.job), due_us, len(met), fitting)
        return None
