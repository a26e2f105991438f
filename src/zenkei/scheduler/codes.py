"""What a wait can be: how bad it is, and the closed list of codes.

Read by whoever makes or shows a `reasons.Reason`. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """WAITING ends by itself. BLOCKED needs somebody. NEVER needs another request or machine."""

    WAITING = "waiting"
    BLOCKED = "blocked"
    NEVER = "never"


class ReasonCode(StrEnum):
    """The whole list. Each has its section in `docs/concepts/scheduling.md`."""

    GPUS_BUSY = "gpus_busy"
    CPUS_BUSY = "cpus_busy"
    MEMORY_BUSY = "memory_busy"
    TMP_BUSY = "tmp_busy"
    TOPOLOGY_BUSY = "topology_busy"
    NODES_AVOIDED = "nodes_avoided"
    RESERVED = "reserved"
    WOULD_DELAY = "would_delay"
    LIMIT_KEPT = "limit_kept"
    COLLECTING = "collecting"
    BEHIND = "behind"
    RETRY_DELAY = "retry_delay"
    CHECKPOINT_BEING_STORED = "checkpoint_being_stored"
    VICTIMS_STOPPING = "victims_stopping"
    VICTIMS_PROTECTED = "victims_protected"
    NOT_YET_TRIED = "not_yet_tried"
    QUEUE_CAP = "queue_cap"
    USER_CAP = "user_cap"
    BORROW_LIMIT = "borrow_limit"
    QUOTA_NOT_LENT = "quota_not_lent"
    PAUSED = "paused"
    QUEUE_PAUSED = "queue_paused"
    UNKNOWN_QUEUE = "unknown_queue"
    QUEUE_NOT_LEAF = "queue_not_leaf"
    NO_NODES = "no_nodes"
    NODES_NOT_READY = "nodes_not_ready"
    DEVICES_IN_FOREIGN_USE = "devices_in_foreign_use"
    TOO_FEW_NODES = "too_few_nodes"
    NO_SUCH_DOMAIN = "no_such_domain"
    NO_SUCH_LABELS = "no_such_labels"
    NO_RDMA = "no_rdma"
    NO_SUCH_GPU = "no_such_gpu"
    TOO_MANY_GPUS = "too_many_gpus"
    TOO_MANY_CPUS = "too_many_cpus"
    TOO_MUCH_MEMORY = "too_much_memory"
    TOO_MUCH_TMP = "too_much_tmp"
    ABOVE_QUEUE_CAP = "above_queue_cap"
    ABOVE_USER_CAP = "above_user_cap"
    ABOVE_BORROW_LIMIT = "above_borrow_limit"
    ABOVE_LENT = "above_lent"
    GPU_KIND_NOT_ALLOWED = "gpu_kind_not_allowed"


SEVERITY: Final = {
    ReasonCode.GPUS_BUSY: Severity.WAITING,
    ReasonCode.CPUS_BUSY: Severity.WAITING,
    ReasonCode.MEMORY_BUSY: Severity.WAITING,
    ReasonCode.TMP_BUSY: Severity.WAITING,
    ReasonCode.TOPOLOGY_BUSY: Severity.WAITING,
    ReasonCode.NODES_AVOIDED: Severity.WAITING,
    ReasonCode.RESERVED: Severity.WAITING,
    ReasonCode.WOULD_DELAY: Severity.WAITING,
    ReasonCode.LIMIT_KEPT: Severity.WAITING,
    ReasonCode.COLLECTING: Severity.WAITING,
    ReasonCode.BEHIND: Severity.WAITING,
    ReasonCode.RETRY_DELAY: Severity.WAITING,
    ReasonCode.CHECKPOINT_BEING_STORED: Severity.WAITING,
    ReasonCode.VICTIMS_STOPPING: Severity.WAITING,
    ReasonCode.VICTIMS_PROTECTED: Severity.WAITING,
    ReasonCode.NOT_YET_TRIED: Severity.WAITING,
    ReasonCode.QUEUE_CAP: Severity.WAITING,
    ReasonCode.USER_CAP: Severity.WAITING,
    ReasonCode.BORROW_LIMIT: Severity.WAITING,
    ReasonCode.QUOTA_NOT_LENT: Severity.WAITING,
    ReasonCode.PAUSED: Severity.BLOCKED,
    ReasonCode.QUEUE_PAUSED: Severity.BLOCKED,
    ReasonCode.UNKNOWN_QUEUE: Severity.BLOCKED,
    ReasonCode.QUEUE_NOT_LEAF: Severity.BLOCKED,
    ReasonCode.NO_NODES: Severity.BLOCKED,
    ReasonCode.NODES_NOT_READY: Severity.BLOCKED,
    ReasonCode.DEVICES_IN_FOREIGN_USE: Severity.BLOCKED,
    ReasonCode.TOO_FEW_NODES: Severity.NEVER,
    ReasonCode.NO_SUCH_DOMAIN: Severity.NEVER,
    ReasonCode.NO_SUCH_LABELS: Severity.NEVER,
    ReasonCode.NO_RDMA: Severity.NEVER,
    ReasonCode.NO_SUCH_GPU: Severity.NEVER,
    ReasonCode.TOO_MANY_GPUS: Severity.NEVER,
    ReasonCode.TOO_MANY_CPUS: Severity.NEVER,
    ReasonCode.TOO_MUCH_MEMORY: Severity.NEVER,
    ReasonCode.TOO_MUCH_TMP: Severity.NEVER,
    ReasonCode.ABOVE_QUEUE_CAP: Severity.NEVER,
    ReasonCode.ABOVE_USER_CAP: Severity.NEVER,
    ReasonCode.ABOVE_BORROW_LIMIT: Severity.NEVER,
    ReasonCode.ABOVE_LENT: Severity.NEVER,
    ReasonCode.GPU_KIND_NOT_ALLOWED: Severity.NEVER,
}
