"""Attempts given up on a node: what of their records still counts, and when they are gone.

Called by `runs`. A fence keeps how many records of the node had been read when it was set; later
ones are refused, and the attempt counts as ended and gone there. It is cleared when the records say
that nothing is left, or the machine was started anew, and forgotten when the caller knows. One file
for the place, written whole. Cost: nothing while there is no fence.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.protocol import records
from zenkei.protocol.records import Record

PROOF = "fenced"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """taken: how many records of the node count. cleared: nothing of it is left there."""

    attempt: AttemptId
    rank: int
    node: str
    boot_id: str
    taken: int
    cleared: bool = False


class Fences:
    """Thread-safe. Durable on return, except for `cleared`, which is found again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._known: dict[tuple[AttemptId, int], Fence] = {}
        for fields in _read(path):
            fence = Fence(**{**fields, "attempt": AttemptId.parse(fields["attempt"])})
            self._known[fence.attempt, fence.rank] = fence

    def put(self, fence: Fence) -> bool:
        """False if there is one already."""
        with self._lock:
            if (fence.attempt, fence.rank) in self._known:
                return False
            self._known[fence.attempt, fence.rank] = fence
            self._write()
        return True

    def lift(self, attempt: AttemptId, node: str) -> None:
        with self._lock:
            keys = [key for key, f in self._known.items() if (f.attempt, f.node) == (attempt, node)]
            for key in keys:
                del self._known[key]
            if keys:
                self._write()

    def get(self, attempt: AttemptId, rank: int) -> Fence | None:
        with self._lock:
            return self._known.get((attempt, rank))

    def all(self) -> tuple[Fence, ...]:
        with self._lock:
            return tuple(self._known.values())

    def clear(self, fence: Fence) -> None:
        with self._lock:
            if (fence.attempt, fence.rank) in self._known:
                self._known[fence.attempt, fence.rank] = replace(fence, cleared=True)

    def of(self, attempt: AttemptId, rank: int, spool: list[Record]) -> list[Record]:
        """What counts of a node's records: all, or those before the fence and an end."""
        fence = self.get(attempt, rank)
        if fence is None:
            return spool
        taken = [record for record in spool if record["seq"] <= fence.taken]
        kinds = {record["kind"] for record in taken}
        if records.EXITED not in kinds:
            taken.append(_exited(fence))
        if records.RELEASED not in kinds:
            taken.append(_record(fence, records.RELEASED, proof=PROOF))
        return taken

    def _write(self) -> None:
        """Called with the lock held."""
        rows = [{**asdict(fence), "attempt": str(fence.attempt)} for fence in self._known.values()]
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(rows), encoding="utf-8")
        draft.rename(self._path)


def fenced_attempts(path: Path) -> list[AttemptId]:
    """Attempts that may still live somewhere: what they left must stay."""
    return [AttemptId.parse(fields["attempt"]) for fields in _read(path)]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return found if isinstance(found, list) else []


def _exited(fence: Fence) -> Record:
    return _record(
        fence,
        records.EXITED,
        reason=str(StopReason.NODE_LOST),
        code=None,
        signal=0,
        rank=-1,
        detail=f"nothing is known of it on {fence.node}: the node was fenced",
        cause_us=0,
    )


def _record(fence: Fence, kind: str, **fields: Any) -> Record:
    return {"kind": kind, "attempt": str(fence.attempt), "node": fence.rank, **fields}
