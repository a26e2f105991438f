"""A world that plays a trace through the production control plane, as fast as it can.

    world = TraceWorld(jobs, nodes, Setting(policy=b"policy: {order: fifo}"))
    world.run()                 # raises CheckFailed
    figures(world.engine.stories.values(), ...)

Called by `zenkei sim run`, benches and tests. Virtual time stands still until all that happens at
an instant has happened: work of the controller, reports, then its step. The search for effects of
controllers that died is made when there are any, not each few seconds of a quiet year. Cost: see
`bench.simulator`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from zenkei.control.controller import CLAIM_S
from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.errors import InternalError
from zenkei.model.job import CheckpointPolicy, JobSpec, ResourceRequest
from zenkei.model.resources import Request
from zenkei.sim.clock import START_US, VirtualClock, WallClock
from zenkei.sim.doubles import ForgetfulBlobs
from zenkei.sim.faults import PEACE, Crash, FaultRates, Faults
from zenkei.sim.lives import Lives, Run
from zenkei.sim.replaying import Costs, ReplayEngine, Story
from zenkei.sim.tracechecks import Check, TraceChecks
from zenkei.sim.traces import TraceJob
from zenkei.store.memory import MemoryStore

OPERATOR: Final = Principal(name="operator", uid=0, operator=True)
MOST_AT_ONCE: Final = 100_000
"""Things at one instant: more is a controller that runs wild."""
MOST_TIMERS: Final = 5_000
"""Instants at which only the controller wakes, and does nothing: more, and it never will."""
SAVE_S: Final = 60.0
SEAL_S: Final = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """policy: text of a cluster's file. round_s: the controller plans at its multiples only; 0: at

    once. rates: of faults, while jobs arrive. check: how often the checkers look.
    """

    policy: bytes = b"policy: {order: fifo}"
    file: str = "cluster.yaml"
    round_s: float = 0.0
    costs: Costs = Costs()
    rates: FaultRates = PEACE
    seed: int = 0
    check: Check = Check.SAMPLED


class InTurn:
    """`ports.system.Workers`: work is done in the order in which it came, at the same instant.

    Results are sealed when some have come, as on a busy machine: nobody in a trace waits for one.
    """

    def __init__(self, queue: deque[Callable[[], None]], clock: VirtualClock, run: Run) -> None:
        self._queue = queue
        self._clock = clock
        self._run = run

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        call = partial(self._run, work)
        if lane == "seal":
            self._clock.call_in(SEAL_S, partial(self._queue.append, call))
        else:
            self._queue.append(call)


class TraceWorld:
    """See the module's docstring."""

    def __init__(self, jobs: Sequence[TraceJob], nodes: tuple[Node, ...], setting: Setting) -> None:
        self.jobs = jobs
        self.nodes = nodes
        self.setting = setting
        self.clock = VirtualClock()
        self.faults = Faults(Random(setting.seed + 1), setting.rates)
        self.engine = ReplayEngine(self.clock, self.faults, nodes, setting.costs)
        self.began_us = START_US
        self.steps = 0
        self._rng = Random(setting.seed)
        self._wall = WallClock(self.clock)
        self._todo: deque[Callable[[], None]] = deque()
        self._lives = Lives(
            wall=self._wall,
            faults=self.faults,
            engine=self.engine,
            blobs=ForgetfulBlobs(),
            workers=lambda run: InTurn(self._todo, self.clock, run),
        )
        self.tables = self._lives.tables
        self.store = MemoryStore(self.clock.now_us, owner="onlooker", tables=self.tables)
        self._round_us = round(setting.round_s * 1e6)
        self._due_us: int | None = None
        self._next = 0
        self._specs: dict[tuple[object, ...], JobSpec] = {}
        self.checks = TraceChecks(self, setting.check)
        self._boot()
        self._certainly(self._apply)

    # -- running -----------------------------------------------------------------------------------
    def run(self) -> None:
        """Until every job is over, or nothing can happen any more. Raises CheckFailed."""
        self._plan_arrival()
        self._plan_trouble()
        idle = 0
        self._settle()
        while not self._over():
            seq, more = self.tables.counters.seq, self.clock.next_us() is not None
            if not self._wait():
                break
            self._settle()
            idle = 0 if more or self.tables.counters.seq != seq else idle + 1
            if idle > MOST_TIMERS:
                break
        self.checks.at_the_end()

    @property
    def stories(self) -> tuple[Story, ...]:
        """What became of the jobs, in order of their arrival."""
        return tuple(self.engine.stories.values())

    @property
    def waiting(self) -> int:
        """Jobs that never came to their end: nothing that the world has can run them."""
        return len(self.jobs) - self.engine.over

    @property
    def awake(self) -> bool:
        """Whether the controller has heard of something that it has not seen to."""
        return self._lives.plane.controller.awake or bool(self._todo)

    def _over(self) -> bool:
        is_idle = not self.tables.outbox and not self._lives.plane.controller.awake
        return is_idle and self.engine.over == len(self.jobs)

    def _settle(self) -> None:
        """All that happens at this instant."""
        for _ in range(MOST_AT_ONCE):
            if self._todo:
                self._guarded(self._todo.popleft())
            elif self.clock.next_us() == self.clock.now_us():
                self._guarded(self._run_next)
            elif self._lives.plane.controller.awake and self._is_round():
                self._step()
            else:
                return
        raise InternalError("simulation-wild", "the controller never comes to rest")

    def _is_round(self) -> bool:
        return not self._round_us or (self.clock.now_us() - START_US) % self._round_us == 0

    def _wait(self) -> bool:
        """Let time pass until something happens; False: nothing will."""
        instants = [us for us in (self.clock.next_us(), self._wake_us()) if us is not None]
        if not instants:
            return False
        self.clock.advance_to(min(instants))
        if self._wake_us() == self.clock.now_us():
            self._due_us = None
            self._lives.plane.controller.wake()
        return True

    def _wake_us(self) -> int | None:
        """When the controller is due: by its plan, for effects left over, at the next round."""
        now_us = self.clock.now_us()
        instants = [] if self._due_us is None else [self._due_us]
        if len(self.tables.outbox) > self._lives.plane.dispatcher.in_flight():
            instants.append(self._claim_us)  # of a controller that died, or to be tried again
        if self._lives.plane.controller.awake:
            instants.append(now_us)
        if not instants:
            return None
        due_us = max(now_us, min(instants))
        if self._round_us:
            due_us += -(due_us - START_US) % self._round_us
        return due_us

    def _step(self) -> None:
        self.steps += 1
        try:
            self._due_us = self._lives.plane.controller.step()
        except Crash:
            self._boot()
        self._claim_us = self.clock.now_us() + int(CLAIM_S * 1e6)
        self.checks.after_step()

    def _boot(self) -> None:
        self._lives.boot()
        self._due_us = self._claim_us = self.clock.now_us()

    def _run_next(self) -> None:
        self.clock.run_next()

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Crash:
            self._boot()

    def _certainly(self, call: Callable[[], None]) -> None:
        """As people do: whoever gets no answer asks again."""
        while True:
            try:
                call()
                return
            except Crash:
                self._boot()

    # -- what users and nodes do -------------------------------------------------------------------
    def _apply(self) -> None:
        setting = self.setting
        self._lives.plane.cluster.apply(OPERATOR, setting.policy, file=setting.file)

    def _plan_arrival(self) -> None:
        if self._next < len(self.jobs):
            at_us = START_US + self.jobs[self._next].submit_us
            self.clock.call_at(at_us, self._arrive)
        else:
            self.faults.active = False

    def _arrive(self) -> None:
        """Everybody who comes at this instant."""
        now_us = self.clock.now_us()
        while self._next < len(self.jobs):
            job = self.jobs[self._next]
            if START_US + job.submit_us > now_us:
                break
            self._certainly(partial(self._submit, self._next, job))
            self._next += 1
        self._plan_arrival()

    def _submit(self, number: int, job: TraceJob) -> None:
        who = Principal(name=job.user or "user", uid=1000)
        key = f"request-{number}" if self.setting.rates.crash else ""
        (made,) = self._lives.plane.commands.submit(who, self._spec(job), request_key=key)
        self.engine.stories[made] = Story(job)

    def _spec(self, job: TraceJob) -> JobSpec:
        """Jobs that ask for the same share one spec, as their users' files would."""
        key = (job.group, job.queue, *job[6:13])
        found = self._specs.get(key)
        if found is None:
            found = self._specs[key] = JobSpec(
                name=job.group or "job",
                command="simulated",
                queue=job.queue,
                resources=ResourceRequest(nodes=job.nodes, node=request_of(job)),
                time_limit_s=job.limit_us / 1e6 if job.limit_us else None,
                grace_s=0.0,
                checkpoint=CheckpointPolicy(grace_s=SAVE_S),
            )
        return found

    def _plan_trouble(self) -> None:
        """Nodes restart while jobs arrive, so many in a day as the rates say."""
        if not self.setting.rates.reboot or not self.jobs:
            return
        until_us = self.jobs[-1].submit_us
        per_us = self.setting.rates.reboot * len(self.nodes) / 86_400e6
        at_us = self._rng.expovariate(per_us)
        while at_us < until_us:
            node = self._rng.choice(self.nodes)
            self.clock.call_at(START_US + int(at_us), partial(self.engine.reboot, node.name))
            at_us += self._rng.expovariate(per_us)


def request_of(job: TraceJob) -> Request:
    """What one part of it asks for."""
    return Request(
        cpu_milli=job.cpu_milli,
        memory_bytes=job.memory_bytes,
        gpu_count=job.gpu_count,
        gpu_milli=job.gpu_milli,
        gpu_kinds=job.kinds,
    )
