"""An engine in this process, for tests and benchmarks: attempts are callables, not processes.

It keeps every promise of `ports.engine` that does not need an operating system: idempotent launch,
stop before launch, repeated reports until `retire`. What an attempt does is decided by `program`,
called once per launch on the launching thread: it returns the exit, or None for an attempt that
runs until it is told to stop or `finish` is called. What it answers when it is asked for a
checkpoint is decided by `answer`: the step that it has saved, or None. Checkpoints whose manifest
is in `damaged` cannot be resumed from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from zenkei.model.cluster import Node
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.errors import CheckpointDamaged, PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, JobSpec, StopReason
from zenkei.ports.engine import (
    Artefact,
    AskCheckpoint,
    Capabilities,
    Checkpointed,
    Exited,
    LaunchOrder,
    Message,
    Released,
    Report,
    Resumed,
    Started,
    StopAttempt,
)

PROOF = "inline"


def succeed(_order: LaunchOrder) -> Exit | None:
    """A program that does nothing and ends well."""
    return Exit(code=0)


@dataclass(slots=True)
class _Run:
    reports: list[Report] = field(default_factory=list)
    order: LaunchOrder | None = None
    steps: set[int] = field(default_factory=set)
    launched: bool = False
    over: bool = False


class InlineEngine:
    """See the module's docstring. Thread-safe."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        program: Callable[[LaunchOrder], Exit | None] = succeed,
        cluster: str = "inline",
        answer: Callable[[LaunchOrder], int | None] = lambda _order: None,
    ) -> None:
        self._nodes = nodes
        self._program = program
        self._cluster = cluster
        self._answer = answer
        self.damaged: set[Digest] = set()
        self._lock = Lock()
        self._runs: dict[AttemptId, _Run] = {}
        self._fresh: list[Report] = []
        self._scanned = False
        self._wake: Callable[[], None] = lambda: None
        self._streams: dict[tuple[AttemptId, str], bytes] = {}

    @property
    def cluster(self) -> str:
        return self._cluster

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def inventory(self) -> tuple[Node, ...]:
        return self._nodes

    def prepare(self, artefact: Artefact, progress: Callable[[str], None]) -> None:
        """Programs are callables: there is nothing to lay out."""

    def check(self, spec: JobSpec, params: Mapping[str, str], env: Digest) -> None:
        """Nothing is started here: every launcher will do."""

    def launch(self, order: LaunchOrder) -> None:
        with self._lock:
            run = self._runs.setdefault(order.attempt, _Run())
            if run.launched:
                return
            if order.resume is not None and order.resume.manifest in self.damaged:
                raise CheckpointDamaged(f"the checkpoint of step {order.resume.step} is damaged")
            run.launched, run.order = True, order
            if run.over:
                return
            self._say(run, Started(attempt=order.attempt))
            if order.resume is not None:
                self._say(run, Resumed(attempt=order.attempt, step=order.resume.step))
        ended = self._program(order)
        if ended is not None:
            self.finish(order.attempt, ended)
        else:
            self._wake()

    def finish(self, attempt: AttemptId, ended: Exit) -> None:
        """The attempt's ranks end by themselves."""
        well = ended.code == 0
        self._end(attempt, StopReason.COMPLETED if well else StopReason.NONZERO_EXIT, ended)

    def tell(self, attempt: AttemptId, message: Message) -> None:
        if isinstance(message, AskCheckpoint):
            if attempt not in self.running():
                raise PermanentEngineError(f"attempt {attempt} does not run here")
            self._ask(attempt)
            return
        if not isinstance(message, StopAttempt):
            raise PermanentEngineError(f"the inline engine cannot do {type(message).__name__}")
        with self._lock:
            launched = self._runs.setdefault(attempt, _Run()).launched
        if launched:
            if message.checkpoint_s > 0:
                self._ask(attempt)
            self._end(attempt, message.reason, Exit(signal=15))
        else:
            self._end(attempt, StopReason.LAUNCH_FAILED, Exit(detail="stopped before its launch"))

    def _ask(self, attempt: AttemptId) -> None:
        order = self._runs[attempt].order
        step = self._answer(order) if order is not None and order.spec.checkpoint else None
        if step is not None:
            self.save(attempt, step)

    def save(self, attempt: AttemptId, step: int) -> None:
        """The attempt's ranks say that they have saved this step."""
        with self._lock:
            run = self._runs[attempt]
            if run.over or step in run.steps:
                return
            run.steps.add(step)
            part = CheckpointPart(node_rank=0, path=f"step-{step}")
            self._say(run, Checkpointed(attempt=attempt, step=step, parts=(part,)))
        self._wake()

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        with self._lock:
            if self._scanned:
                reports, self._fresh = tuple(self._fresh), []
            else:
                reports = tuple(r for run in self._runs.values() for r in run.reports)
                self._fresh, self._scanned = [], True
        return reports, cursor

    def rescan(self) -> None:
        """What a new controller sees: every report that has not been retired, again."""
        with self._lock:
            self._scanned = False

    def on_report(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def write(self, attempt: AttemptId, stream: str, data: bytes) -> None:
        """Give a program a stream to be read back."""
        with self._lock:
            key = (attempt, stream)
            self._streams[key] = self._streams.get(key, b"") + data

    def read(self, attempt: AttemptId, stream: str, offset: int, limit: int) -> bytes:
        with self._lock:
            return self._streams.get((attempt, stream), b"")[offset : offset + limit]

    def outputs(self, attempt: AttemptId) -> tuple[str, ...]:
        return ()

    def saved(
        self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]
    ) -> tuple[str, ...]:
        with self._lock:
            if step not in self._runs[attempt].steps:
                raise PermanentEngineError(
                    f"step {step} of attempt {attempt} is not there (any more)"
                )
        return tuple(f"/inline/{attempt}/{part.path}" for part in parts)

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        with self._lock:
            if parts:
                self._runs[attempt].steps.discard(step)

    def fence(self, node: str, attempt: AttemptId) -> None:
        """Programs end with this process: nothing of theirs can write later."""
        self._end(attempt, StopReason.NODE_LOST, Exit(node=node, detail="fenced"))

    def lift(self, node: str, attempt: AttemptId) -> None:
        """Nothing is remembered of fences."""

    def probe(self, node: str) -> tuple[str, ...]:
        return () if any(n.name == node for n in self.inventory()) else (f"{node} is not there",)

    def retire(self, attempt: AttemptId) -> None:
        with self._lock:
            run = self._runs.get(attempt)
            if run is not None and run.over:
                run.reports.clear()

    def running(self) -> tuple[AttemptId, ...]:
        """Attempts that are launched and not over."""
        with self._lock:
            return tuple(a for a, run in self._runs.items() if run.launched and not run.over)

    def _end(self, attempt: AttemptId, reason: StopReason, ended: Exit) -> None:
        with self._lock:
            run = self._runs[attempt]
            if run.over:
                return
            run.over = True
            self._say(run, Exited(attempt=attempt, reason=reason, exit=ended))
            self._say(run, Released(attempt=attempt, proof=PROOF))
        self._wake()

    def _say(self, run: _Run, report: Report) -> None:
        run.reports.append(report)
        self._fresh.append(report)
