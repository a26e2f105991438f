"""What the supervisors of this place have recorded, read as it grows.

Called by `runs`. Sound records never change: what was read is kept, and never read again. Of the
checkpoints that were reported only the time is kept, or a job that saves very often would be gone
through from its beginning for each of them. Cost of a look: what was added since the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from zenkei.engines.local.layout import Layout
from zenkei.model.ids import AttemptId
from zenkei.protocol import names, records
from zenkei.protocol.records import Record


@dataclass(slots=True)
class _Spool:
    """Of an attempt on a node. count: of all records. told_us: by step, when it was saved."""

    path: Path
    reader: records.Reader
    kept: list[Record] = field(default_factory=list)
    count: int = 0
    told_us: dict[int, int] = field(default_factory=dict)

    def read(self, done: int) -> None:
        for record in self.reader.more():
            self.count += 1
            if record["kind"] == records.SAVED:
                self.told_us.setdefault(int(record["step"]), int(record["at_us"]))
            if not _is_done(record, done):
                self.kept.append(record)


def _is_done(record: Record, done: int) -> bool:
    """Whether nobody needs it: steps rise on each node. One that ends the attempt is kept."""
    return record["kind"] == records.SAVED and record["step"] <= done and "stop" not in record


class Spools:
    """Thread-safe. Callers forget attempts that are over."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = Lock()
        self._known: dict[tuple[AttemptId, int], _Spool] = {}
        self._done: dict[AttemptId, int] = {}

    def read(self, attempt: AttemptId, rank: int) -> list[Record]:
        """Sound records of a node, without checkpoints that were reported; none without a file."""
        with self._lock:
            return list(self._read(attempt, rank).kept)

    def count(self, attempt: AttemptId, rank: int) -> int:
        """Of all its sound records: the number of the last one."""
        with self._lock:
            return self._read(attempt, rank).count

    def told_us(self, attempt: AttemptId, rank: int, step: int) -> int:
        """When the ranks of a node had said that a step is saved; 0 if that is not known."""
        with self._lock:
            known = self._known.get((attempt, rank))
            if known is None:
                # it is over: nobody is going to ask for much
                known = self._open(attempt, rank)
            known.read(self._done.get(attempt, -1))
            return known.told_us.get(step, 0)

    def drop_saved(self, attempt: AttemptId, step: int) -> None:
        """Checkpoints up to this step were reported."""
        with self._lock:
            self._done[attempt] = max(step, self._done.get(attempt, -1))
            for (other, _), spool in self._known.items():
                if other == attempt:
                    spool.kept = [r for r in spool.kept if not _is_done(r, step)]

    def forget(self, attempt: AttemptId) -> None:
        with self._lock:
            self._done.pop(attempt, None)
            for key in [key for key in self._known if key[0] == attempt]:
                del self._known[key]

    def _read(self, attempt: AttemptId, rank: int) -> _Spool:
        found = self._known.get((attempt, rank))
        if found is None or found.path != self._layout.node(attempt, rank):
            found = self._known[attempt, rank] = self._open(attempt, rank)
        found.read(self._done.get(attempt, -1))
        return found

    def _open(self, attempt: AttemptId, rank: int) -> _Spool:
        path = self._layout.node(attempt, rank)
        return _Spool(path, records.Reader(str(path / names.SPOOL_FILE)))
