"""One plan in the making: takes from what is known, and puts everything back.

Called by `planner`. Pure. The steps:

 1. claims: a job whose place was kept for it starts as soon as its victims have left it;
 2. `order.Turn` says who is next, past all limits of queues and people;
 3. `placer` finds nodes, without those on which a reservation or a promised start would be met;
 4. blocked: jobs over which it has a right are displaced (`preemption`), at most MOST_ASKS times;
 5. else, for the first `Policy.reserve_gangs`: nodes are promised it, or kept as they fall free
    (`calendar`), so that who comes later fills only what is left;
 6. nobody waits in vain: a gang that runs on fewer nodes than it would take may grow (`growth`).

A class that did not fit is not tried again: resources only shrink within a plan. Who may displace
others fails alone: another queue's job of the same class may have another right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from zenkei.model.cluster import NodePart
from zenkei.model.ids import JobId
from zenkei.model.resources import DeviceShare, Free, Misfit, Request
from zenkei.scheduler.busy import could_start, why_not
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.capped import Capped
from zenkei.scheduler.codes import Severity
from zenkei.scheduler.decisions import ClassReason, Decision, Hold, Preempt, Reserve, Start
from zenkei.scheduler.free import check
from zenkei.scheduler.growth import Growth
from zenkei.scheduler.index import NodeRow
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import SegmentKey, priority_of, runs_us, submitted_of
from zenkei.scheduler.occupancy import Occupancy
from zenkei.scheduler.order import Head, Turn
from zenkei.scheduler.parts import kinds_of, parts_of
from zenkei.scheduler.placer import Placed, Placer, Wanted
from zenkei.scheduler.preemption import Asker, Displacement, Spared, victims
from zenkei.scheduler.promises import Promise
from zenkei.scheduler.reasons import Reason, behind, collecting, victims_stopping
from zenkei.scheduler.snapshot import Claim
from zenkei.scheduler.tree import Held
from zenkei.scheduler.unasked import Alike, unasked

MOST_ASKS: Final = 4
"""Searches for victims in one plan: some milliseconds each. Of those who come after the last of
these as many ask at the end of the plan, in turn (`unasked`)."""


class Cycle:
    """decisions, reasons, next_us: for the plan. failed: by class. started: jobs."""

    def __init__(self, known: Known, placer: Placer, *, now_us: int, max_starts: int) -> None:
        self._known = known
        self._placer = placer
        self._now_us = now_us
        self._max_starts = max_starts
        self._policy = known.config.policy
        self._turn = Turn(
            known.tree,
            known.line,
            known.classes,
            known.queues,
            known.users,
            now_us=now_us,
            could_start=lambda place: could_start(known, known.classes[place]),
            mean_us=known.mean_us,
        )
        self._calendar = Calendar(known.holdings, known.config, now_us, booked=known.booked)
        self._before: dict[str, tuple[NodeRow, Free]] = {}
        self._occupancy = Occupancy(known.nodes, known.held, known.roster, known.ledger)
        self._asks = self._promises = 0
        self._asked: set[Alike] = set()
        self._claimed: set[int] = set()
        self._by_job: dict[int, Reason] = {}
        self._by_segment: dict[SegmentKey, Reason] = {}
        self._next_us: list[int] = []
        self._stopped_at: JobId | None = None
        """The job that nobody passes."""
        self.decisions: list[Decision] = []
        self.reasons: list[ClassReason] = []
        self.failed: dict[int, Reason] = {}
        self.tried: set[int] = set()
        self.started: list[JobId] = []
        self.more = False
        self.left: dict[str, Free] = {}
        """What the plan leaves of the nodes that it touched."""

    def run(self) -> None:
        """Decide; `undo` must follow."""
        self._honour_claims()
        while self._stopped_at is None and (head := self._turn.head()) is not None:
            if head.job.key in self._claimed:
                self._turn.skip_job()
                continue
            if len(self.started) >= self._max_starts:
                self.more = True
                return
            self.tried.add(head.job_class)
            self._serve(head)
        if self._policy.preempt and self._stopped_at is None:
            if self._asks >= MOST_ASKS:
                self._ask_late()
            self._make_way()
        if self._known.elastic and not self._waits_in_vain:
            self._grow()

    @property
    def _waits_in_vain(self) -> bool:
        """Whether somebody would take more nodes, if there were any."""
        reasons = (*self.failed.values(), *self._by_job.values(), *self._by_segment.values())
        blocked = any(reason.severity is not Severity.NEVER for reason in reasons)
        return blocked or bool(self._claimed) or self._stopped_at is not None

    def _make_way(self) -> None:
        """A job that a limit stops may displace others that hold what it is full of."""
        if not self._turn.capped:
            return
        told = (d.victim.key for d in self.decisions if isinstance(d, Preempt))
        settled = frozenset((*self._claimed, *(job.key for job in self.started), *told))
        capped = Capped(
            self._known,
            self._placer,
            self._turn,
            self._calendar,
            self._occupancy,
            self._now_us,
        )
        way = capped.first(settled)
        if capped.next_us is not None:
            self._next_us.append(capped.next_us)
        if way is None:
            return
        self.decisions.extend((*way.preempts, way.hold))
        for part in way.hold.parts:
            self._take(self._known.index.rows[part.node], part.request, part.devices)
        leaving = [preempt.victim for preempt in way.preempts]
        self._by_job[way.hold.job.key] = victims_stopping(leaving)

    def _ask_late(self) -> None:
        """For whom no search for victims was left: some of them, in turn."""
        waits = {one for one, why in self.failed.items() if why.severity is not Severity.NEVER}
        waits.update(segment[1] for segment in self._by_segment)
        late = unasked(
            self._known, self._turn, waits, self._asked, most=MOST_ASKS, now_us=self._now_us
        )
        if late.again_us is not None:
            self._next_us.append(late.again_us)
        settled = {*self._claimed, *(job.key for job in self.started)}
        for job, segment in late.jobs:
            queue, place, user = segment[:3]
            name = self._known.queues[queue]
            with self._turn.without(job):
                leave = self._turn.trial(name, user, self._known.classes[place])
            if leave is None or job in settled:
                continue
            wanted = self._placer.wanted(place, leave.kinds, leave.nodes)
            with self._calendar.without(job):
                without = self._forbidden(wanted, segment)
            found = self._victims(JobId.from_key(job), segment, wanted, without)
            if found is not None:
                kinds, nodes = self._make_room(found)
                self._turn.charge(queue, user, Held.of(wanted.job_class, nodes, kinds))

    def _grow(self) -> None:
        growth = Growth(self._known, self._placer, self._turn, self._calendar, self._now_us)
        more = growth.first()
        if more is not None:
            self.decisions.append(more)
        if growth.next_us is not None:
            self._next_us.append(growth.next_us)

    def undo(self) -> None:
        """Every touched node is as it was before the plan."""
        for row, free in self._before.values():
            self.left[row.node.name] = row.free
            row.free = free
            self._known.index.move(row)
        self._known.roster.undo()

    @property
    def now_us(self) -> int:
        return self._now_us

    @property
    def settled(self) -> tuple[Turn, Calendar, JobId | None]:
        """For `explain`: who holds what, what is kept for whom, and the job that nobody passes."""
        return self._turn, self._calendar, self._stopped_at

    def keeps(self, job: JobId) -> bool:
        """Whether it started, or a place is kept for it: nothing else is to be asked for."""
        held = any(isinstance(d, Hold) and d.parts and d.job == job for d in self.decisions)
        return held or job.key in self._claimed or job in self.started

    @property
    def next_us(self) -> int | None:
        """When planning again could differ although nothing happens."""
        calendar = self._calendar.next_us
        later = [us for us in self._next_us if us > self._now_us]
        return min(later if calendar is None else [*later, calendar], default=None)

    def why(self, job: int, segment: SegmentKey) -> Reason | None:
        """Why a job that was in line waits; None if it was not tried."""
        queue, job_class, user = segment[:3]
        found = (
            self._by_job.get(job)
            or self._turn.why(queue, user, job_class)
            or self._by_segment.get(segment)
            or self.failed.get(job_class)
        )
        return found or (behind(self._stopped_at) if self._stopped_at is not None else None)

    # -- claims ----------------------------------------------------------------------------------
    def _honour_claims(self) -> None:
        """Start who can, there or elsewhere, and keep the places of the others."""
        waits: list[tuple[JobId, SegmentKey, Claim, Wanted]] = []
        for job, claim in sorted(self._known.claims.items()):
            segment = self._known.line.segment_of(job)
            if segment is None or claim.until_us <= self._now_us:
                continue  # it asks anew
            if self._is_void(segment, claim):
                given_up = Hold(job=JobId.from_key(job), cluster="", parts=(), until_us=0)
                self.decisions.append(given_up)
                continue
            self._claimed.add(job)
            self._next_us.append(claim.until_us)
            wanted = self._honour(JobId.from_key(job), segment, claim)
            if wanted is not None:
                waits.append((JobId.from_key(job), segment, claim, wanted))
        for one in waits:
            self._elsewhere(*one)

    def _is_void(self, segment: SegmentKey, claim: Claim) -> bool:
        """Whether a node of it takes no work, or has failed the job meanwhile."""
        avoid = self._avoid(segment[1])
        names = [part.node for part in claim.parts]
        return any(name in avoid or name not in self._known.index.rows for name in names)

    def _avoid(self, job_class: int) -> tuple[str, ...]:
        """Nodes that a class does not take: none if it forgives them."""
        wanted = self._known.classes[job_class]
        return () if self._placer.forgives(wanted) else wanted.avoid

    def _honour(self, job: JobId, segment: SegmentKey, claim: Claim) -> Wanted | None:
        """Start it where its place is kept, or keep that; what it wants if only nodes lack."""
        queue, place, user = segment[:3]
        wanted = self._placer.wanted(place)
        request = wanted.job_class.request
        closed = self._turn.why(queue, user, place)
        leave = self._turn.trial(self._known.queues[queue], user, wanted.job_class)
        rows = [self._known.index.rows[part.node] for part in claim.parts]
        fits = [
            check(row.node, row.free, request, wanted.constraints, on=part.devices)
            for row, part in zip(rows, claim.parts, strict=True)
        ]
        shares = tuple(part.devices for part in claim.parts)
        for row, devices in zip(rows, shares, strict=True):
            self._take(row, request, devices)
        kinds = kinds_of(rows, shares)
        self._turn.charge(queue, user, Held.of(wanted.job_class, len(rows), kinds))
        if closed is None and leave and not any(isinstance(one, Misfit) for one in fits):
            parts = parts_of(rows, request, shares)
            forgives = self._placer.forgives(wanted.job_class)
            cluster = rows[0].node.cluster
            self._start(Start(job=job, cluster=cluster, parts=parts, forgives=forgives))
            return None
        self._by_job[job.key] = closed or victims_stopping(self._leaving(rows, queue))
        return self._placer.wanted(place, leave.kinds, len(rows)) if leave and not closed else None

    def _elsewhere(self, job: JobId, segment: SegmentKey, claim: Claim, wanted: Wanted) -> None:
        """Other jobs have ended meanwhile: it need not wait for those that were to make way."""
        request = wanted.job_class.request
        found = self._placer.place(wanted, self._forbidden(wanted, segment))
        if found is None:
            return
        shares = [self._placer.devices(wanted, found.cluster, row) for row in found.rows]
        devices = tuple(one for one in shares if not isinstance(one, Misfit))
        if len(devices) < len(shares):
            return
        for row, some in zip(found.rows, devices, strict=True):
            self._take(row, request, some)
        for part in claim.parts:
            kept = self._known.index.rows[part.node]
            kept.free.give_back(request, part.devices)
            self._known.index.move(kept)
        del self._by_job[job.key]
        parts = parts_of(found.rows, self._known.classes[segment[1]].request, devices)
        forgives = self._placer.forgives(wanted.job_class)
        self._start(Start(job=job, cluster=found.cluster, parts=parts, forgives=forgives))

    def _leaving(self, rows: list[NodeRow], queue: int) -> list[JobId]:
        """Jobs on their way out of these nodes; if none is, of this queue, whose cap they hold."""
        running = self._known.running
        jobs = {part.job for row in rows for part in self._known.held_on(row.node.name)}
        if not any(job in running and running[job].stopping for job in jobs):
            jobs = {job for job, row in running.items() if row.queue == queue}
        leaving = [job for job in sorted(jobs) if job in running and running[job].stopping]
        return [JobId.from_key(job) for job in leaving]

    # -- one job ---------------------------------------------------------------------------------
    def _serve(self, head: Head) -> None:
        placer = self._placer
        wanted = placer.wanted(head.job_class, head.kinds, head.nodes)
        request = wanted.job_class.request
        ends_us, likely_us = self._after(head.limit_us), self._after(head.runs_us)
        queue, user = self._names(head.segment)
        without = self._forbidden(wanted, head.segment)
        placed = placer.place(wanted, without)
        if placed is not None:
            if self._place(head, wanted, placed, likely_us):
                return
            names = [row.node.name for row in placed.rows]
            spoken_for = self._calendar.kept_on(names, len(names))
            if spoken_for is not None:
                self._pass_by(head, wanted, without, spoken_for)
                return
        if placed is None and without:
            otherwise = placer.place(wanted)
            if otherwise is not None:
                names = [row.node.name for row in otherwise.rows]
                why = self._calendar.why(
                    request, ends_us, names, queue=queue, user=user, likely_us=likely_us
                )
                if why is not None:
                    self._pass_by(head, wanted, without, why)
                    return
        self._blocked(head, wanted, without)

    def _after(self, span_us: int) -> int | None:
        """When so much time has passed; None for 0: nobody knows."""
        return self._now_us + span_us if span_us else None

    def _forbidden(self, wanted: Wanted, segment: SegmentKey) -> frozenset[str]:
        """Nodes that are kept from the jobs of a segment while they run."""
        queue, user = self._names(segment)
        return self._calendar.forbids(
            wanted.job_class.request,
            self._after(segment[4]),
            queue=queue,
            user=user,
            likely_us=self._after(runs_us(segment)),
        )

    def _names(self, segment: SegmentKey) -> tuple[str, str]:
        """Its queue and its person."""
        users, user = self._known.users, segment[2]
        return self._known.queues[segment[0]], users[user] if user < len(users) else ""

    def _place(self, head: Head, wanted: Wanted, placed: Placed, likely_us: int | None) -> bool:
        """Start the head there; False if all devices that it could share are spoken for."""
        request, shares = wanted.job_class.request, []
        for row in placed.rows:
            spoilt = self._calendar.spoilt(row.node.name, request, likely_us)
            devices = self._placer.devices(wanted, placed.cluster, row, spoilt)
            if spoilt and isinstance(devices, Misfit):
                return False
            assert not isinstance(devices, Misfit), f"index and check disagree: {devices}"
            shares.append(devices)
        for row, devices in zip(placed.rows, shares, strict=True):
            self._take(row, request, devices)
            self._calendar.took(row.node.name, request, devices, likely_us)
        job_class = self._known.classes[head.job_class]
        forgives = self._placer.forgives(wanted.job_class)
        parts = parts_of(placed.rows, job_class.request, tuple(shares))
        self._start(Start(job=head.job, cluster=placed.cluster, parts=parts, forgives=forgives))
        self._turn.started(kinds_of(placed.rows, tuple(shares)), len(placed.rows))
        return True

    def _start(self, start: Start) -> None:
        self.decisions.append(start)
        self.started.append(start.job)

    def _take(self, row: NodeRow, request: Request, devices: tuple[DeviceShare, ...]) -> None:
        if row.node.name not in self._before:
            self._before[row.node.name] = (row, row.free.copy())
        row.free.take(request, devices)
        self._known.index.move(row)

    # -- who does not fit ------------------------------------------------------------------------
    def _pass_by(self, head: Head, wanted: Wanted, without: frozenset[str], why: Reason) -> None:
        """There is room, but it is kept for others while the head would run."""
        asks = self._may_displace
        if asks and self._displace(head, wanted, without):
            return
        if self._promises < self._policy.reserve_gangs:
            self._promise(head, wanted)
        if asks or self._known.booked:
            self._by_segment[head.segment] = why
            self._turn.skip_alike()
        else:
            self._fail(head, why)
            self._turn.skip_class(head.runs_us)

    def _fail(self, head: Head, why: Reason) -> None:
        self.failed[head.job_class] = why
        job_class = self._known.classes[head.job_class]
        self.reasons.append(ClassReason(job_class=job_class, head=head.job, reason=why))

    def _blocked(self, head: Head, wanted: Wanted, without: frozenset[str]) -> None:
        why = why_not(self._known, self._placer, wanted)
        can_wait = why.severity is not Severity.NEVER
        asks = can_wait and self._may_displace
        if asks and self._displace(head, wanted, without):
            return
        self._fail(head, why)
        if can_wait and not self._policy.backfill:
            self._stopped_at = head.job
            return
        if can_wait and self._promises < self._policy.reserve_gangs:
            self._promise(head, wanted)
        if asks:
            self._by_segment[head.segment] = why
            self._turn.skip_alike()
        else:
            self._turn.skip_class()

    @property
    def _may_displace(self) -> bool:
        return self._policy.preempt and bool(self._known.running) and self._asks < MOST_ASKS

    def _promise(self, head: Head, wanted: Wanted) -> None:
        """Keep nodes for the head, if it can be known when it starts, or it starves."""
        queue, user = self._names(head.segment)
        job_class = self._known.census.forgiving(wanted.job_class)
        made = self._calendar.promise(
            head.job.key,
            job_class,
            limit_us=head.limit_us if self._known.booked else head.runs_us,
            since_us=submitted_of(head.order),
            queue=queue,
            user=user,
        )
        if made is None:
            return
        self._promises += 1
        self._turn.keep_room()
        if isinstance(made, Promise):
            request = self._known.classes[head.job_class].request
            parts = tuple(NodePart(node=name, request=request) for name in made.nodes)
            cluster = self._known.nodes[made.nodes[0]].cluster
            self.decisions.append(
                Reserve(job=head.job, cluster=cluster, parts=parts, at_us=made.due_us)
            )
        else:
            self._by_job[head.job.key] = collecting(made.free, len(made.nodes), job_class.fewest)

    def _displace(self, head: Head, wanted: Wanted, without: frozenset[str]) -> bool:
        """Make room for the head by right; False if it has none, or would not fit even so."""
        priority = priority_of(head.order)
        alike = (head.queue, head.job_class, priority, head.runs_us)
        if alike in self._asked:
            return False
        self._asks += 1
        self._asked.add(alike)
        found = self._victims(head.job, head.segment, wanted, without)
        if found is None:
            return False
        self._turn.started(*self._make_room(found))
        return True

    def _victims(
        self, job: JobId, segment: SegmentKey, wanted: Wanted, without: frozenset[str]
    ) -> Displacement | None:
        known, queue = self._known, segment[0]
        index = self._turn.index(job, segment)
        job_class = known.census.forgiving(wanted.job_class)
        if without:
            job_class = replace(job_class, avoid=tuple(sorted({*job_class.avoid, *without})))
        found = victims(
            Asker(job=job, job_class=job_class, queue=queue, priority=segment[3], index=index),
            self._occupancy,
            self._free,
            self._turn.quotas,
            self._policy,
            now_us=self._now_us,
            levels=known.config.levels,
        )
        if isinstance(found, Spared):
            if found.again_us is not None:
                self._next_us.append(found.again_us)
            self._by_job[job.key] = found.reason
        return found if isinstance(found, Displacement) else None

    def _make_room(self, found: Displacement) -> tuple[tuple[tuple[str, int], ...], int]:
        """What the gang has of each model, and its nodes."""
        self._occupancy.stop(preempt.victim for preempt in found.preempts)
        self.decisions.extend((*found.preempts, found.hold))
        rows = [self._known.index.rows[part.node] for part in found.hold.parts]
        shares = tuple(part.devices for part in found.hold.parts)
        for row, part in zip(rows, found.hold.parts, strict=True):
            self._take(row, part.request, part.devices)
        self._by_job[found.hold.job.key] = found.reason
        return kinds_of(rows, shares), len(rows)

    def _free(self, name: str) -> Free:
        row = self._known.index.rows.get(name)
        return row.free if row is not None else self._known.left(self._known.nodes[name])
