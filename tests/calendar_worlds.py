"""Worlds in time for the calendar: a cluster on which jobs come, start and end, by events.

`Trial` plans after every event with a planner that is as simple as can be: the line in order of
arrival, the first nodes by name, everything about time asked of the calendar. `earliest` is what
`Calendar.promise` must find, by trying every instant and every node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.planner_worlds import SECOND, node
from zenkei.model.cluster import Node
from zenkei.model.queue import ClusterConfig, Policy, Reservation
from zenkei.model.resources import DeviceShare, Free, Misfit
from zenkei.scheduler.calendar import Calendar, bookings
from zenkei.scheduler.free import HeldPart, check, left_of
from zenkei.scheduler.holdings import Holdings
from zenkei.scheduler.promises import NEVER_US, Collecting, Promise, Standing
from zenkei.scheduler.snapshot import JobClass


class Work(NamedTuple):
    """A job. run_us: how long it really runs; limit_us: what it says, 0 for nothing."""

    job: int
    wanted: JobClass
    at_us: int
    run_us: int
    limit_us: int
    user: str = ""


@dataclass
class Story:
    """What happened, by job."""

    started_us: dict[int, int] = field(default_factory=dict)
    nodes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    by_us: dict[int, int] = field(default_factory=dict)
    """Of the first promise: its due."""
    headed: set[int] = field(default_factory=set)
    """Those whose first promise was given as the first in the line."""
    idle_gpu_milli: int = 0
    """The most that was kept idle by collecting gangs."""


class Trial:
    """See the module's docstring."""

    def __init__(
        self,
        nodes: Iterable[Node],
        work: Iterable[Work],
        policy: Policy,
        reservations: tuple[Reservation, ...] = (),
        *,
        remember: bool = True,
    ) -> None:
        self.nodes = {one.name: one for one in nodes}
        self.config = ClusterConfig(policy=policy, reservations=reservations)
        self.booked = bookings(self.config, self.nodes)
        self.coming = sorted(work, key=lambda w: (w.at_us, w.job))
        self.line: list[Work] = []
        self.held = Holdings()
        for one in self.nodes.values():
            self.held.put_node(one)
        self.parts: dict[int, list[HeldPart]] = {}
        self.ends: dict[int, int] = {}
        self.standing: list[Standing] = []
        self.new: list[Work] = []
        self.remember = remember
        self.story = Story()

    def run(self, most_events: int = 2_000) -> Story:
        now_us, wake_us = 0, None
        for _ in range(most_events):
            times = [work.at_us for work in self.coming[:1]] + list(self.ends.values())
            times += [wake_us] if wake_us is not None else []
            if not times or (not self.line and not self.coming):
                return self.story
            now_us = max(now_us, min(times))
            for job in [job for job, end_us in self.ends.items() if end_us <= now_us]:
                del self.ends[job], self.parts[job]
                self.held.release(job)
            while self.coming and self.coming[0].at_us <= now_us:
                self.line.append(self.coming.pop(0))
            wake_us = self.cycle(now_us)
        return self.story

    def cycle(self, now_us: int) -> int | None:
        standing = self.standing if self.remember else []
        calendar = Calendar(self.held, self.config, now_us, booked=self.booked, standing=standing)
        policy, promised, idle = self.config.policy, 0, 0
        before, failed = {one.job for one in standing}, set[tuple[JobClass, int, str]]()
        left: list[Work] = []
        self.standing = []
        for work in self.line:
            calendar.lift(work.job)
            kind = (work.wanted, work.limit_us, work.user)
            if (kind not in failed or work.job in before) and self._start(calendar, work, now_us):
                continue
            if work.job not in before:
                # whoever is like it finds no more; who was promised something may
                failed.add(kind)
            if promised < policy.reserve_gangs or work.job in before:
                said = calendar.promise(
                    work.job,
                    work.wanted,
                    limit_us=work.limit_us,
                    since_us=work.at_us,
                    user=work.user,
                )
                promised += said is not None
                if isinstance(said, Promise):
                    self._note(said, work, first=not left)
                elif isinstance(said, Collecting):
                    idle += said.idle_gpu_milli
            left.append(work)
        self.line = left
        self._commit(now_us)
        self.story.idle_gpu_milli = max(self.story.idle_gpu_milli, idle)
        return calendar.next_us

    def _commit(self, now_us: int) -> None:
        """What started in the cycle is held from the next one on."""
        for work in self.new:
            self.held.ends(work.job, now_us + work.limit_us if work.limit_us else None)
            for part in self.parts[work.job]:
                self.held.hold(part)
        self.new = []

    def _note(self, said: Promise, work: Work, *, first: bool) -> None:
        if work.job not in self.story.by_us:
            self.story.by_us[work.job] = said.due_us
            if first:
                self.story.headed.add(work.job)
        self.standing.append(
            Standing(work.job, work.wanted, said.nodes, said.due_us, work.limit_us, said.devices)
        )

    def _start(self, calendar: Calendar, work: Work, now_us: int) -> bool:
        request = work.wanted.request
        ends_us = now_us + work.limit_us if work.limit_us else None
        without = calendar.forbids(request, ends_us, user=work.user)
        found: list[tuple[str, tuple[DeviceShare, ...]]] = []
        for name, one in sorted(self.nodes.items()):
            free = self.free(name)
            for device in calendar.spoilt(name, request, ends_us):
                free.gpu_milli[device] = 0
            devices = check(one, free, request, {}, without)
            if not isinstance(devices, Misfit):
                found.append((name, devices))
        if len(found) < work.wanted.nodes:
            return False
        self.parts[work.job] = []
        self.new.append(work)
        for name, devices in found[: work.wanted.nodes]:
            calendar.took(name, request, devices, ends_us)
            self.parts[work.job].append(
                HeldPart(
                    work.job,
                    name,
                    request.cpu_milli,
                    request.memory_bytes,
                    request.tmp_bytes,
                    devices,
                )
            )
        self.ends[work.job] = now_us + work.run_us
        self.story.started_us[work.job] = now_us
        self.story.nodes[work.job] = tuple(name for name, _ in found[: work.wanted.nodes])
        return True

    def free(self, name: str) -> Free:
        parts = [part for every in self.parts.values() for part in every if part.node == name]
        return left_of(self.nodes[name], parts)


# -- the earliest instant, by trying everything --------------------------------------------------
class Taken(NamedTuple):
    """What somebody has on a node from one instant to another. whole: GPUs, wherever they are."""

    node: str
    from_us: int
    to_us: int
    cpu_milli: int
    memory_bytes: int
    whole: int


def earliest(
    nodes: Sequence[Node],
    parts: Sequence[tuple[HeldPart, int]],
    taken: Sequence[Taken],
    closed: Sequence[tuple[frozenset[str], int, int]],
    wanted: JobClass,
    limit_us: int,
    now_us: int,
) -> int | None:
    """parts: with their ends. closed: nodes, from, to. None: there is no such instant."""
    instants = {now_us, *(to_us for _, _, to_us in closed), *(one.to_us for one in taken)}
    instants |= {end_us for _, end_us in parts}
    instants |= {one.from_us for one in taken}
    for at_us in sorted(i for i in instants if now_us <= i < NEVER_US):
        end_us = at_us + limit_us if limit_us else NEVER_US
        inside = [i for i in instants if at_us < i < end_us]
        able = 0
        for one in nodes:
            shut = any(
                one.name in names and at_us < to_us and from_us < end_us
                for names, from_us, to_us in closed
            )
            able += not shut and _stays(one, parts, taken, wanted, [at_us, *inside])
        if able >= wanted.nodes:
            return at_us
    return None


def _stays(
    one: Node,
    parts: Sequence[tuple[HeldPart, int]],
    taken: Sequence[Taken],
    wanted: JobClass,
    instants: list[int],
) -> bool:
    """Whether a part has room at all of these instants, a share of one GPU always on the same."""
    devices = set(range(len(one.capacity.devices)))
    request = wanted.request
    for at_us in instants:
        free = left_of(one, [p for p, end_us in parts if p.node == one.name and end_us > at_us])
        own = [t for t in taken if t.node == one.name and t.from_us <= at_us < t.to_us]
        free.cpu_milli -= sum(t.cpu_milli for t in own)
        free.memory_bytes -= sum(t.memory_bytes for t in own)
        whole = sum(milli == 1000 for milli in free.gpu_milli) - sum(t.whole for t in own)
        if request.cpu_milli > free.cpu_milli or request.memory_bytes > free.memory_bytes:
            return False
        if request.gpu_milli == 1000 and whole < request.gpu_count:
            return False
        if 0 < request.gpu_milli < 1000:
            devices = {
                i
                for i in devices
                if free.gpu_milli[i] >= request.gpu_milli
                and (free.gpu_milli[i] < 1000 or whole >= 1)
            }
            if not devices:
                return False
    return True


def small_cluster(rng: Random, number: int) -> list[Node]:
    return [
        node(f"n{i}", cpus=rng.choice((4, 8, 16)), memory_gib=32, gpus=rng.choice((2, 4, 8)))
        for i in range(number)
    ]


def at(seconds: float) -> int:
    return round(seconds * SECOND)
