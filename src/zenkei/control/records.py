"""The record of a job: all that is needed to say what ran, and to run it again. Pure.

Written when an attempt is sealed, read by `zenkei result record` and by `rerun`. Its keys are
stable and documented in `docs/reference/record.md`. Secrets appear by name only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import orjson

from zenkei import spec as specs
from zenkei.control.orders import seed_of
from zenkei.control.progress import Steps, document, progress_of
from zenkei.control.starts import Starts
from zenkei.lifecycle.history import Attempt, attempts
from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import Checkpoint, Digest, GitState, Result
from zenkei.model.dataset import DatasetPin
from zenkei.model.event import Event
from zenkei.model.job import Job, JobSpec

RECORD_VERSION = 1
SILENT = Starts()
UNCONTROLLED = (
    "generators made without a seed (numpy's default_rng(), os.urandom) are the program's own",
    "threads of numerical libraries and the order of floating-point sums are not controlled",
    "GPU kernels may be non-deterministic unless the program selects deterministic ones",
)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Checkpoints of a job; steps that an attempt has reported (`control.progress`)."""

    points: tuple[Checkpoint, ...]
    steps: Callable[[Attempt], Steps]

    def of(self, attempt: Attempt) -> dict[str, object]:
        return document(progress_of(attempt, self.points, self.steps(attempt)))


class Records:
    """Makes the records of a batch: what its jobs share (spec, nodes) is put into words once.

    version: zenkei's own. pins: the list of dataset versions behind its digest. told: specs in
    words by digest, for whoever makes several batches.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        version: str,
        pins: Callable[[Digest], Iterable[DatasetPin]] = lambda _digest: (),
        told: dict[Digest, dict[str, object]] | None = None,
    ) -> None:
        self._pins = pins
        self._nodes = nodes
        self._version = version
        self._specs = {} if told is None else told
        self._parts: dict[NodePart, dict[str, object]] = {}

    def document(
        self,
        row: Job,
        spec: JobSpec,
        events: Iterable[Event],
        result: Result,
        git: GitState | None = None,
        saved: Saved | None = None,
        starts: Starts = SILENT,
    ) -> dict[str, object]:
        """JSON document of one job as of its last attempt. git: of the code, if it is known.

        saved: what is known of its progress, if it can save checkpoints. starts: what its Pythons
        have said of themselves.
        """
        return {
            "record": RECORD_VERSION,
            "zenkei": self._version,
            "job": str(row.id),
            "name": row.name,
            "owner": row.owner,
            "project": row.project,
            "state": row.state,
            "spec": self._spec(row.spec, spec),
            "spec_digest": row.spec,
            "params": row.params,
            "code": row.code,
            "source": row.source,
            "git": asdict(git) if git is not None else None,
            "environment": row.env,
            "data": row.data,
            "datasets": self.datasets(row.data, {}),
            "seed": seed_of(row, spec.seed),
            "deterministic": spec.deterministic,
            "not_controlled": UNCONTROLLED,
            "start_hook": starts.document(spec),
            "imported": starts.imported,
            "rerun_of": row.rerun_of,
            "submitted_us": row.submitted_us,
            "attempts": [self._attempt(attempt, saved) for attempt in attempts(events)],
            "checkpoints": [_checkpoint(point) for point in saved.points] if saved else [],
            "output": {
                "attempt": result.attempt,
                "state": result.state,
                "reason": result.reason,
                "manifest": result.output,
                "files": result.files,
                "bytes": result.size_bytes,
            },
        }

    def datasets(self, data: Digest, dealt: Mapping[str, str]) -> list[dict[str, object]]:
        """dealt: digests of the rows of each split, by the dataset's place."""
        pins = self._pins(data)
        return [{**asdict(pin), "rows_digest": dealt.get(pin.at, "")} for pin in pins]

    def _spec(self, digest: Digest, spec: JobSpec) -> dict[str, object]:
        if digest not in self._specs:
            self._specs[digest] = json.loads(specs.canonical(spec))
        return self._specs[digest]

    def _attempt(self, attempt: Attempt, saved: Saved | None) -> dict[str, object]:
        ended = attempt.exit
        return {
            "attempt": str(attempt.id),
            "cluster": attempt.cluster,
            "allocated_us": attempt.allocated_us,
            "started_us": attempt.started_us,
            "exited_us": attempt.exited_us,
            "released_us": attempt.released_us,
            "stop_reason": attempt.stop,
            "failure": attempt.failure,
            "exit_code": ended.code if ended else None,
            "signal": ended.signal if ended else 0,
            "detail": ended.detail if ended else "",
            "release_proof": attempt.proof,
            "nodes": [self._part(part) for part in attempt.parts],
            "progress": saved.of(attempt) if saved else None,
        }

    def _part(self, part: NodePart) -> dict[str, object]:
        found = self._parts.get(part)
        if found is None:
            node = self._nodes.get(part.node)
            found = self._parts[part] = {
                "name": part.node,
                "cpu_milli": part.request.cpu_milli,
                "memory_bytes": part.request.memory_bytes,
                "devices": _devices(node, [share.index for share in part.devices]),
                **_hardware(node),
            }
        return found


def _checkpoint(point: Checkpoint) -> dict[str, object]:
    return {
        "attempt": point.attempt,
        "step": point.step,
        "state": point.state,
        "reason": point.reason,
        "manifest": point.manifest,
        "files": point.files,
        "bytes": point.size_bytes,
        "saved_us": point.at_us,
    }


def encode(document: dict[str, object]) -> bytes:
    """JSON with its keys in order, so that the same record is the same content."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # lone surrogates: names that are no UTF-8
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "surrogateescape")


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
