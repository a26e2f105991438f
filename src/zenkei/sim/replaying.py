"""An engine double for traces: attempts run as long as the trace says. No dice but for faults.

Used by `traceworld`. It is the world's truth about what ran when, from which `figures` are made.
Work that was done before a stop with a checkpoint is not done again. Cost: some µs an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.errors import CheckpointDamaged, PermanentEngineError, TemporaryEngineError
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Exit, JobSpec, StopReason
from zenkei.ports.engine import (
    Artefact,
    Capabilities,
    Checkpointed,
    Cleared,
    Exited,
    LaunchOrder,
    Message,
    NodeSeen,
    Released,
    Report,
    Resumed,
    Started,
    StopAttempt,
)
from zenkei.sim.clock import VirtualClock
from zenkei.sim.faults import Faults
from zenkei.sim.traces import CLUSTER, TraceJob

STEP_US = 1000
"""Work of one step, in which checkpoints are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Seconds that a start takes, the first too; that any later one takes more; that a checkpoint

    takes when a job is displaced. Nothing of it is progress, and all of it holds the devices.
    """

    start_s: float = 0.0
    restart_s: float = 0.0
    checkpoint_s: float = 0.0


@dataclass(slots=True, eq=False)
class Story:
    """What really became of a job. first_us: of its first launch; ended_us: 0 while it is not over.

    held: spans in which it held its devices. displaced: by others. failed: its attempts that did.
    """

    job: TraceJob
    first_us: int = -1
    ended_us: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)
    displaced: int = 0
    failed: int = 0


class Run:
    """One attempt as it really is. begins_us: when it makes progress; done_us: made before that."""

    __slots__ = (
        "begins_us",
        "completed",
        "done_us",
        "exited",
        "launched_us",
        "launches",
        "lives",
        "order",
        "reports",
        "stopped",
        "story",
    )

    def __init__(self) -> None:
        self.order: LaunchOrder | None = None
        self.story: Story | None = None
        self.reports: list[Report] = []
        self.lives = self.exited = self.stopped = self.completed = False
        self.launches = self.launched_us = self.begins_us = self.done_us = 0


class ReplayEngine:
    """`ports.engine.Engine`. stories: of the jobs, entered by whoever submits them."""

    def __init__(
        self, clock: VirtualClock, faults: Faults, nodes: tuple[Node, ...], costs: Costs
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._nodes = {node.name: node for node in nodes}
        self._costs = costs
        self.stories: dict[JobId, Story] = {}
        self.runs: dict[AttemptId, Run] = {}
        self.living: dict[AttemptId, Run] = {}
        self.over = 0
        """Jobs that have come to their end."""
        self.changes = 0
        self._fresh: list[Report] = []
        self._cleared: dict[tuple[str, AttemptId], Cleared] = {}
        self._rescan = False
        self._wake: Callable[[], None] = lambda: None

    # -- what the controller asks ------------------------------------------------------------------
    @property
    def cluster(self) -> str:
        return CLUSTER

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def inventory(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    def prepare(self, artefact: Artefact, progress: Callable[[str], None]) -> None:
        """Nothing has to be there."""

    def check(self, spec: JobSpec, params: Mapping[str, str], env: Digest) -> None:
        """Nothing is started here: every launcher will do."""

    def launch(self, order: LaunchOrder) -> None:
        self._stumble("launch")
        run = self.runs.get(order.attempt)
        if run is None:
            run = self.runs[order.attempt] = Run()
        run.launches += 1
        if run.order is not None:
            return
        if order.resume is not None and self._faults.chance(self._faults.rates.torn):
            raise CheckpointDamaged("its content is torn")
        story = self.stories[order.attempt.job]
        run.order, run.story = order, story
        if run.stopped:
            return
        now_us, costs = self._clock.now_us(), self._costs
        run.lives, run.launched_us = True, now_us
        self.living[order.attempt] = run
        self.changes += 1
        if story.first_us < 0:
            story.first_us = now_us
        if order.resume is not None:
            run.done_us = order.resume.step * STEP_US
        overhead_s = costs.start_s + (costs.restart_s if order.attempt.number > 1 else 0.0)
        run.begins_us = now_us + round(overhead_s * 1e6)
        ends_us = run.begins_us + max(0, story.job.duration_us - run.done_us)
        if run.begins_us > now_us:
            self._clock.call_at(run.begins_us, partial(self._start, order.attempt, run))
        else:
            self._start(order.attempt, run)
        self._clock.call_at(ends_us, partial(self._finish, order.attempt, run))

    def tell(self, attempt: AttemptId, message: Message) -> None:
        self._stumble("tell")
        if not isinstance(message, StopAttempt):
            raise PermanentEngineError("the double only stops")
        run = self.runs.setdefault(attempt, Run())
        if run.stopped or run.exited:
            return
        run.stopped = True
        if run.order is None:
            self._end(
                attempt, run, StopReason.LAUNCH_FAILED, Exit(detail="stopped before its launch")
            )
            return
        delay_s = 0.0
        if message.checkpoint_s and run.order.spec.checkpoint is not None:
            self._save(attempt, run)
            delay_s = self._costs.checkpoint_s
        if message.reason is StopReason.PREEMPTED and run.story is not None:
            run.story.displaced += 1
        end = partial(self._end, attempt, run, message.reason, Exit(signal=15))
        if delay_s:
            self._clock.call_in(delay_s, end)
        else:
            end()

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        if self._rescan:
            self._rescan, self._fresh = False, []
            told = [report for run in self.runs.values() for report in run.reports]
            return (*told, *self._cleared.values()), cursor
        if not self._fresh:
            return (), cursor
        reports, self._fresh = tuple(self._fresh), []
        if self._faults.chance(self._faults.rates.report_doubled):
            reports = reports + reports
        return reports, cursor

    def on_report(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def new_controller(self) -> None:
        """A controller that starts sees every report that was not retired, again."""
        self._rescan = True

    def read(self, attempt: AttemptId, stream: str, offset: int, limit: int) -> bytes:
        return b""

    def outputs(self, attempt: AttemptId) -> tuple[str, ...]:
        return ()

    def saved(
        self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]
    ) -> tuple[str, ...]:
        return tuple(f"/checkpoints/{part.path}" for part in parts)

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        """Nothing lies on the double's nodes."""

    def fence(self, node: str, attempt: AttemptId) -> None:
        self._cleared[node, attempt] = Cleared(attempt=attempt, node=node)
        self._fresh.append(self._cleared[node, attempt])
        self._wake()

    def lift(self, node: str, attempt: AttemptId) -> None:
        self._cleared.pop((node, attempt), None)

    def probe(self, node: str) -> tuple[str, ...]:
        return ()

    def retire(self, attempt: AttemptId) -> None:
        run = self.runs.get(attempt)
        if run is not None:
            run.reports.clear()

    # -- what happens by itself --------------------------------------------------------------------
    def reboot(self, name: str) -> None:
        """A node loses everything that runs on it and comes back with another boot id."""
        node = self._nodes[name]
        self._nodes[name] = replace(node, boot_id=f"{node.boot_id}+")
        self._fresh.append(NodeSeen(node=self._nodes[name]))
        for attempt, run in list(self.living.items()):
            assert run.order is not None, "what lives was launched"
            if any(on.name == name for on, _ in run.order.nodes):
                detail = f"node {name} restarted"
                self._end(attempt, run, StopReason.NODE_LOST, Exit(node=name, detail=detail))
        self._wake()

    def alive(self) -> list[tuple[AttemptId, LaunchOrder]]:
        """Attempts whose processes may still use their devices."""
        return [(a, run.order) for a, run in self.living.items() if run.order is not None]

    def ghosts(self) -> list[NodePart]:
        """Here a node that is given up is really gone."""
        return []

    def _start(self, attempt: AttemptId, run: Run) -> None:
        if run.exited or run.stopped:
            return
        self._say(run, Started(attempt=attempt))
        assert run.order is not None, "only a launched attempt starts"
        if run.order.resume is not None:
            self._say(run, Resumed(attempt=attempt, step=run.order.resume.step))

    def _save(self, attempt: AttemptId, run: Run) -> None:
        step = (run.done_us + max(0, self._clock.now_us() - run.begins_us)) // STEP_US
        if step * STEP_US > run.done_us:
            part = CheckpointPart(node_rank=0, path=f"step-{step}")
            self._say(run, Checkpointed(attempt=attempt, step=step, parts=(part,)))

    def _finish(self, attempt: AttemptId, run: Run) -> None:
        if run.exited or run.stopped:
            return
        if self._faults.chance(self._faults.rates.failed_exit):
            self._end(attempt, run, StopReason.NODE_LOST, Exit(detail="its node failed"))
        else:
            self._end(attempt, run, StopReason.COMPLETED, Exit(code=0, rank=0))

    def _end(self, attempt: AttemptId, run: Run, reason: StopReason, ended: Exit) -> None:
        """The ranks end, and nothing of them is left."""
        if run.exited:
            return
        run.exited, run.completed = True, reason is StopReason.COMPLETED
        if run.lives:
            run.lives = False
            self.living.pop(attempt, None)
            assert run.story is not None, "what lives was launched"
            run.story.held.append((run.launched_us, self._clock.now_us()))
            if run.completed:
                run.story.ended_us = self._clock.now_us()
                self.over += 1
            elif reason is not StopReason.PREEMPTED:
                run.story.failed += 1
        self.changes += 1
        self._say(run, Exited(attempt=attempt, reason=reason, exit=ended))
        self._say(run, Released(attempt=attempt, proof="sim"))

    def _say(self, run: Run, report: Report) -> None:
        run.reports.append(report)
        self._fresh.append(report)
        self._wake()

    def _stumble(self, what: str) -> None:
        if self._faults.chance(self._faults.rates.engine_error):
            raise TemporaryEngineError(f"{what}: the double does not answer", delay_s=0.5)
