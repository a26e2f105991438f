"""`record.md`: the keys of a record, found by making one; their texts are written by hand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tools.docs.markdown import code, page, table
from zenkei import spec as specs
from zenkei.control.progress import Steps
from zenkei.control.records import RECORD_VERSION, Records, Saved
from zenkei.model import event as e
from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import (
    Checkpoint,
    CheckpointState,
    Digest,
    GitState,
    Result,
    ResultState,
)
from zenkei.model.ids import JobId
from zenkei.model.job import Exit, FailureClass, Job, JobState, StopReason
from zenkei.model.resources import Capacity, Device, DeviceShare, Request

TEXTS = Path(__file__).with_name("record_texts.toml")
INTRO = """
Every sealed attempt has a record: one JSON document that says what ran, where, with what, and how
it ended. `zenkei result record JOB` prints it. Secrets appear by name only. Times are microseconds
since the epoch, UTC. Digests name content in zenkei's store. The version of these keys is
{version}; keys are added, never renamed or removed within a version.
"""
OPEN = frozenset({"spec", "params", "labels", "imported"})
"""Keys below which the author of the job or of the node chooses the names."""


def texts() -> dict[str, str]:
    return tomllib.loads(TEXTS.read_text("utf-8"))


def differences(written: dict[str, str]) -> list[str]:
    keys = set(paths(sample()))
    missing = [
        f"key `{key}` of the record has no text in {TEXTS.name}" for key in keys - set(written)
    ]
    stale = [f"{TEXTS.name} explains `{key}`, which no record has" for key in set(written) - keys]
    return sorted(missing + stale)


def record(written: dict[str, str]) -> str:
    rows = [[code(path), written[path]] for path in paths(sample())]
    return page(
        "Record",
        INTRO.format(version=RECORD_VERSION),
        table(["key", "meaning"], rows),
    )


def paths(value: object, prefix: str = "") -> list[str]:
    """Dotted names of all keys, in order; lists by `[]`."""
    if isinstance(value, list):
        return paths(value[0], f"{prefix}[]") if value else []
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for key, inner in value.items():
        path = f"{prefix}.{key}" if prefix else key
        found.append(path)
        if key not in OPEN:
            found += paths(inner, path)
    return found


def sample() -> dict[str, Any]:
    """The record of a job that ended well, on one node with one GPU."""
    spec = specs.parse(
        b"command: 'true'\nresources: {gpus: 1}\ncheckpoint: true\n", file="job.yaml"
    )
    job = JobId(1)
    part = NodePart(
        node="n", request=Request(gpu_count=1, gpu_milli=1000), devices=(DeviceShare(0, 1000),)
    )
    bodies: list[e.EventBody] = [
        e.Allocated(attempt=1, cluster="local", parts=(part,)),
        e.Started(attempt=1),
        e.Exited(attempt=1, reason=StopReason.COMPLETED, exit=Exit(code=0)),
        e.Released(attempt=1, next=JobState.SUCCEEDED, failure=FailureClass.NONE),
    ]
    events = [e.Event(job=job, version=i, at_us=i, body=b) for i, b in enumerate(bodies, 1)]
    node = Node(
        name="n",
        cluster="local",
        capacity=Capacity(
            cpu_milli=1, memory_bytes=1, tmp_bytes=1, devices=(Device(index=0, kind="k"),)
        ),
    )
    result = Result(attempt="1/1", state=ResultState.SEALED)
    made = Records({"n": node}, "0")
    point = Checkpoint(attempt="1/1", step=1, state=CheckpointState.KEPT)
    saved = Saved(points=(point,), steps=lambda _attempt: Steps(first=1, last=1))
    return made.document(_row(job), spec, events, result, GitState(), saved)


def _row(job: JobId) -> Job:
    return Job(
        id=job,
        state=JobState.SUCCEEDED,
        version=1,
        spec=Digest(""),
        project="default",
        owner="me",
        name="n",
        queue="default",
        priority=0,
        submitted_us=1,
        changed_us=1,
    )
