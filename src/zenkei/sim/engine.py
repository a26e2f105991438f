"""An engine double: attempts take virtual time, nodes reboot, reports come twice.

It is the world's truth about what really runs, kept apart from what the store believes, so that
the checkers can compare the two. It outlives every controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.errors import (
    CheckpointDamaged,
    PermanentEngineError,
    TemporaryEngineError,
)
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, JobSpec, StopReason
from zenkei.ports.engine import (
    Artefact,
    Capabilities,
    Checkpointed,
    Cleared,
    Exited,
    Heard,
    LaunchOrder,
    Message,
    NodeSeen,
    Released,
    Report,
    Resumed,
    Silent,
    Started,
    StopAttempt,
)
from zenkei.sim.clock import VirtualClock
from zenkei.sim.faults import Faults

SILENT_S = 20.0
LOST_S = 60.0


@dataclass(slots=True)
class Run:
    """One attempt as it really is. lives: its processes may still use its devices.

    fenced: nodes on which it was given up. ghosts: those of them where it lives all the same.
    base: step after which it began. step: of its newest checkpoint. A step is a virtual second.
    """

    order: LaunchOrder | None = None
    lives: bool = False
    exited: bool = False
    stopped: bool = False
    stop: StopReason | None = None
    completed: bool = False
    launches: int = 0
    base: int = 0
    step: int = -1
    started_us: int = 0
    fenced: set[str] = field(default_factory=set)
    ghosts: set[str] = field(default_factory=set)
    reports: list[Report] = field(default_factory=list)


class EngineDouble:
    """What a job does stands in its parameters: `seconds` of work, then `exit`; `save`: seconds

    between checkpoints of a job that has them. Work that was saved is not done again.
    """

    def __init__(
        self, clock: VirtualClock, rng: Random, faults: Faults, nodes: tuple[Node, ...]
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._faults = faults
        self._nodes = {node.name: node for node in nodes}
        self.runs: dict[AttemptId, Run] = {}
        self._frozen: set[str] = set()
        self._bad: set[str] = set()
        self.changes = 0
        self._fresh: list[Report] = []
        self._cleared: dict[tuple[str, AttemptId], Cleared] = {}
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
        if order.resume is not None and self._faults.chance(self._faults.rates.torn):
            raise CheckpointDamaged("its content is torn")
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
        if message.checkpoint_s and run.order.spec.checkpoint is not None:
            answer_s = self._rng.uniform(0.0, 1.5 * message.checkpoint_s)
            delay_s += min(answer_s, message.checkpoint_s)
            if answer_s <= message.checkpoint_s:
                self._clock.call_in(answer_s, lambda: self._save(attempt))
        self._clock.call_in(delay_s, lambda: self._end(attempt, message.reason, Exit(signal=15)))

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        if self._rescan:
            self._rescan, self._fresh = False, []
            told = [r for run in self.runs.values() for r in run.reports]
            return (*told, *self._cleared.values()), cursor
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
        self._stumble("saved")
        if self._faults.chance(self._faults.rates.torn):
            raise PermanentEngineError("it is not there any more")
        return tuple(f"/checkpoints/{part.path}" for part in parts)

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        """Nothing lies on the double's nodes."""

    def fence(self, node: str, attempt: AttemptId) -> None:
        self._stumble("fence")
        run = self.runs.get(attempt)
        if run is None or run.order is None or node in run.fenced:
            return
        run.fenced.add(node)
        if run.lives and node in self._frozen:
            run.ghosts.add(node)
            self._end(attempt, StopReason.NODE_LOST, Exit(node=node, detail="gave no sign of life"))
        else:
            self._clear(attempt, node)

    def lift(self, node: str, attempt: AttemptId) -> None:
        self._stumble("lift")
        self._cleared.pop((node, attempt), None)

    def probe(self, node: str) -> tuple[str, ...]:
        self._stumble("probe")
        return ("its memory is bad",) if node in self._bad else ()

    # -- nodes that go wrong -----------------------------------------------------------------------

    def freeze(self, name: str) -> None:
        """Nothing is heard from the node, and it does not hear: what runs there goes on."""
        self._frozen.add(name)
        for delay_s, lost in ((SILENT_S, False), (LOST_S, True)):
            self._clock.call_in(delay_s, lambda lost=lost: self._silence(name, lost))  # type: ignore[misc]

    def thaw(self, name: str) -> None:
        """It is heard again. What was fenced meanwhile ends now."""
        self._frozen.discard(name)
        for attempt, run in self.runs.items():
            if name in run.ghosts:
                run.ghosts.discard(name)
                self.changes += 1
                self._clear(attempt, name)
            elif self._is_on(run, name) and run.lives:
                self._tell(Heard(attempt=attempt, node=name))

    def spoil(self, name: str) -> None:
        """Whatever starts on the node fails there, until it is mended."""
        self._bad.add(name)

    def mend(self, name: str) -> None:
        self._bad.discard(name)

    def ghosts(self) -> list[NodePart]:
        """Parts of attempts that were released and are not gone from there."""
        gone = [run for run in self.runs.values() if not run.lives]
        return [p for run in gone if run.order for n, p in run.order.nodes if n.name in run.ghosts]

    def _silence(self, name: str, lost: bool) -> None:
        if name not in self._frozen:
            return
        for attempt, run in self.runs.items():
            if self._is_on(run, name) and run.lives and name not in run.fenced:
                detail = "no sign of life"
                self._tell(Silent(attempt=attempt, node=name, detail=detail, lost=lost))
        if lost:  # what was launched there meanwhile is silent as well
            self._clock.call_in(LOST_S, lambda: self._silence(name, True))

    def _clear(self, attempt: AttemptId, name: str) -> None:
        self._cleared[name, attempt] = Cleared(attempt=attempt, node=name)
        self._tell(self._cleared[name, attempt])

    def _tell(self, report: Report) -> None:
        self._fresh.append(report)
        self._wake()

    @staticmethod
    def _is_on(run: Run, name: str) -> bool:
        return run.order is not None and any(node.name == name for node, _ in run.order.nodes)

    def _is_cut_off(self, run: Run) -> bool:
        """Whether a node on which the attempt was not given up can neither hear nor be heard."""
        return any(self._is_on(run, name) for name in self._frozen - run.fenced)

    def retire(self, attempt: AttemptId) -> None:
        run = self.runs.get(attempt)
        if run is not None:
            run.reports.clear()

    def reboot(self, name: str) -> None:
        """A node loses everything that runs on it and comes back with another boot id."""
        node = self._nodes[name]
        self._frozen.discard(name)
        self._nodes[name] = replace(node, boot_id=f"{node.boot_id}+")
        self._fresh.append(NodeSeen(node=self._nodes[name]))
        for attempt, run in list(self.runs.items()):
            used = run.order is not None and any(n.name == name for n, _ in run.order.nodes)
            if name in run.ghosts:
                run.ghosts.discard(name)
                self._clear(attempt, name)
            elif used and run.lives:
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
        if self._is_cut_off(run):
            self._clock.call_in(1.0, lambda: self._start(attempt))
            return
        bad = [node.name for node, _ in run.order.nodes if node.name in self._bad]
        if bad:
            ended = Exit(node=bad[0], detail="its memory is bad")
            self._end(attempt, StopReason.HEALTH_CHECK, ended)
            return
        self._say(run, Started(attempt=attempt))
        run.started_us = self._clock.now_us()
        if run.order.resume is not None:
            run.base = run.order.resume.step
            self._say(run, Resumed(attempt=attempt, step=run.base))
        seconds = float(run.order.params.get("seconds", "1")) - run.base
        self._clock.call_in(max(0.0, seconds), lambda: self._finish(attempt))
        if run.order.spec.checkpoint is not None:
            self._save_later(attempt, run.order)

    def _save_later(self, attempt: AttemptId, order: LaunchOrder) -> None:
        every_s = float(order.params.get("save", "1"))
        self._clock.call_in(every_s, lambda: self._save_again(attempt, order))

    def _save_again(self, attempt: AttemptId, order: LaunchOrder) -> None:
        run = self.runs[attempt]
        if not run.exited and not run.stopped:
            self._save(attempt)
            self._save_later(attempt, order)

    def _save(self, attempt: AttemptId) -> None:
        """All that has been done so far, unless it is saved already."""
        run = self.runs[attempt]
        if run.exited or not run.started_us or self._is_cut_off(run):
            return
        step = run.base + (self._clock.now_us() - run.started_us) // 1_000_000
        if step > max(run.step, run.base):
            run.step = step
            part = CheckpointPart(node_rank=0, path=f"step-{step}")
            self._say(run, Checkpointed(attempt=attempt, step=step, parts=(part,)))

    def _finish(self, attempt: AttemptId) -> None:
        run = self.runs[attempt]
        assert run.order is not None, "only a launched attempt is finished"
        if self._is_cut_off(run):
            self._clock.call_in(1.0, lambda: self._finish(attempt))
            return
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
        if self._is_cut_off(run):
            self._clock.call_in(1.0, lambda: self._end(attempt, reason, ended))
            return
        run.exited = True
        run.completed = reason is StopReason.COMPLETED
        self._say(run, Exited(attempt=attempt, reason=reason, exit=ended))
        self._clock.call_in(self._rng.uniform(0.0, 1.0), lambda: self._release(attempt))

    def _release(self, attempt: AttemptId) -> None:
        run = self.runs[attempt]
        if self._is_cut_off(run):
            self._clock.call_in(1.0, lambda: self._release(attempt))
            return
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
