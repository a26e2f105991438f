"""What a person asks for (JobSpec, frozen and hashed) and where it stands (Job, one row)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from zenkei.model.cluster import Claim
from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetRequest
from zenkei.model.ids import JobId
from zenkei.model.resources import Request, scaled


class Launcher(StrEnum):
    """How the ranks of an attempt are started."""

    NONE = "none"
    MPI = "mpi"
    TORCHRUN = "torchrun"
    JAX = "jax"


class RetryAction(StrEnum):
    """What follows an exit that a rule matches."""

    RETRY = "retry"
    ELSEWHERE = "elsewhere"
    MORE_MEMORY = "more_memory"
    GIVE_UP = "give_up"


class CheckpointRanks(StrEnum):
    """Which ranks must say that a checkpoint is saved before it counts as one."""

    ALL = "all"
    FIRST = "first"


class HangAction(StrEnum):
    """What follows when a job hangs; its stacks are kept in any case."""

    RETRY = "retry"
    FAIL = "fail"
    WARN = "warn"


class After(StrEnum):
    """How a job that is waited for must have ended."""

    OK = "ok"
    ANY = "any"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvRequest:
    """The environment as asked for, before it is resolved to a lock.

    python: a version such as "3.11"; empty: that of zenkei itself. requirements and lock hold the
    *text* of the files that the job file names, so that the spec is complete without them.
    """

    python: str = ""
    packages: tuple[str, ...] = ()
    requirements: str = ""
    lock: str = ""
    vars: dict[str, str] = field(default_factory=dict)
    build: bool = False

    @property
    def needs_build(self) -> bool:
        """False if the job can use the node's own Python without any package."""
        return bool(self.python or self.packages or self.requirements or self.lock)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceRequest:
    """Per node; `nodes` of them start together or not at all. ranks: processes per node.

    least: it also starts with so many nodes, and takes up to `nodes`; 0: exactly `nodes`.
    """

    nodes: int = 1
    least: int = 0
    node: Request = Request()
    ranks: int = 1

    @property
    def fewest(self) -> int:
        """With how many nodes it starts, at least."""
        return self.least or self.nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """All nodes of a gang in one domain of `level`, such as a rack; empty: anywhere.

    required: rather wait than spread over several of them.
    """

    level: str = ""
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRule:
    """The first rule that matches decides; with exit_codes and pattern, both must match.

    pattern: a regular expression, searched in the last output of every rank, on the node.
    """

    action: RetryAction
    exit_codes: tuple[int, ...] = ()
    pattern: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """limit: how many more attempts after a failure of the job's own (0: none).

    Infrastructure failures and preemption never count. backoff_s doubles with each counted retry.
    """

    limit: int = 0
    backoff_s: float = 1.0
    rules: tuple[RetryRule, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointPolicy:
    """How the job saves its progress and goes on from it.

    signal: sent when one is asked for: TERM, USR1 or USR2; empty: the program polls. grace_s: time
    to save one before a stop. every_s: how often the program should save; 0: when it is worth its
    cost (Young/Daly). keep: how many are kept.
    """

    signal: str = "TERM"
    ranks: CheckpointRanks = CheckpointRanks.ALL
    grace_s: float = 60.0
    every_s: float = 0.0
    keep: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class HangPolicy:
    """When a job without signs of progress counts as hung. The job's own rhythm can only raise it.

    quiet_s: less silence is never a hang. startup_s: the same before the first sign of progress.
    timeout_s: more silence always is one; 0: no such limit.
    """

    action: HangAction = HangAction.RETRY
    quiet_s: float = 600.0
    startup_s: float = 1800.0
    timeout_s: float = 0.0
    enabled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeRequest:
    """Which files of the working tree travel. enabled False: nothing does (`code: false`)."""

    enabled: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """This job waits until `job` (a job, or all members of its array) has ended as `after` says."""

    job: JobId
    after: After


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretUse:
    """A secret of the project: put into variable `variable`, or into a file named by it."""

    name: str
    variable: str
    as_file: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSpec:
    """One YAML file's meaning. Defaults are left out of its canonical form (see `spec.canonical`).

    command: a text for `/bin/sh -ec`, or an argv. array and matrix make several members of it.
    priority: None: that of its queue.
    """

    name: str
    command: str | tuple[str, ...]
    project: str = "default"
    queue: str = "default"
    priority: int | None = None
    env: EnvRequest = EnvRequest()
    resources: ResourceRequest = ResourceRequest()
    launcher: Launcher = Launcher.NONE
    code: CodeRequest = CodeRequest()
    seed: int | None = None
    deterministic: bool = False
    retry: RetryPolicy = RetryPolicy()
    time_limit_s: float | None = None
    grace_s: float = 10.0
    after: tuple[Dependency, ...] = ()
    array: int = 0
    matrix: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: tuple[SecretUse, ...] = ()
    outputs: str = "outputs"
    checkpoint: CheckpointPolicy | None = None
    hang: HangPolicy = HangPolicy()
    rdma: bool = False
    topology: Topology = Topology()
    datasets: tuple[DatasetRequest, ...] = ()

    @property
    def wanted_labels(self) -> dict[str, tuple[str, ...]]:
        """Allowed values by label of the nodes: the constraints, and what other keys imply."""
        return {**self.constraints, RDMA[0]: (RDMA[1],)} if self.rdma else self.constraints


RDMA: Final = ("rdma", "true")
"""Label of nodes with a working InfiniBand or RoCE device, and its value."""


class JobState(StrEnum):
    """A state exists only if it can last; everything else is a reason."""

    HELD = "held"
    PREPARING = "preparing"
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL

    @property
    def holds_allocation(self) -> bool:
        return self in ALLOCATED


WAITING: Final = frozenset({JobState.HELD, JobState.PREPARING, JobState.PENDING})
TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
ALLOCATED: Final = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})


PREEMPTION_WINDOW_US: Final = 3_600_000_000
MOST_PREEMPTIONS_KEPT: Final = 32
"""Of one job: those within an hour of the newest."""


class HoldReason(StrEnum):
    """Why a job is HELD; it leaves that state when none is left."""

    USER = "user"
    DEPENDENCY = "dependency"
    BUDGET = "budget"


class StopReason(StrEnum):
    """What ended an attempt, as observed."""

    COMPLETED = "completed"
    NONZERO_EXIT = "nonzero_exit"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    USER_CANCEL = "user_cancel"
    USER_HOLD = "user_hold"
    PREEMPTED = "preempted"
    RESIZED = "resized"
    NODE_LOST = "node_lost"
    LAUNCH_FAILED = "launch_failed"
    HUNG = "hung"
    HEALTH_CHECK = "health_check"
    DISK_FULL = "disk_full"
    BUDGET_EXHAUSTED = "budget_exhausted"


class FailureClass(StrEnum):
    """Derived from the StopReason by one total table plus the job's rules."""

    NONE = "none"
    USER_ERROR = "user_error"
    OUT_OF_MEMORY = "out_of_memory"
    INFRASTRUCTURE = "infrastructure"
    DATA = "data"
    HUNG = "hung"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How the first rank to fail (or the last to end well) ended.

    code: its exit status, None if a signal (`signal`) ended it or it never started. symptom: what
    its output tells of the cause (`lifecycle.symptoms`), empty if nothing. matched: places of the
    job's own rules whose pattern was found. tail: its last lines. ranks: how many there were.
    """

    code: int | None = None
    signal: int = 0
    rank: int = -1
    node: str = ""
    detail: str = ""
    symptom: str = ""
    matched: tuple[int, ...] = ()
    tail: tuple[str, ...] = ()
    ranks: int = 1


class Notice(StrEnum):
    """What is noticed about a running attempt and changes nothing by itself."""

    QUIET = "quiet"
    STACKS = "stacks"
    STRAGGLER = "straggler"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One intent and its state: a row. Changed only by `lifecycle.evolve`.

    data: digest of the document that pins its dataset versions. seed: that of the job it repeats;
    None: the spec's, or its own. version: number of events that made it. changed_us: when it came
    into its state. attempt: number of the current or last attempt, 0 before the first. counted:
    attempts that used up retry.limit. requeues: attempts that did not, since the job last got
    further. reached: the highest step of which a checkpoint was ever kept, or -1. stop, exit: of
    the current or last attempt. message: why it failed or was rejected, for people. step: of the
    newest checkpoint that can be resumed from, -1 if there is none. saving: steps of checkpoints
    that are saved but not yet kept where the next attempt finds them. avoid: nodes that failed it.
    memory_milli: what its memory request is multiplied by, in thousandths. nodes: those of a gang's
    current or last attempt, in rank order (none for a job on one node). claim: what is kept free
    for it while it waits. allocated_us, saved_us: of the attempt that holds an allocation: since
    when, and up to when its work is saved (0: nothing is). preempted_us: when it was displaced for
    another job, the newest within an hour of each other. origin: of a job that ran in another
    installation: tree that tells where, and what was kept of its attempts.
    """

    id: JobId
    state: JobState
    version: int
    spec: Digest
    project: str
    owner: str
    name: str
    queue: str
    priority: int
    submitted_us: int
    changed_us: int
    params: dict[str, str] = field(default_factory=dict)
    code: Digest = Digest("")
    source: Digest = Digest("")
    env: Digest = Digest("")
    data: Digest = Digest("")
    holds: frozenset[HoldReason] = frozenset()
    not_before_us: int = 0
    attempt: int = 0
    counted: int = 0
    requeues: int = 0
    started_us: int = 0
    ended_us: int = 0
    stop: StopReason | None = None
    exit: Exit | None = None
    failure: FailureClass | None = None
    message: str = ""
    rerun_of: str = ""
    seed: int | None = None
    step: int = -1
    reached: int = -1
    saving: tuple[int, ...] = ()
    avoid: tuple[str, ...] = ()
    memory_milli: int = 1000
    nodes: tuple[str, ...] = ()
    claim: Claim | None = None
    allocated_us: int = 0
    saved_us: int = 0
    preempted_us: tuple[int, ...] = ()
    origin: Digest = Digest("")


def preemptions(job: Job, now_us: int) -> int:
    """How often it was displaced for another job within the last hour."""
    return sum(1 for at_us in job.preempted_us if at_us > now_us - PREEMPTION_WINDOW_US)


def node_request(job: Job, spec: JobSpec) -> Request:
    """What a node must give for `job` now: planner, applier and launch all take it from here."""
    return scaled(spec.resources.node, job.memory_milli)
