"""What can be asked of an existing job. Birth is an event of its own (`Submitted`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from zenkei.model.cluster import NodePart
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.job import (
    Exit,
    FailureClass,
    HangAction,
    HoldReason,
    Notice,
    RetryPolicy,
    StopReason,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Keep it from starting; a running attempt is stopped and the job held afterwards."""

    reason: HoldReason = HoldReason.USER
    by: str = ""
    grace_s: float = 10.0
    checkpoint_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Unhold:
    """This reason no longer holds it. A job that it does not hold is left as it is."""

    reason: HoldReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """Its environment is locked, its dataset versions are pinned."""

    env: Digest = Digest("")
    data: Digest = Digest("")


@dataclass(frozen=True, kw_only=True, slots=True)
class FailPreparation:
    """Its environment cannot be had."""

    message: str
    failure: FailureClass = FailureClass.USER_ERROR


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """It can never run."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """End it for good."""

    by: str = ""
    grace_s: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocate:
    """Give it these devices and start the next attempt."""

    cluster: str
    parts: tuple[NodePart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Keep these parts free for it, up to `until_us`. No parts: keep nothing any more.

    Parts that are kept for it already are not claimed anew: only their time would change.
    """

    cluster: str = ""
    parts: tuple[NodePart, ...] = ()
    until_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Ask for something else while it waits: all values as they shall be. changes: in words."""

    spec: Digest
    queue: str
    priority: int
    by: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportStarted:
    """The engine says: all ranks run."""

    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportExited:
    """The engine says: the ranks ended."""

    attempt: int
    reason: StopReason
    exit: Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """End the current attempt for a reason of the system's (preemption, lost node, ...).

    checkpoint_s, favoured, why: as in `StopOrdered`.
    """

    attempt: int
    reason: StopReason
    by: str = ""
    grace_s: float = 10.0
    checkpoint_s: float = 0.0
    favoured: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportReleased:
    """The engine says: all processes are proved gone.

    policy, hang, asks_memory (it has a memory request) come from the job's spec.
    """

    attempt: int
    policy: RetryPolicy
    proof: str = ""
    hang: HangAction = HangAction.RETRY
    asks_memory: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResumed:
    """The engine says: the program goes on from the checkpoint of `step`."""

    attempt: int
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportCheckpoint:
    """The engine says: progress at `step` is saved on the nodes."""

    attempt: int
    step: int
    parts: tuple[CheckpointPart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepCheckpoint:
    """A checkpoint is stored where any attempt finds it."""

    attempt: int
    step: int
    manifest: Digest
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LoseCheckpoint:
    """A checkpoint cannot be stored, or is damaged. left: as in `event.CheckpointLost`."""

    attempt: int
    step: int
    reason: str
    left: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportNotice:
    """The engine says something about a running attempt."""

    attempt: int
    notice: Notice
    detail: str
    rank: int = -1
    node: str = ""


Command: TypeAlias = (
    Hold
    | Unhold
    | Prepare
    | FailPreparation
    | Reject
    | Cancel
    | Allocate
    | Claim
    | Edit
    | ReportStarted
    | ReportExited
    | Stop
    | ReportReleased
    | ReportResumed
    | ReportCheckpoint
    | KeepCheckpoint
    | LoseCheckpoint
    | ReportNotice
)
