"""Policies by name, as the cluster files that mean them. Called by `zenkei sim run` and benches.

They are applied as an operator would: what is simulated is the production planner, not a copy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zenkei.model.errors import InvalidInput, NotFound

POLICIES: Final = {
    "fifo": "policy: {order: fifo, placement: best_fit, preempt: false, reserve_gangs: 0}",
    "fifo-strict": (
        "policy: {order: fifo, placement: best_fit, preempt: false, reserve_gangs: 0,"
        " backfill: false}"
    ),
    "fairshare": "policy: {order: fair}",
    "learned": (
        "policy: {order: learned, protect: 3m, most_preemptions: 1000, reserve_gangs: 0,"
        " restart: 30s}"
    ),
}
"""fifo: later jobs start whenever they fit. fifo-strict: who is blocked blocks all behind.

learned: who ends soonest for its GPUs is first and may displace others, by what has ended so far.
"""
SUFFIXES: Final = (".yaml", ".yml")


def cluster_file(policy: str) -> tuple[bytes, str]:
    """Text and name of a cluster's file: of a policy by name, or what stands in a file.

    Raises InvalidInput for a name that is no policy's, NotFound for a file that is not there.
    """
    if policy in POLICIES:
        return POLICIES[policy].encode(), f"{policy}.yaml"
    if not policy.endswith(SUFFIXES):
        known = ", ".join(POLICIES)
        raise InvalidInput(
            "unknown-policy",
            f"`{policy[:60]}` is no policy",
            hint=f"one of {known}, or a cluster file such as cluster.yaml",
        )
    try:
        return Path(policy).read_bytes(), policy
    except OSError as error:
        why = error.strerror or str(error)
        raise NotFound(
            "no-such-policy-file", f"`{policy}` cannot be read: {why}", hint="`zenkei cluster init`"
        ) from error
