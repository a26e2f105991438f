"""Places that keep things, as doubles that remember what they were told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zenkei.model.data import Digest, Manifest
from zenkei.model.errors import Conflict, NotFound
from zenkei.model.ids import JobId
from zenkei.ports.trees import LeftOut


def digest(letter: str) -> Digest:
    """A digest that begins with `letter`."""
    return Digest("b3:" + letter.ljust(64, "0"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """An environment; see ports.upkeep.EnvironmentRow."""

    lock: Digest
    python: str = "3.11.7"
    packages: tuple[str, ...] = ("numpy==2.0",)
    size_bytes: int = 1000
    built_at_us: int = 1
    used_at_us: int = 2
    state: str = "ready"
    path: str = "/envs/x"


@dataclass(kw_only=True)
class EnvironmentsDouble:
    """in_use: what the last call that removes was told."""

    rows: list[Row] = field(default_factory=list)
    in_use: frozenset[Digest] = frozenset()
    cleared: list[bool] = field(default_factory=list)

    def list(self) -> Sequence[Row]:
        return tuple(self.rows)

    def show(self, lock: Digest) -> Sequence[Row]:
        found = tuple(row for row in self.rows if row.lock == lock)
        if not found:
            raise NotFound("no-such-environment", f"no environment {lock}")
        return found

    def remove(self, lock: Digest, in_use: frozenset[Digest]) -> int:
        self.in_use = in_use
        if lock in in_use:
            raise Conflict("environment-in-use", f"{lock} is in use")
        freed = sum(row.size_bytes for row in self.show(lock))
        self.rows = [row for row in self.rows if row.lock != lock]
        return freed

    def gc(self, in_use: frozenset[Digest], *, cache: bool = False) -> int:
        self.in_use = in_use
        self.cleared.append(cache)
        freed = sum(row.size_bytes for row in self.rows if row.lock not in in_use)
        self.rows = [row for row in self.rows if row.lock in in_use]
        return freed

    def refresh(self) -> int:
        return 3

    def occupied(self) -> tuple[int, int]:
        return sum(row.size_bytes for row in self.rows), 77


@dataclass(kw_only=True)
class CollectorDouble:
    """roots, trees: of the last collection."""

    roots: frozenset[Digest] = frozenset()
    trees: frozenset[Digest] = frozenset()
    exported: list[tuple[Path, bool]] = field(default_factory=list)

    def collect(self, roots: Iterable[Digest], trees: Iterable[Digest]) -> tuple[int, int]:
        self.roots, self.trees = frozenset(roots), frozenset(trees)
        return 5, 5000

    def export(self, manifest: Manifest, to: Path, *, overwrite: bool) -> tuple[LeftOut, ...]:
        self.exported.append((to, overwrite))
        return (LeftOut(path="link", why="points out"),)


@dataclass(kw_only=True)
class FoldersDouble:
    there: set[JobId] = field(default_factory=set)

    def jobs(self) -> tuple[JobId, ...]:
        return tuple(sorted(self.there))

    def remove(self, job: JobId) -> int:
        self.there.remove(job)
        return 100
