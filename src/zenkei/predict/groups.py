"""A bounded tree of groups, each with the runs that ended and that were at risk, per bin.

Used by `durations` only. Pure. The root stands in row 0; a group is named by its parent's row and
its label. Evidence goes to every group of a path, so the parent knows all that its children do and
the eviction of a child loses no total. Cost: `add` O(depth); eviction O(1), because a path is
touched from its end to the root: the group unused longest never has children.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from zenkei.predict.survival import BINS, FloatArray

ROOT: Final = 0
ENDED: Final = 0
AT_RISK: Final = 1
NAMING: Final = frozenset("upnic")
"""Levels of `facts.path` that say who or what runs."""


class Groups:
    """limit: groups at most, the root included.

    counts: `[rows, ENDED or AT_RISK, BINS]`, zero from row `size` on. named: `[rows]`, whose runs
    somebody or something is named for, which is a longer memory than that of a mere queue.
    """

    def __init__(self, limit: int) -> None:
        if limit <= 1:
            raise ValueError(f"a tree of {limit} groups has no room below its root")
        self.limit = limit
        self.rows: OrderedDict[tuple[int, str], int] = OrderedDict({(-1, ""): ROOT})
        self.counts: FloatArray = np.zeros((16, 2, BINS))
        self.named = np.zeros(16, dtype=np.int64)
        self.size = 1

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, labels: Sequence[str]) -> list[int]:
        """Rows from the root down to the narrowest group of the path that is known."""
        return find(self.rows, labels)

    def add(self, labels: Sequence[str], seen: FloatArray, end: int | None) -> None:
        """A run for all groups of the path, made where they are new.

        seen: `[2, BINS]`, its weight in each bin that it entered and was seen to leave, in a group
        that is not named and in one that is. end: the bin in which it ended, if it did.
        """
        keys = [(-1, "")]
        for label in labels[: self.limit - 1]:
            keys.append((self._row(keys), label))
        self._row(keys)
        for key in keys:
            row = self.rows[key]
            weights = seen[self.named[row]]
            self.counts[row, AT_RISK] += weights
            if end is not None:
                self.counts[row, ENDED, end] += weights[end]

    def scale(self, named: int, by: float) -> None:
        """Multiply the weights of all groups that are named, or of all that are not."""
        self.counts[self.named == named] *= by

    def restore(self, kept: list[tuple[int, str, int]]) -> None:
        """Groups of a state that is read again, the one unused longest first; counts come after."""
        self.size = 1 + max(row for _, _, row in kept)
        self._make_room(self.size)
        # parents are used no less lately than their children
        for parent, label, row in reversed(kept):
            self._place((parent, label), row)
            self.rows.move_to_end((parent, label), last=False)

    def _place(self, key: tuple[int, str], row: int) -> None:
        parent, label = key
        self.rows[key] = row
        self.named[row] = label[:1] in NAMING or (parent >= 0 and self.named[parent])

    def _row(self, keys: list[tuple[int, str]]) -> int:
        """The row of the path's last key; the whole path counts as used now."""
        row = self.rows.get(keys[-1], -1)
        if row < 0:
            row = self._new_row()
            self._place(keys[-1], row)
        for key in reversed(keys):
            self.rows.move_to_end(key)
        return row

    def _new_row(self) -> int:
        if len(self.rows) >= self.limit:
            _, row = self.rows.popitem(last=False)
        else:
            row = self.size
            self.size += 1
            self._make_room(row)
        self.counts[row] = 0.0
        return row

    def _make_room(self, row: int) -> None:
        while row >= len(self.counts):
            self.named = np.concatenate((self.named, np.zeros_like(self.named)))
            self.counts = np.concatenate((self.counts, np.zeros_like(self.counts)))


def find(rows: dict[tuple[int, str], int], labels: Sequence[str]) -> list[int]:
    """Rows of the groups of a path, from the root as far as they are known."""
    found = [ROOT]
    for label in labels:
        row = rows.get((found[-1], label))
        if row is None:
            break
        found.append(row)
    return found
