"""How a version becomes visible on a node: the best means that works, and why no better one.

Called by `service`. Each rung is tried, never guessed at from versions of kernels; what refused it
is told in words. The rungs: a read-only EROFS mount over the packs from files (root, Linux 6.12 and
later); the same through loop devices (root, older kernels); a private copy (always).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from zenkei.data.node import loops, mounting
from zenkei.data.node.cache import Cache, Record
from zenkei.data.node.image import NoImage
from zenkei.data.node.unpack import PackGone, unpack

_TRIES = 3


class Means(StrEnum):
    """What a job sees. EROFS and LOOP: it gets EROFS when it writes. COPY: its own to change."""

    EROFS = "erofs"
    LOOP = "erofs-loop"
    COPY = "copy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    means: Means
    taken: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """path: where the tree is. rungs: those that were tried, in order; the last one is taken."""

    path: Path
    rungs: tuple[Rung, ...]

    @property
    def means(self) -> Means:
        return self.rungs[-1].means

    @property
    def why(self) -> str:
        return "; ".join(f"{rung.means}: {rung.why}" for rung in self.rungs)


def show(
    cache: Cache, digest: str, copy_to: Path, *, allowed: frozenset[Means], finished: bool = False
) -> Shown:
    """Fetch what is missing and make the tree visible. The caller holds the version.

    allowed: means to try; a copy always is. finished: a copy at `copy_to` is this holder's own.
    """
    for left in reversed(range(_TRIES)):
        record = cache.fill(digest)
        try:
            return _show(cache, digest, record, copy_to, allowed, finished)
        except (FileNotFoundError, PackGone):
            # evicted between the look and the use
            if not left:
                raise
    raise AssertionError


def _show(
    cache: Cache,
    digest: str,
    record: Record,
    copy_to: Path,
    allowed: frozenset[Means],
    finished: bool,
) -> Shown:
    rungs: list[Rung] = []
    for means, mount in ((Means.EROFS, mounting.mount_image), (Means.LOOP, loops.mount_image)):
        if means not in allowed:
            rungs.append(Rung(means=means, taken=False, why="not asked for"))
            continue
        why = _mount(cache, digest, record, mount)
        rungs.append(Rung(means=means, taken=not why, why=why or "read-only, over the packs"))
        if not why:
            return Shown(path=cache.layout.mount(record.name), rungs=tuple(rungs))
    if not finished:
        unpack(cache.table(digest), cache.packs(record), copy_to)
    rungs.append(Rung(means=Means.COPY, taken=True, why="private, writes stay in it"))
    return Shown(path=copy_to, rungs=tuple(rungs))


def _mount(
    cache: Cache, digest: str, record: Record, mount: Callable[[Path, list[Path], Path], None]
) -> str:
    """Why it could not be mounted; empty if it is."""
    at = cache.layout.mount(record.name)
    with cache.claims.held(f"mount-{record.name}"):
        at.mkdir(mode=0o700, exist_ok=True)
        if mounting.is_mount(at):
            return ""
        try:
            mount(cache.image(digest), cache.packs(record), at)
        except (NoImage, mounting.NotMounted) as refused:
            if isinstance(refused, mounting.NotMounted) and refused.is_missing:
                raise FileNotFoundError(str(refused)) from refused
            return str(refused)
    return ""
