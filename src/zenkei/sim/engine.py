"""An engine double: attempts take virtual time, nodes reboot, reports come twice.

It is the world's truth about what really runs, kept apart from what the store believes, so that
the checkers can compare the two. It outlives every controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from zenkei.model.cluster import Node
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.errors import PermanentEngineError, TemporaryEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, JobSpec, StopReason
from zenkei.ports.engine import (
    Artefact,
    Capabilities,
    Exited,
    LaunchOrder,
    Message,
    NodeSeen,
    Released,
    Report,
    Started,
    StopAttempt,
)
from zenkei.sim.clock import VirtualClock
from zenkei.sim.faults import Faults


@dataclass(slots=True)
class Run:
    """One attempt as it really is. lives: its processes may still use its devices."""

    order: LaunchOrder | None = None
    lives: bool = False
    exited: bool = False
    stopped: bool = False
    stop: StopReason | None = None
    completed: bool = False
    launches: int = 0
    reports: list[Report] = field(default_factory=list)


class EngineDouble:
    """duration_s and the exit code come from the job's parameters (`seconds`, `exit`)."""

    def __init__(
        self, clock: VirtualClock, rng: Random, faults: Faults, nodes: tuple[Node, ...]
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._faults = faults
        self._nodes = {node.name: node for node in nodes}
        self.runs: dict[AttemptId, Run] = {}
        self.changes = 0
        self._fresh: list[Report] = []
        self._rescan = True
        self._wake: Callable[[], None] = lambda: None

    @property
    def cluster(self) -> str:
        return "sim"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def inventory(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    def prepare(self, artefact: Artefact, progress: Callable[[str], None]) -> None:
        self._stumble("prepare")

    def check(self, spec: JobSpec, params: Mapping[str, str], env: Digest) -> None:
        """Nothing is started here: every launcher will do."""

    def launch(self, order: LaunchOrder) -> None:
        self._stumble("launch")
        run = self.runs.setdefault(order.attempt, Run())
        run.launches += 1
        if run.order is not None:
            return
        run.order = order
        if run.stopped:
            return
        run.lives = True
        self.changes += 1
        self._clock.call_in(self._rng.uniform(0.01, 2.0), lambda: self._start(order.attempt))

    def tell(self, attempt: AttemptId, message: Message) -> None:
        self._stumble("tell")
        if not isinstance(message, StopAttempt):
            raise PermanentEngineError("the double only stops")
        run = self.runs.setdefault(attempt, Run())
        if run.stopped or run.exited:
            return
        run.stopped, run.stop = True, message.reason
        if run.order is None:
            self._end(attempt, StopReason.LAUNCH_FAILED, Exit(detail="stopped before its launch"))
            return
        delay_s = self._rng.uniform(0.0, message.grace_s)
        self._clock.call_in(delay_s, lambda: self._end(attempt, message.reason, Exit(signal=15)))

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        if self._rescan:
            self._rescan, self._fresh = False, []
            return tuple(r for run in self.runs.values() for r in run.reports), cursor
        reports, self._fresh = tuple(self._fresh), []
        if reports and self._faults.chance(self._faults.rates.report_doubled):
            reports = reports + reports
        return reports, cursor

    def new_controller(self) -> None:
        """A controller that starts sees every report that was not retired, again."""
        self._rescan = True

    def on_report(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def read(self, attempt: AttemptId, stream: str, offset: int, limit: int) -> bytes:
        return b""

    def outputs(self, attempt: AttemptId) -> tuple[str, ...]:
        return ("/outputs",) if self.runs[attempt].order is not None else ()

    def saved(
        self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]
    ) -> tuple[str, ...]:
        return ("/checkpoint",) * len(parts)

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        """Nothing lies on the double's nodes."""

    def fence(self, node: str) -> None:
        """The double's nodes never come back with old processes: `reboot` ends them."""

    def retire(self, attempt: AttemptId) -> None:
        run = self.runs.get(attempt)
        if run is not None:
            run.reports.clear()

    def reboot(self, name: str) -> None:
        """A node loses everything that runs on it and comes back with another boot id."""
        node = self._nodes[name]
        self._nodes[name] = replace(node, boot_id=f"{node.boot_id}+")
        self._fresh.append(NodeSeen(node=self._nodes[name]))
        for attempt, run in list(self.runs.items()):
            used = run.order is not None and any(n.name == name for n, _ in run.order.nodes)
            if used and run.lives:
                detail = f"node {name} restarted"
                self._end(attempt, StopReason.NODE_LOST, Exit(node=name, detail=detail))
        self._wake()

    def alive(self) -> list[tuple[AttemptId, LaunchOrder]]:
        """Attempts whose processes may still use their devices."""
        return [(a, r.order) for a, r in self.runs.items() if r.lives and r.order is not None]

    def _start(self, attempt: AttemptId) -> None:
        run = self.runs[attempt]
        if run.exited or run.order is None:
            return
        self._say(run, Started(attempt=attempt))
        seconds = float(run.order.params.get("seconds", "1"))
        self._clock.call_in(seconds, lambda: self._finish(attempt))

    def _finish(self, attempt: AttemptId) -> None:
        run = self.runs[attempt]
        assert run.order is not None, "only a launched attempt is finished"
        code = int(run.order.params.get("exit", "0"))
        if self._faults.chance(self._faults.rates.failed_exit):
            code = 7
        reason = StopReason.COMPLETED if code == 0 else StopReason.NONZERO_EXIT
        reason = run.stop or reason  # the order reached the ranks before they ended
        self._end(attempt, reason, Exit(code=code, rank=0))

    def _end(self, attempt: AttemptId, reason: StopReason, ended: Exit) -> None:
        run = self.runs[attempt]
        if run.exited:
            return
        run.exited = True
        run.completed = reason is StopReason.COMPLETED
        self._say(run, Exited(attempt=attempt, reason=reason, exit=ended))
        self._clock.call_in(self._rng.uniform(0.0, 1.0), lambda: self._release(attempt))

    def _release(self, attempt: AttemptId) -> None:
        run = self.runs[attempt]
        run.lives = False
        self.changes += 1
        self._say(run, Released(attempt=attempt, proof="sim"))

    def _say(self, run: Run, report: Report) -> None:
        run.reports.append(report)
        self._fresh.append(report)
        self._wake()

    def _stumble(self, what: str) -> None:
        if self._faults.chance(self._faults.rates.engine_error):
            raise TemporaryEngineError(f"{what}: the double does not answer", delay_s=0.5)
