"""What must never be while a trace is played, and what must be at its end.

Used by `traceworld`. Each check compares the store's rows, its event log and the engine's own truth
with one another: nothing over-allocated, no job lost or doubled, gangs whole, allocations entered
and left once, replay of the events gives the rows, times are the virtual clock's, and a planner
that starts cold would start nobody whom the one that was kept leaves waiting.
`every`: after each step, and all jobs at the end; `sampled`: one step and one job in EVERY; `off`.
Cost of one look: O(allocations + nodes); of a story: O(its events); of a cold plan, made at one
look in COLD: O(jobs that wait).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NoReturn

from zenkei.control.planner import PlanKeeper
from zenkei.control.specs import SpecCache
from zenkei.lifecycle.evolve import replay
from zenkei.lifecycle.outcome import MAX_REQUEUES
from zenkei.model import event as e
from zenkei.model.cluster import NodePart
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId
from zenkei.model.job import Job, JobState
from zenkei.model.resources import Free
from zenkei.scheduler import Start
from zenkei.sim.checkers import CheckFailed
from zenkei.sim.faults import PEACE

if TYPE_CHECKING:
    from zenkei.sim.traceworld import TraceWorld

EVERY: Final = 64
"""Of so many steps and stories one is looked at when they are sampled."""

COLD: Final = 64


class Check(StrEnum):
    """How often the checkers look."""

    EVERY = "every"
    SAMPLED = "sampled"
    OFF = "off"


class TraceChecks:
    """See the module's docstring. Raises CheckFailed with the seed and the instant."""

    def __init__(self, world: TraceWorld, check: Check) -> None:
        self._world = world
        self._every = {Check.EVERY: 1, Check.SAMPLED: EVERY, Check.OFF: 0}[check]
        self._seen = (0, 0)
        self.looks = 0

    def after_step(self) -> None:
        world = self._world
        if not self._every or world.steps % self._every:
            return
        seen = (world.tables.counters.seq, world.engine.changes)
        if seen == self._seen:
            return  # only what changed something can have broken something
        self._seen = seen
        self.looks += 1
        self._fit("the store's allocations", (a.parts for a in world.tables.allocations.values()))
        alive = world.engine.alive()
        self._fit("what really runs", ((part for _, part in order.nodes) for _, order in alive))
        if len({attempt.job for attempt, _ in alive}) < len(alive):
            twice = [j for j, n in Counter(a.job for a, _ in alive).items() if n > 1]
            self._fail(f"two attempts of one job run at once: {[str(job) for job in twice]}")
        for attempt, order in alive:
            held = world.tables.allocations.get(attempt)
            if held is None or held.parts != tuple(part for _, part in order.nodes):
                self._fail(f"attempt {attempt} runs and does not hold what it runs on")
        if self.looks % COLD == 0 and not world.awake:
            self._plan_cold()

    def _plan_cold(self) -> None:
        """At rest nobody waits who could start, whatever the planner remembers."""
        world = self._world
        keeper = PlanKeeper(world.store, SpecCache(world.store))
        keeper.refresh()
        plan = keeper.plan(now_us=world.clock.now_us())
        starts = [str(one.job) for one in plan.decisions if isinstance(one, Start)]
        self._require(
            not starts, f"jobs {starts[:5]} wait, and a planner that starts cold starts them"
        )

    def at_the_end(self) -> None:
        """Everything that could end has ended, once."""
        world = self._world
        if not self._every:
            return
        lost = [str(job) for job in world.engine.stories if job not in world.tables.jobs]
        self._require(not lost, f"acknowledged jobs are lost: {lost[:5]}")
        many = len(world.tables.jobs) == len(world.engine.stories)
        self._require(many, f"{len(world.tables.jobs)} rows for {len(world.engine.stories)} jobs")
        self._require(not world.tables.allocations, "allocations are left although nothing runs")
        left = [row.effect.key for row in world.tables.outbox.values()]
        self._require(not left, f"effects are left: {left[:5]}")
        now_us = world.clock.now_us()
        ours = all(world.began_us <= event.at_us <= now_us for event in world.tables.events)
        self._require(ours, "an event has another time than the world had")
        order = [event.seq for event in world.tables.events]
        rises = all(a < b for a, b in pairwise(order))
        self._require(rises, "seq does not rise")
        for place, row in enumerate(world.tables.jobs.values()):
            self._end_of(row)
            if place % self._every == 0:
                self._story(row, world.tables.job_events[row.id])

    def _end_of(self, row: Job) -> None:
        """Over in the store exactly if it is over in truth; else it waits."""
        truth = self._world.engine.stories[row.id]
        if truth.ended_us:
            done = row.state is JobState.SUCCEEDED
            self._require(done, f"job {row.id} has ended, and its row is {row.state}")
        else:
            over = row.state is JobState.PENDING or row.requeues >= MAX_REQUEUES
            self._require(over, f"job {row.id} never ended, and its row is {row.state}")

    def _story(self, row: Job, events: list[Event]) -> None:
        try:
            is_same = replay(events) == row
        except ValueError as error:
            self._fail(f"the events of job {row.id} make no row: {error}")
        self._require(is_same, f"replay of job {row.id} is not its row {row}")
        bodies = [event.body for event in events]
        entered = [body.attempt for body in bodies if isinstance(body, e.Allocated)]
        left = [body.attempt for body in bodies if isinstance(body, e.Released)]
        once = entered == left == list(range(1, row.attempt + 1))
        self._require(once, f"job {row.id}: allocations {entered} were left as {left}")
        nodes = self._world.engine.stories[row.id].job.nodes
        for body in bodies:
            if isinstance(body, e.Allocated):
                names = {part.node for part in body.parts}
                whole = len(names) == len(body.parts) == nodes
                self._require(whole, f"gang of job {row.id} is not whole: {sorted(names)}")
        runs = self._world.engine.runs
        ended = [n for n in entered if runs[AttemptId(row.id, n)].completed]
        self._require(len(ended) <= 1, f"job {row.id} was completed by attempts {ended}")
        if self._world.setting.rates == PEACE:
            often = [runs[AttemptId(row.id, n)].launches for n in entered]
            self._require(
                set(often) <= {1}, f"attempts of job {row.id} were launched {often} times"
            )

    def _fit(self, what: str, held: Iterable[Iterable[NodePart]]) -> None:
        capacities = {node.name: node.capacity for node in self._world.nodes}
        free: dict[str, Free] = {}
        for parts in held:
            for part in parts:
                if part.node not in free:
                    free[part.node] = Free.of(capacities[part.node])
                free[part.node].take(part.request, part.devices)
        for name, left in free.items():
            least = min(left.cpu_milli, left.memory_bytes, left.tmp_bytes, *left.gpu_milli, 0)
            self._require(least >= 0, f"{what} on node {name} exceed it: {left}")

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._fail(otherwise)

    def _fail(self, what: str) -> NoReturn:
        world = self._world
        seed, at_s = world.setting.seed, (world.clock.now_us() - world.began_us) / 1e6
        raise CheckFailed(f"seed {seed}, after {world.steps} steps, at {at_s:.1f} s: {what}")
