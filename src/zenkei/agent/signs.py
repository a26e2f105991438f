"""Signs of progress of one attempt on one node: output, metrics, steps, files; called by `hang`.

Output is heard when it is read; metrics and files are looked at. Steps are counted apart: who
reports them shows a rhythm that is surely that of the work. Cost: a stat per rank, and a scan of
at most MOST_FILES entries where there has been no output.
"""

from __future__ import annotations

import os
from typing import Iterable

from zenkei.protocol import metrics, names

MOST_FILES = 300
DEEPEST = 3
_FOLDERS = (names.OUTPUTS_DIR, names.CHECKPOINTS_DIR, names.MARKERS_DIR)


class Signs:
    """Current directory: that of the attempt on this node."""

    def __init__(self) -> None:
        self.steps = 0
        self._sizes: dict[int, int] = {}
        self._step: dict[int, int] = {}
        self._files: tuple[int, int, int] | None = None

    def of_metrics(self, ranks: Iterable[int]) -> bool:
        """True if a rank has reported something since the last call."""
        grew = False
        for rank in ranks:
            path = f"{names.METRICS_SUBDIR}/{rank}"
            try:
                size = os.stat(path).st_size
            except OSError:
                continue
            if size <= self._sizes.get(rank, 0):
                continue
            grew = True
            self._sizes[rank] = size
            self._count_step(rank, path, size)
        return grew

    def _count_step(self, rank: int, path: str, size: int) -> None:
        """The last whole record tells the step."""
        try:
            with open(path, "rb") as file:
                file.seek(size // metrics.SIZE * metrics.SIZE - metrics.SIZE)
                record = file.read(metrics.SIZE)
        except (OSError, ValueError):
            return
        if len(record) < metrics.SIZE:
            return
        _, step, _, _, kind = metrics.RECORD.unpack(record)
        if kind == metrics.POINT and step not in (metrics.NO_STEP, self._step.get(rank)):
            self._step[rank] = step
            self.steps += 1

    def of_files(self) -> bool:
        """True if a file of the job's output or of its checkpoints has changed."""
        found = _scan()
        changed = self._files is not None and found != self._files
        self._files = found
        return changed


def _scan() -> tuple[int, int, int]:
    """How many files, their bytes, the newest change."""
    count = size = newest = 0
    todo = [(folder, 1) for folder in _FOLDERS]
    while todo and count < MOST_FILES:
        folder, depth = todo.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    count += 1
                    size += status.st_size
                    newest = max(newest, status.st_mtime_ns)
                    if depth < DEEPEST and entry.is_dir(follow_symlinks=False):
                        todo.append((entry.path, depth + 1))
                    if count >= MOST_FILES:
                        break
        except OSError:
            continue
    return count, size, newest
