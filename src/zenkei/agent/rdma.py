"""Whether ranks can use RDMA on this node: its devices, and memory that may be locked for them.

Called by the supervisor before ranks of a job with `rdma: true` start. Without it they would fail
one by one, far from the cause: in the middle of NCCL's or UCX's set-up.
"""

from __future__ import annotations

import glob
import os
import resource

DEVICES = "/dev/infiniband/uverbs*"


def trouble(devices: str = DEVICES) -> str:
    """Why they cannot; empty if they can. Raises this process's limit of locked memory."""
    found = glob.glob(devices)
    if not found:
        return f"no device {devices} is there"
    if not any(os.access(path, os.R_OK | os.W_OK) for path in found):
        return f"uid {os.geteuid()} may not open {', '.join(sorted(found))}"
    return _raise_limit()


def _raise_limit() -> str:
    limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for hard in (resource.RLIM_INFINITY, limits[1]):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
            break
        except (ValueError, OSError):
            continue
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY:
        return ""
    return (
        f"memory that may be locked is limited to {limit >> 10} KiB, RDMA needs `unlimited`:"
        " start zenkei with LimitMEMLOCK=infinity (systemd), or `ulimit -l unlimited`"
    )
