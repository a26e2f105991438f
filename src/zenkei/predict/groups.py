"""A bounded tree of groups, each with what ended and what was lost from sight, per bin.

Used by `durations` only. Pure. The root stands in row 0; a group is named by its parent's row and
its label. Evidence goes to every group of a path, so the parent knows all that its children do and
the eviction of a child loses no total. Old evidence fades: each new run counts `1 + 1 / memory`
times the one before, and sums are read relative to the last one's weight.

Cost: `add` O(depth); eviction O(1), because a path is touched from its end to the root: the group
unused longest never has children.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from zenkei.predict.survival import BINS, FloatArray

ROOT: Final = 0
_GREATEST_WEIGHT: Final = 1e12


class Groups:
    """limit: groups at most, the root included. memory: runs after which evidence counts 1/e."""

    def __init__(self, limit: int, memory: float) -> None:
        if limit <= 1:
            raise ValueError(f"a tree of {limit} groups has no room below its root")
        self.limit = limit
        self.growth = 1.0 + 1.0 / memory
        self.rows: OrderedDict[tuple[int, str], int] = OrderedDict({(-1, ""): ROOT})
        self.ended: FloatArray = np.zeros((16, BINS))
        self.cut: FloatArray = np.zeros((16, BINS))
        self.weights: list[float] = [1.0]
        self._vacant: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, labels: Sequence[str]) -> list[int]:
        """Rows from the root down to the narrowest group of the path that is known."""
        return find(self.rows, labels)

    def add(self, labels: Sequence[str], place: int, *, cut: bool) -> None:
        """One run more in bin `place` for all groups of the path, made where they are new."""
        keys = [(-1, "")]
        for label in labels[: self.limit - 1]:
            keys.append((self._row(keys), label))
        self._row(keys)
        counts = self.cut if cut else self.ended
        for row in map(self.rows.__getitem__, keys):
            self.weights[row] *= self.growth
            counts[row, place] += self.weights[row]
            if self.weights[row] > _GREATEST_WEIGHT:
                self._rescale(row)

    def total(self, labels: Sequence[str] = ()) -> float:
        """Runs that the narrowest known group of the path remembers, faded ones in part."""
        row = self.find(labels)[-1]
        return float((self.ended[row].sum() + self.cut[row].sum()) / self.weights[row])

    def items(self) -> Iterator[tuple[tuple[int, str], int]]:
        """Groups, the one unused longest first."""
        return iter(self.rows.items())

    def put(self, key: tuple[int, str], row: int, weight: float) -> None:
        """A group of a state that is read again; rows may come in any order."""
        while len(self.weights) <= row:
            self.weights.append(1.0)
        self._make_room(row)
        self.weights[row] = weight
        self.rows[key] = row
        self.rows.move_to_end(key)

    def settle(self) -> None:
        """After the last `put`: rows in between that nobody has are free."""
        held = set(self.rows.values())
        self._vacant = [row for row in range(len(self.weights)) if row not in held]

    def _row(self, keys: list[tuple[int, str]]) -> int:
        """The row of the path's last key; the whole path counts as used now."""
        row = self.rows.get(keys[-1], -1)
        if row < 0:
            row = self._new_row()
            self.rows[keys[-1]] = row
        for key in reversed(keys):
            self.rows.move_to_end(key)
        return row

    def _new_row(self) -> int:
        if len(self.rows) >= self.limit:
            _, row = self.rows.popitem(last=False)
        elif self._vacant:
            row = self._vacant.pop()
        else:
            row = len(self.weights)
            self.weights.append(1.0)
            self._make_room(row)
        self.ended[row] = 0.0
        self.cut[row] = 0.0
        self.weights[row] = 1.0
        return row

    def _make_room(self, row: int) -> None:
        while row >= len(self.ended):
            self.ended = np.concatenate((self.ended, np.zeros_like(self.ended)))
            self.cut = np.concatenate((self.cut, np.zeros_like(self.cut)))

    def _rescale(self, row: int) -> None:
        self.ended[row] /= self.weights[row]
        self.cut[row] /= self.weights[row]
        self.weights[row] = 1.0


def find(rows: dict[tuple[int, str], int], labels: Sequence[str]) -> list[int]:
    """Rows of the groups of a path, from the root as far as they are known."""
    found = [ROOT]
    for label in labels:
        row = rows.get((found[-1], label))
        if row is None:
            break
        found.append(row)
    return found
