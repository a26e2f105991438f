"""What happened to a job (events, append-only) and what must follow (effects, the outbox).

Events carry a type version; the golden logs of earlier releases must replay (`tests/golden`).
Bodies are plain values: strings, numbers, enums and the frozen types of this room.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from zenkei.model.cluster import NodePart
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.ids import JobId
from zenkei.model.job import Exit, FailureClass, HoldReason, JobState, Notice, StopReason


class EventKind(StrEnum):
    """The events of the transition table."""

    SUBMITTED = "submitted"
    UNHELD = "unheld"
    PREPARED = "prepared"
    PREPARE_FAILED = "prepare_failed"
    HELD = "held"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    ALLOCATED = "allocated"
    STARTED = "started"
    EXITED = "exited"
    STOP_ORDERED = "stop_ordered"
    RELEASED = "released"
    CLAIMED = "claimed"
    EDITED = "edited"
    RESUMED = "resumed"
    CHECKPOINTED = "checkpointed"
    CHECKPOINT_KEPT = "checkpoint_kept"
    CHECKPOINT_LOST = "checkpoint_lost"
    NOTICED = "noticed"
    IMPORTED = "imported"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """Birth. holds: empty for a job that may be prepared at once.

    env, data, seed: what the job that it repeats had; else they are found when it is prepared.
    """

    spec: Digest
    project: str
    owner: str
    name: str
    queue: str
    priority: int
    params: dict[str, str] = field(default_factory=dict)
    code: Digest = Digest("")
    source: Digest = Digest("")
    holds: tuple[HoldReason, ...] = ()
    rerun_of: str = ""
    env: Digest = Digest("")
    data: Digest = Digest("")
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Birth of a job that ran in another installation: it came with a capsule, as it ended there.

    owner: who imported it. origin: where it ran, as in Job. attempt: its last one. The rest is as
    in Submitted and Job.
    """

    spec: Digest
    project: str
    owner: str
    name: str
    queue: str
    priority: int
    state: JobState
    attempt: int
    origin: Digest
    params: dict[str, str] = field(default_factory=dict)
    code: Digest = Digest("")
    source: Digest = Digest("")
    env: Digest = Digest("")
    data: Digest = Digest("")
    seed: int | None = None
    stop: StopReason | None = None
    exit: Exit | None = None
    failure: FailureClass | None = None
    message: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unheld:
    """These reasons no longer hold the job."""

    reasons: tuple[HoldReason, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The environment is locked (env: digest of the lock; empty if none is needed).

    data: digest of the document that pins its dataset versions; empty if it names none.
    """

    env: Digest = Digest("")
    data: Digest = Digest("")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareFailed:
    """The environment or the data cannot be had."""

    message: str
    failure: FailureClass


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """These reasons (also) hold the job from now on."""

    reasons: tuple[HoldReason, ...]
    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """It can never run: for example, a dependency ended in the wrong way."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """Cancelled while it held no allocation."""

    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocated:
    """The only event by which an allocation begins."""

    attempt: int
    cluster: str
    parts: tuple[NodePart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """These parts are kept free for it, up to `until_us`. No parts: nothing is any more."""

    cluster: str
    parts: tuple[NodePart, ...]
    until_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """What is asked for was changed while it waited; these values are the new ones.

    changes: what is different, each for people, such as `priority: 0 to 5`.
    """

    spec: Digest
    queue: str
    priority: int
    by: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The ranks run on every node of the attempt."""

    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Exited:
    """The ranks ended; processes they left behind may still live, so the allocation is held."""

    attempt: int
    reason: StopReason
    exit: Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class StopOrdered:
    """Somebody wants the attempt to end. checkpoint_s: after so much time to save one (0: none).

    favoured: the job that is given its place, for `why`: reclaim (of what belongs to another queue)
    or priority; both empty if it is not displaced by another job.
    """

    attempt: int
    reason: StopReason
    by: str = ""
    grace_s: float = 10.0
    checkpoint_s: float = 0.0
    favoured: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """Every process is proved gone: the only event by which an allocation ends.

    next: the state that `lifecycle.outcome` chose. proof: the mechanism that proved it. avoid: a
    node that the next attempt shall not have. memory_milli: as in Job, for the next attempt.
    """

    attempt: int
    next: JobState
    failure: FailureClass
    counts: bool = False
    not_before_us: int = 0
    message: str = ""
    proof: str = ""
    avoid: tuple[str, ...] = ()
    memory_milli: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """The program says that it went on from a checkpoint of step `step`."""

    attempt: int
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpointed:
    """The ranks say that their progress at `step` is saved, on their nodes."""

    attempt: int
    step: int
    parts: tuple[CheckpointPart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointKept:
    """That checkpoint is now where any attempt finds it (manifest: its content)."""

    attempt: int
    step: int
    manifest: Digest
    files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointLost:
    """That checkpoint could not be kept, or was found damaged.

    left: step of the newest one that can serve in its place, -1 if there is none.
    """

    attempt: int
    step: int
    reason: str
    left: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Noticed:
    """Something about a running attempt that changes nothing by itself. rank: -1 if it is all."""

    attempt: int
    notice: Notice
    detail: str
    rank: int = -1
    node: str = ""


EventBody: TypeAlias = (
    Submitted
    | Unheld
    | Prepared
    | PrepareFailed
    | Held
    | Rejected
    | Cancelled
    | Allocated
    | Claimed
    | Edited
    | Started
    | Exited
    | StopOrdered
    | Released
    | Resumed
    | Checkpointed
    | CheckpointKept
    | CheckpointLost
    | Noticed
    | Imported
)

BODY_TYPES: Final[dict[EventKind, type[EventBody]]] = {
    EventKind.SUBMITTED: Submitted,
    EventKind.UNHELD: Unheld,
    EventKind.PREPARED: Prepared,
    EventKind.PREPARE_FAILED: PrepareFailed,
    EventKind.HELD: Held,
    EventKind.REJECTED: Rejected,
    EventKind.CANCELLED: Cancelled,
    EventKind.ALLOCATED: Allocated,
    EventKind.CLAIMED: Claimed,
    EventKind.EDITED: Edited,
    EventKind.STARTED: Started,
    EventKind.EXITED: Exited,
    EventKind.STOP_ORDERED: StopOrdered,
    EventKind.RELEASED: Released,
    EventKind.RESUMED: Resumed,
    EventKind.CHECKPOINTED: Checkpointed,
    EventKind.CHECKPOINT_KEPT: CheckpointKept,
    EventKind.CHECKPOINT_LOST: CheckpointLost,
    EventKind.NOTICED: Noticed,
    EventKind.IMPORTED: Imported,
}
KIND_OF: Final[dict[type[EventBody], EventKind]] = {t: k for k, t in BODY_TYPES.items()}
TYPE_VERSION: Final = 1
"""Version of the bodies above; an older one is upgraded when it is read (`store.codec`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One fact of one job. version: that of the job row it made. at_us: UTC, from the store.

    seq is given by the store, in commit order; 0 before.
    """

    job: JobId
    version: int
    at_us: int
    body: EventBody
    seq: int = 0

    @property
    def kind(self) -> EventKind:
        return KIND_OF[type(self.body)]


class EffectKind(StrEnum):
    """What must be done outside the database after a commit. All are idempotent by key."""

    PREPARE = "prepare"
    LAUNCH = "launch"
    STOP = "stop"
    SEAL = "seal"
    RETIRE = "retire"
    KEEP = "keep"
    WAKE_DEPENDENTS = "wake_dependents"


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A row of the outbox.

    key: effects with the same key are the same effect; a second insert is dropped. PREPARE is one
    per submission (job = its number with member WHOLE), KEEP one per checkpoint (`step`), the
    others one per job or attempt.
    """

    kind: EffectKind
    key: str
    job: JobId
    attempt: int = 0
    reason: StopReason | None = None
    grace_s: float = 0.0
    checkpoint_s: float = 0.0
    step: int = -1
    id: int = 0
    tries: int = 0
