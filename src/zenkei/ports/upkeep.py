"""What upkeep needs of places that keep things; implemented by `envs`, `data`, `engines`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from zenkei.model.data import Digest, Manifest
from zenkei.model.ids import AttemptId, JobId
from zenkei.ports.trees import LeftOut


class EnvironmentRow(Protocol):
    """An environment on this machine. state: ready, building, changed or missing."""

    @property
    def lock(self) -> Digest: ...
    @property
    def python(self) -> str: ...
    @property
    def packages(self) -> tuple[str, ...]: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def built_at_us(self) -> int: ...
    @property
    def used_at_us(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def path(self) -> str: ...


class Environments(Protocol):
    """in_use: locks of all unfinished jobs; what they name is never removed."""

    def list(self) -> Sequence[EnvironmentRow]: ...

    def show(self, lock: Digest) -> Sequence[EnvironmentRow]:
        """Those of one lock, each checked. Raises NotFound."""

    def remove(self, lock: Digest, in_use: frozenset[Digest]) -> int:
        """Bytes freed. Raises Conflict, NotFound."""

    def gc(self, in_use: frozenset[Digest], *, cache: bool = False) -> int:
        """Bytes freed; what was used within the hour stays. cache: the builder's cache goes too."""

    def refresh(self) -> int:
        """Forget the resolver's answers, so that each request is resolved anew; how many."""

    def occupied(self) -> tuple[int, int]:
        """Bytes of environments, bytes of the builder's cache."""


class Collector(Protocol):
    """Content that nothing refers to any more."""

    def collect(self, roots: Iterable[Digest], trees: Iterable[Digest]) -> tuple[int, int]:
        """Remove what no root reaches and no one has used for a day; trees: those to keep laid out.

        Returns how many contents went and how many bytes that freed.
        """

    def export(self, manifest: Manifest, to: Path, *, overwrite: bool) -> tuple[LeftOut, ...]:
        """Write a tree into a person's directory. Raises Conflict if files are in the way."""


class AttemptFolders(Protocol):
    """What attempts have left at the place where they ran: logs, metrics, working directories."""

    def jobs(self) -> tuple[JobId, ...]:
        """Jobs that have folders."""

    def remove(self, job: JobId) -> int:
        """Bytes freed; 0 and nothing removed while an attempt of the job is not retired."""


class Running(Protocol):
    """A command that runs. `close` may be called from another thread while `next` waits."""

    def next(self) -> tuple[str, bytes] | None:
        """`out` or `err` with bytes; then `exit` with the code as text; then None.

        Raises Conflict if the attempt ended before the command did.
        """

    def close(self) -> None:
        """End the command if it has not ended. Safe to repeat."""


Execute: TypeAlias = Callable[[AttemptId, int, int, tuple[str, ...], bytes], Running]
"""Run a command beside the ranks of a running attempt.

(attempt, node rank, rank on that node whose variables it gets, argv, its input). In the job's
working directory and environment, ended by `close`. Raises Conflict if the attempt does not run
there (any more).
"""
