"""Removes from a depot what no version and no job names any more.

Called by `versions` for `zenkei dataset gc`. `keep` was read before this began: versions entered
since then are younger than the grace. Safe beside commits (`intents`) and beside readers of what is
kept; who reads a version that was just removed finds parts missing, and says so. Cost: a listing of
versions and packs, and the tables of the versions that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from zenkei.data.depots.depot import Depot, Stored
from zenkei.data.depots.intents import Alone, collection

GRACE_S: Final = 24 * 3600.0
Packs = Callable[[bytes], Iterable[str]]
"""The packs that the content of a version names; raises InvalidInput if it is damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What was removed, or with a dry run what would be. kept_bytes: of packs that stay."""

    versions: int
    packs: int
    freed_bytes: int
    kept_bytes: int
    dry_run: bool
    missing: tuple[str, ...] = ()
    """Versions in `keep` that are not there."""


def collect(
    depot: Depot,
    keep: Iterable[str],
    *,
    packs_of: Packs,
    grace_s: float = GRACE_S,
    dry_run: bool = False,
) -> Swept:
    """keep: digests of versions (`b3:…`).

    Raises InvalidInput, with nothing removed, if a version that stays is damaged: which packs it
    names would be unknown.
    """
    # in this order: the time, packs, versions; who puts a version touches its packs after it
    oldest_s = depot.now_s() - grace_s
    with collection(depot) as alone:
        if not dry_run:
            # first: what a collection that was killed had taken aside is listed again
            depot.remove_garbage()
        packs = list(depot.names("packs/"))
        kept = {digest.removeprefix("b3:") for digest in keep}
        versions = {stored.name.partition("/")[2]: stored for stored in depot.names("versions/")}
        gone = {v for v in versions if v not in kept and versions[v].modified_s < oldest_s}
        needed = {
            pack
            for version in versions.keys() - gone
            for pack in packs_of(depot.read(f"versions/{version}"))
        }
        dead = [p for p in packs if _hex(p) not in needed and p.modified_s < oldest_s]
        if not dry_run:
            # versions first: a version whose packs are gone must never be there
            gone = {v for v in sorted(gone) if _removed(depot, alone, versions[v])}
            dead = [pack for pack in dead if _removed(depot, alone, pack)]
        freed = sum(p.size for p in dead)
        return Swept(
            versions=len(gone),
            packs=len(dead),
            freed_bytes=freed + sum(versions[v].size for v in gone),
            kept_bytes=sum(p.size for p in packs) - freed,
            dry_run=dry_run,
            missing=tuple(sorted(f"b3:{v}" for v in kept - versions.keys())),
        )


def _removed(depot: Depot, alone: Alone, stored: Stored) -> bool:
    alone.check()
    return depot.remove_untouched(stored)


def _hex(stored: Stored) -> str:
    return stored.name.partition("/")[2]
