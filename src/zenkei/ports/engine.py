"""The place where jobs really run; implemented by `engines.*` and the simulator's double.

One controller may hold several engines, by cluster name. Promises (conformance suite
`tests/conformance/engine`):
- `launch` is idempotent by attempt: a second call changes nothing, whoever makes it. It returns
  when the order is durable on the engine's side, not when ranks run.
- After `tell(attempt, Stop)`, a launch of that attempt never starts anything, whatever the order in
  which the two arrive: the engine then reports the attempt exited (launch_failed) and released.
- Each launched attempt is reported started at most once in effect, exited once, released once; a
  report may be repeated, also after a restart, until `retire`. `released` is reported only when
  every process of the attempt is gone on every node (or the node's boot id has changed) and its
  output lies on storage that outlives the allocation; a node on which the attempt is fenced is not
  waited for.
- Running attempts go on when the caller dies; a new caller on the same place sees their reports.
- Errors: TemporaryEngineError (try again) or PermanentEngineError, nothing else; `launch` raises
  CheckpointDamaged, and has started nothing, if what is to be resumed from is not what was kept.
- A stop with time for a checkpoint lets the ranks save one and reports it before the exit; ranks
  that end by themselves meanwhile are reported as stopped for that reason, never as completed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.dataset import DatasetPin
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, JobSpec, Notice, StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAs:
    """The person whose processes the ranks are. On one machine: the daemon's own uid (-1)."""

    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """The checkpoint that an attempt goes on from. attempt: the one that saved it.

    path: what its ranks saved, relative to their checkpoint directory; empty: several things.
    """

    attempt: AttemptId
    step: int
    manifest: Digest
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOrder:
    """All that an engine needs to run one attempt.

    nodes: in rank order, beside the parts that hold them. params: values of array and matrix.
    env, code: artefacts that `prepare` has realised at the place; empty if none.
    seed: given to the ranks, chosen by the spec or derived from the job's id. failures_per_day: how
    often an attempt of this size fails, for the interval between checkpoints. data: dataset
    versions that the ranks find at their places.
    """

    attempt: AttemptId
    spec: JobSpec
    nodes: tuple[tuple[Node, NodePart], ...]
    params: dict[str, str] = field(default_factory=dict)
    env: Digest = Digest("")
    code: Digest = Digest("")
    seed: int = 0
    project: str = "default"
    run_as: RunAs = RunAs()
    resume: ResumePoint | None = None
    failures_per_day: float = 0.0
    data: tuple[DatasetPin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AskCheckpoint:
    """Save your work soon; the answer is awaited until the deadline."""

    deadline_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StopAttempt:
    """SIGTERM, `grace_s` later SIGKILL, and proof that nothing is left.

    checkpoint_s: first ask for a checkpoint, and stop when it is saved or after so long.
    """

    reason: StopReason
    grace_s: float
    checkpoint_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DumpStacks:
    """Keep the stacks of all ranks: stream `stacks/<node rank>` of `read`."""


Message: TypeAlias = AskCheckpoint | StopAttempt | DumpStacks


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """All ranks run."""

    attempt: AttemptId


@dataclass(frozen=True, kw_only=True, slots=True)
class Exited:
    """The ranks ended, on all nodes, or the attempt as a whole is lost.

    reason: COMPLETED only if the ranks ended well before an order to stop reached them.
    """

    attempt: AttemptId
    reason: StopReason
    exit: Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """Nothing of the attempt lives any more. proof: by what mechanism that is known."""

    attempt: AttemptId
    proof: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """The program says that it goes on from the checkpoint of `step`."""

    attempt: AttemptId
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpointed:
    """All ranks that must say so have saved their progress at `step`; steps rise."""

    attempt: AttemptId
    step: int
    parts: tuple[CheckpointPart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Noticed:
    """Something worth telling about a running attempt. rank: -1 if it concerns all."""

    attempt: AttemptId
    notice: Notice
    detail: str
    rank: int = -1
    node: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSeen:
    """A node is there, as described (inventory changed, state changed, or rebooted)."""

    node: Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Silent:
    """A running attempt gives no sign of life from a node, or cannot be shown to be gone from it.

    lost: for so long, or so surely, that it must be given up: the caller fences it. Time in which
    the engine itself did not run does not count.
    """

    attempt: AttemptId
    node: str
    detail: str
    lost: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """It gives signs of life again, or has been released."""

    attempt: AttemptId
    node: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleared:
    """Nothing of a fenced attempt is left on the node: its agent says so, or its boot has ended.

    Repeated, also after a restart, until `lift`.
    """

    attempt: AttemptId
    node: str


Report: TypeAlias = (
    Started
    | Exited
    | Released
    | Resumed
    | Checkpointed
    | Noticed
    | NodeSeen
    | Silent
    | Heard
    | Cleared
)


class ArtefactKind(StrEnum):
    """What can be realised at a place."""

    ENV = "env"
    CODE = "code"
    DATA = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """Something by digest that launches on a node will need."""

    kind: ArtefactKind
    digest: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """places: zenkei chooses the nodes; False where a foreign scheduler does.

    launches: how many `launch` calls at a time the engine is fastest with.
    """

    places: bool = True
    launches: int = 1


class Engine(Protocol):
    """See the module's promises. Called from the controller's threads."""

    @property
    def cluster(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def inventory(self) -> tuple[Node, ...]:
        """All nodes as they are now."""

    def prepare(self, artefact: Artefact, progress: Callable[[str], None]) -> None:
        """Realise an artefact where launches will find it. Idempotent, may take minutes.

        progress: told in short lines, for people, what is being done.
        """

    def check(self, spec: JobSpec, params: Mapping[str, str], env: Digest) -> None:
        """Refuse a job that could never start here: what its launcher starts is not there.

        Called after `prepare`, before anything is allocated. params: of one member. Raises
        PermanentEngineError; its cause has the hint.
        """

    def launch(self, order: LaunchOrder) -> None: ...

    def tell(self, attempt: AttemptId, message: Message) -> None: ...

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        """What happened since `cursor`, and the next cursor. Never blocks.

        The caller stores the cursor in the transaction of the events that the reports cause.
        """

    def on_report(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread) when `observe` would return something."""

    def read(self, attempt: AttemptId, stream: str, offset: int, limit: int) -> bytes:
        """Bytes of a stream kept with the attempt: `log/<node rank>`, `metrics/<rank>`,
        `stacks/<node rank>` (a line of JSON per dump).

        Empty at the end or if there is no such stream (yet).
        """

    def outputs(self, attempt: AttemptId) -> tuple[str, ...]:
        """Directories, by node rank, in which the ranks left their output; read when released."""

    def saved(
        self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]
    ) -> tuple[str, ...]:
        """Directories or files of a checkpoint, one per part; read while the attempt runs.

        Raises PermanentEngineError for a part that is gone, leads out of the attempt's folder, or
        was changed since it was said to be saved.
        """

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        """Remove a checkpoint from the nodes: it is kept elsewhere, or not needed any more.

        What was changed since it was said to be saved stays: the program uses it again.
        """

    def fence(self, node: str, attempt: AttemptId) -> None:
        """From now on refuse all that `attempt` reports or writes on `node`; end it if possible.

        It counts as ended (node_lost) and gone there: what the other nodes still owe is awaited.
        Durable; safe to repeat.
        """

    def lift(self, node: str, attempt: AttemptId) -> None:
        """`Cleared` is known: forget the fence. Safe to repeat."""

    def probe(self, node: str) -> tuple[str, ...]:
        """Check a node's health: what is wrong, in words for people; empty: nothing is.

        May take seconds. Raises TemporaryEngineError if the node cannot be asked.
        """

    def retire(self, attempt: AttemptId) -> None:
        """The attempt's end is committed: it need not be reported again. Logs stay readable."""
