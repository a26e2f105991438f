"""What a repeated job takes over from the one it repeats, so that nothing is looked up anew.

Called by `commands`. The code's digest travels beside it. An environment that was locked stays that
lock, whatever has been published since; data stay those versions, wherever their tags point now; a
seed that was made of the old job's id stays that number. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zenkei.control.orders import seed_of
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict
from zenkei.model.job import Job, JobSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """env, data: empty where the old job had come to none. seed: None if the spec has one."""

    env: Digest = Digest("")
    data: Digest = Digest("")
    seed: int | None = None


NONE = Pins()


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """of: the old job or array. only: a single member with these parameters, whatever the matrix.

    pins: of each member, in order.
    """

    of: str
    only: dict[str, str] | None
    pins: tuple[Pins, ...]


def refuse_missing(row: Job, spec: JobSpec) -> None:
    """Raises Conflict for a job that was imported without data that it needs."""
    if row.origin and spec.datasets and not row.data:
        raise Conflict(
            "data-not-here",
            f"job {row.id} was imported without its data, and they are not here",
            hint=f"`zenkei result show {row.id}` names the digests; import a capsule that has the "
            "data, or commit the same files as a dataset, then import this one again",
        )


def pins_of(rows: Iterable[Job], asked: int | None) -> tuple[Pins, ...]:
    """For each of `rows`, in order. asked: the seed of their spec."""
    return tuple(
        Pins(env=row.env, data=row.data, seed=seed_of(row, None) if asked is None else None)
        for row in rows
    )
