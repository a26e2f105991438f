"""The nodes as if some jobs were not there, for a while. Used by `growth` and `capped`.

Pure. Cost: O(parts of the jobs), twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from zenkei.model.resources import Free
from zenkei.scheduler.index import NodeRow
from zenkei.scheduler.known import Known


@contextmanager
def absent(known: Known, jobs: Iterable[int]) -> Iterator[tuple[str, ...]]:
    """Inside, what `jobs` hold on nodes that take work is free there. Gives the names of these."""
    before: dict[str, tuple[NodeRow, Free]] = {}
    try:
        for job in jobs:
            for name in known.nodes_of(job):
                row = known.index.rows.get(name)
                if row is not None:
                    before.setdefault(name, (row, row.free.copy()))
                    _give_back(known, row, job)
        yield tuple(before)
    finally:
        for row, free in before.values():
            row.free = free
            known.index.move(row)


def _give_back(known: Known, row: NodeRow, job: int) -> None:
    free, blocked = row.free, row.node.blocked
    for part in known.parts_of(job, row.node.name):
        free.cpu_milli += part.cpu_milli
        free.memory_bytes += part.memory_bytes
        free.tmp_bytes += part.tmp_bytes
        for index, milli in part.devices:
            if index < len(free.gpu_milli) and index not in blocked:
                free.gpu_milli[index] += milli
    known.index.move(row)
