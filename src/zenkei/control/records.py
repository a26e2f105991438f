"""The record of a job: all that is needed to say what ran, and to run it again. Pure.

Written when an attempt is sealed, read by `zenkei result record` and by `rerun`. Its keys are
stable and documented in `docs/reference/record.md`. Secrets appear by name only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from zenkei import spec as specs
from zenkei.control.orders import seed_of
from zenkei.lifecycle.history import Attempt, attempts
from zenkei.model.cluster import Node
from zenkei.model.data import GitState, Result
from zenkei.model.event import Event
from zenkei.model.job import Job, JobSpec

RECORD_VERSION = 1
UNCONTROLLED = (
    "threads of numerical libraries and the order of floating-point sums are not controlled",
    "GPU kernels may be non-deterministic unless the program selects deterministic ones",
)


def record_of(
    row: Job,
    spec: JobSpec,
    events: Iterable[Event],
    nodes: Mapping[str, Node],
    result: Result,
    version: str,
    git: GitState | None = None,
) -> dict[str, object]:
    """JSON document of one job as of its last attempt. git: of the code, if it is known."""
    tries = attempts(events)
    return {
        "record": RECORD_VERSION,
        "zenkei": version,
        "job": str(row.id),
        "name": row.name,
        "owner": row.owner,
        "project": row.project,
        "state": str(row.state),
        "spec": json.loads(specs.canonical(spec)),
        "spec_digest": row.spec,
        "params": row.params,
        "code": row.code,
        "source": row.source,
        "git": asdict(git) if git is not None else None,
        "environment": row.env,
        "seed": seed_of(row, spec.seed),
        "deterministic": spec.deterministic,
        "not_controlled": list(UNCONTROLLED),
        "rerun_of": row.rerun_of,
        "submitted_us": row.submitted_us,
        "attempts": [_attempt(attempt, nodes) for attempt in tries],
        "output": {
            "attempt": result.attempt,
            "state": str(result.state),
            "reason": result.reason,
            "manifest": result.output,
            "files": result.files,
            "bytes": result.size_bytes,
        },
    }


def _attempt(attempt: Attempt, nodes: Mapping[str, Node]) -> dict[str, object]:
    ended = attempt.exit
    return {
        "attempt": str(attempt.id),
        "cluster": attempt.cluster,
        "allocated_us": attempt.allocated_us,
        "started_us": attempt.started_us,
        "exited_us": attempt.exited_us,
        "released_us": attempt.released_us,
        "stop_reason": str(attempt.stop) if attempt.stop else None,
        "failure": str(attempt.failure) if attempt.failure else None,
        "exit_code": ended.code if ended else None,
        "signal": ended.signal if ended else 0,
        "detail": ended.detail if ended else "",
        "release_proof": attempt.proof,
        "nodes": [
            {
                "name": part.node,
                "cpu_milli": part.request.cpu_milli,
                "memory_bytes": part.request.memory_bytes,
                "devices": _devices(nodes.get(part.node), [s.index for s in part.devices]),
                **_hardware(nodes.get(part.node)),
            }
            for part in attempt.parts
        ],
    }


def _devices(node: Node | None, indices: list[int]) -> list[dict[str, object]]:
    if node is None:
        return [{"index": index} for index in indices]
    by_index = {device.index: device for device in node.capacity.devices}
    return [
        {"index": i, "kind": by_index[i].kind, "uuid": by_index[i].uuid}
        for i in indices
        if i in by_index
    ]


def _hardware(node: Node | None) -> dict[str, object]:
    if node is None:
        return {}
    return {
        "virtual": node.virtual,
        "labels": node.labels,
        "boot_id": node.boot_id,
        "node_cpu_milli": node.capacity.cpu_milli,
        "node_memory_bytes": node.capacity.memory_bytes,
    }
