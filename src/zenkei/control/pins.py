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
from zenkei.model.job import Job


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


def pins_of(rows: Iterable[Job], asked: int | None) -> tuple[Pins, ...]:
    """For each of `rows`, in order. asked: the seed of their spec."""
    return tuple(
        Pins(env=row.env, data=row.data, seed=seed_of(row, None) if asked is None else None)
        for row in rows
    )
