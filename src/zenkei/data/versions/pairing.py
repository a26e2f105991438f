"""Which row of one version has the path of which row of another. Called by `commit` and `compare`.

Directories that list the same names pair as slices; names are looked at one by one only where two
directories differ. Pure. A million rows in equal directories: 10 ms; in one that differs: 0.6 s.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Rows(Protocol):
    """VersionTable, or Scan."""

    @property
    def directories(self) -> tuple[bytes, ...]: ...

    @property
    def parents(self) -> NDArray[np.uint32]: ...

    @property
    def name_data(self) -> bytes: ...

    @property
    def name_starts(self) -> NDArray[np.uint64]: ...


def paired(now: Rows, old: Rows) -> NDArray[np.int64]:
    """For each row of `now` the row of `old` with the same path, or -1."""
    if (
        now.directories == old.directories
        and now.name_data == old.name_data
        and np.array_equal(now.name_starts, old.name_starts)
        and np.array_equal(now.parents, old.parents)
    ):
        return np.arange(len(now.parents), dtype=np.int64)
    result = np.full(len(now.parents), -1, np.int64)
    index = {path: at for at, path in enumerate(old.directories)}
    starts, old_starts = _bounds(now), _bounds(old)
    for at, path in enumerate(now.directories):
        other = index.get(path)
        if other is None:
            continue
        first, end = starts[at], starts[at + 1]
        old_first, old_end = old_starts[other], old_starts[other + 1]
        if first == end or old_first == old_end:
            continue
        if _same_names(now, first, end, old, old_first, old_end):
            result[first:end] = np.arange(old_first, old_end)
        else:
            names = _names(old, old_first, old_end)
            known = dict(zip(names, range(old_first, old_end), strict=True))
            result[first:end] = [known.get(name, -1) for name in _names(now, first, end)]
    return result


def _bounds(rows: Rows) -> list[int]:
    numbers = np.arange(len(rows.directories) + 1)
    bounds: list[int] = np.searchsorted(rows.parents, numbers).tolist()
    return bounds


def _same_names(now: Rows, first: int, end: int, old: Rows, old_first: int, old_end: int) -> bool:
    if end - first != old_end - old_first:
        return False
    mine = now.name_starts[first : end + 1]
    theirs = old.name_starts[old_first : old_end + 1]
    return bool(
        now.name_data[int(mine[0]) : int(mine[-1])]
        == old.name_data[int(theirs[0]) : int(theirs[-1])]
        and (mine - mine[0] == theirs - theirs[0]).all()
    )


def _names(rows: Rows, first: int, end: int) -> list[bytes]:
    starts = rows.name_starts[first : end + 1].tolist()
    data = rows.name_data
    return [data[a:b] for a, b in pairwise(starts)]
