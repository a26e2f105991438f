"""Checkpoints from the nodes into the store of content, bounded in number, and back to a launch.

Called by the dispatcher: `keep` on its own lane, while the job runs or after its end: storing never
holds a device. A job with a checkpoint that is still being stored is not planned (`control.
planner`), so that its next attempt goes on from the newest one. Checkpoints of a job are kept in
the order of attempts and steps: what is older than one that is kept makes room for it.

SAVED → KEPT → PRUNED, or LOST with a reason. A full disk is waited for as long as it takes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from zenkei.control.draft import Draft
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.data import Checkpoint, CheckpointPart, CheckpointState, Digest
from zenkei.model.errors import (
    EngineError,
    NotFound,
    TemporaryEngineError,
    Unavailable,
    ZenkeiError,
)
from zenkei.model.event import Effect
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import CheckpointPolicy, Job, JobState
from zenkei.ports.engine import Engine, ResumePoint
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.ports.trees import Checkpoints, Piece, Trees

log = logging.getLogger(__name__)

MOST_TRIES = 5
"""After as many temporary failures a checkpoint is lost, with that reason."""
PATIENT = frozenset({"disk-full"})
MOST_DELAY_S = 60.0
EngineOf: TypeAlias = Callable[[Effect], Engine]
Key: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """Content of a checkpoint."""

    manifest: Digest
    files: int
    size_bytes: int


def attempt_of(point: Checkpoint) -> AttemptId:
    return AttemptId.parse(point.attempt)


def key_of(point: Checkpoint) -> Key:
    """In the order in which checkpoints of one job follow each other."""
    return attempt_of(point).number, point.step


def resume_point(store: Store, job: JobId) -> ResumePoint | None:
    """The newest checkpoint that is kept; None if there is none."""
    kept = [p for p in store.checkpoints(job) if p.state is CheckpointState.KEPT]
    if not kept:
        return None
    newest = max(kept, key=key_of)
    paths = {part.path for part in newest.parts}
    return ResumePoint(
        attempt=attempt_of(newest),
        step=newest.step,
        manifest=newest.manifest,
        path=paths.pop() if len(paths) == 1 else "",
    )


class Shared:
    """Checkpoints in the store that code and results are in; its collector sweeps, in its time."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees

    def trees(self, _job: JobId) -> Trees:
        return self._trees

    def sweep(self, _job: JobId, _keep: frozenset[Digest]) -> int:
        return 0


class CheckpointKeeper:
    """Thread-safe: of each job, one checkpoint at a time."""

    def __init__(self, *, store: Store, cache: SpecCache, checkpoints: Checkpoints) -> None:
        self._store = store
        self._specs = cache
        self._checkpoints = checkpoints
        self._busy = tuple(Lock() for _ in range(64))

    def keep(self, effects: list[Effect], engine_of: EngineOf) -> None:
        """Store what these effects name; of each job the newest first, it may spare the others."""
        by_job: dict[JobId, list[Effect]] = defaultdict(list)
        for effect in effects:
            by_job[effect.job].append(effect)
        for job, asked in by_job.items():
            with self._busy[hash(job) % len(self._busy)]:
                for effect in sorted(asked, key=lambda e: (e.attempt, e.step), reverse=True):
                    self._keep(effect, engine_of(effect))

    def lose(self, job: JobId, resume: ResumePoint, why: str) -> None:
        """A kept checkpoint was found damaged: from now on the one before it counts."""
        known = self._known(job)
        key = (resume.attempt.number, resume.step)
        left = max((k for k, p in known.items() if _is_kept(p) and k < key), default=None)
        log.warning("checkpoint lost attempt=%s step=%d why=%s", resume.attempt, resume.step, why)
        command = c.LoseCheckpoint(
            attempt=key[0], step=key[1], reason=why, left=left[1] if left else -1
        )
        rows = [_ended(known[key], CheckpointState.LOST, why)] if key in known else []
        self._commit(job, command, rows)

    # -- one checkpoint --------------------------------------------------------------------------

    def _keep(self, effect: Effect, engine: Engine) -> None:
        known, key = self._known(effect.job), (effect.attempt, effect.step)
        point, row = known.get(key), self._store.job(effect.job)
        if point is None or row is None or point.state is not CheckpointState.SAVED:
            self._commit(effect.job, None, [], effect)
            return
        newer = max((k for k, p in known.items() if _is_kept(p) and k > key), default=None)
        if newer is not None:
            why = f"step {newer[1]} of attempt {newer[0]} is kept in its place"
            self._end(effect, point, CheckpointState.PRUNED, why)
            self._discard(engine, known, [point])
            return
        try:
            stored = self._store_content(engine, point)
        except (ZenkeiError, EngineError, OSError) as error:
            again = isinstance(error, Unavailable | TemporaryEngineError)
            patient = isinstance(error, Unavailable) and error.code in PATIENT
            if patient or (again and effect.tries < MOST_TRIES):
                log.warning("keeping delayed key=%s why=%s", effect.key, error)
                self._later(effect, min(MOST_DELAY_S, 2.0 ** min(effect.tries + 1, 8)))
                return
            log.warning("checkpoint lost key=%s why=%s", effect.key, error)
            self._end(effect, point, CheckpointState.LOST, str(error))
            return
        self._kept(effect, row, point, stored, known, engine)

    def _store_content(self, engine: Engine, point: Checkpoint) -> _Stored:
        """Read, hash, copy. What was changed meanwhile is found by the second look."""
        attempt = attempt_of(point)
        places = engine.saved(attempt, point.step, point.parts)
        pieces = tuple(_piece(part, place) for part, place in zip(point.parts, places, strict=True))
        manifest, files, size_bytes = self._checkpoints.trees(attempt.job).gather(pieces)
        engine.saved(attempt, point.step, point.parts)
        return _Stored(manifest=manifest, files=files, size_bytes=size_bytes)

    def _kept(
        self,
        effect: Effect,
        row: Job,
        point: Checkpoint,
        stored: _Stored,
        known: dict[Key, Checkpoint],
        engine: Engine,
    ) -> None:
        known[key_of(point)] = kept = replace(
            point,
            state=CheckpointState.KEPT,
            manifest=stored.manifest,
            files=stored.files,
            size_bytes=stored.size_bytes,
        )
        command = c.KeepCheckpoint(
            attempt=effect.attempt,
            step=effect.step,
            manifest=stored.manifest,
            files=stored.files,
            size_bytes=stored.size_bytes,
        )
        pruned = self._surplus(row, known)
        self._commit(effect.job, command, [kept, *pruned], effect)
        self._discard(engine, known, pruned)
        self._sweep(effect.job, known)
        now = self._store.job(effect.job)  # the attempt may have ended while this was stored
        if now is not None and (now.attempt != effect.attempt or not now.state.holds_allocation):
            self._settle(now, effect.attempt, engine)

    def settle(self, effects: list[Effect], engine_of: EngineOf) -> None:
        """These attempts are over: what is kept need not lie on their nodes any more.

        A job that has succeeded keeps only the newest. Safe to repeat; never waits for a checkpoint
        that is being stored: whoever stores it does the same afterwards.
        """
        rows = self._store.rows_of(effect.job for effect in effects)
        for effect in effects:
            row = rows.get(effect.job)
            busy = self._busy[hash(effect.job) % len(self._busy)]
            if row is None or row.step < 0 or not busy.acquire(blocking=False):
                continue
            try:
                self._settle(row, effect.attempt, engine_of(effect))
            finally:
                busy.release()

    def _settle(self, row: Job, attempt: int, engine: Engine) -> None:
        known = self._known(row.id)
        pruned = self._surplus(row, known)
        if pruned:
            self._commit(row.id, None, pruned)
            self._sweep(row.id, known)
        own = {key: point for key, point in known.items() if key[0] == attempt}
        waiting = {key: point for key, point in own.items() if not _is_over(point)}
        self._discard(engine, waiting, [point for point in own.values() if _is_over(point)])

    def _surplus(self, row: Job, known: dict[Key, Checkpoint]) -> list[Checkpoint]:
        """Those that make room, as they are from now on; `known` is brought up to date."""
        policy = self._specs.get(row.spec).checkpoint or CheckpointPolicy()
        keep = 1 if row.state is JobState.SUCCEEDED else policy.keep
        kept = sorted((k for k, p in known.items() if _is_kept(p)), reverse=True)
        why = f"{keep} newer {'one is' if keep == 1 else 'are'} kept"
        pruned = [_ended(known[k], CheckpointState.PRUNED, why) for k in kept[keep:]]
        known.update({key_of(point): point for point in pruned})
        return pruned

    def _discard(
        self, engine: Engine, known: dict[Key, Checkpoint], pruned: list[Checkpoint]
    ) -> None:
        """Off the nodes as well; what another checkpoint uses too, or the program again, stays."""
        for point in pruned:
            others = [
                part
                for key, other in known.items()
                if key != key_of(point) and other.attempt == point.attempt
                for part in other.parts
            ]
            parts = tuple(part for part in point.parts if not any(_meet(part, o) for o in others))
            try:
                engine.discard(attempt_of(point), point.step, parts)
            except EngineError as error:
                log.info("checkpoint left on its nodes point=%s why=%s", point, error)

    def _sweep(self, job: JobId, known: dict[Key, Checkpoint]) -> None:
        """What the pruned and the lost ones had alone gives its room back. The job is locked."""
        keep = frozenset(point.manifest for point in known.values() if _is_kept(point))
        try:
            freed = self._checkpoints.sweep(job, keep)
        except (ZenkeiError, OSError) as error:
            log.warning("checkpoints not swept job=%s why=%s", job, error)
        else:
            log.info("checkpoints swept job=%s freed_bytes=%d", job, freed)

    # -- rows ------------------------------------------------------------------------------------

    def _known(self, job: JobId) -> dict[Key, Checkpoint]:
        return {key_of(point): point for point in self._store.checkpoints(job)}

    def _end(self, effect: Effect, point: Checkpoint, state: CheckpointState, why: str) -> None:
        row = self._store.job(effect.job)
        left = row.step if row is not None else -1
        lost = c.LoseCheckpoint(attempt=effect.attempt, step=effect.step, reason=why, left=left)
        self._commit(effect.job, lost, [_ended(point, state, why)], effect)

    def _commit(
        self,
        job: JobId,
        command: c.Command | None,
        rows: list[Checkpoint],
        effect: Effect | None = None,
    ) -> None:
        def decide(view: View) -> tuple[Changes, None]:
            draft = Draft(view)
            try:
                draft.job(job)
                if command is not None:
                    draft.advance(job, command)
                draft.changes.checkpoints.extend(rows)
            except NotFound:
                log.info("checkpoints of a forgotten job dropped job=%s", job)
            changes = draft.finish()
            if effect is not None:
                changes.done.append(effect.id)
            return changes, None

        self._store.submit(Unit(reads=Reads(jobs=(job,)), decide=decide)).result()

    def _later(self, effect: Effect, delay_s: float) -> None:
        def decide(_view: View) -> tuple[Changes, None]:
            return Changes(later=[(effect.id, delay_s)]), None

        self._store.submit(Unit(decide=decide)).result()


def _piece(part: CheckpointPart, place: str) -> Piece:
    root = Path(place).parents[part.path.count("/")]
    return Piece(node=part.node_rank, path=part.path, place=root)


def _is_kept(point: Checkpoint) -> bool:
    return point.state is CheckpointState.KEPT


def _is_over(point: Checkpoint) -> bool:
    return point.state is not CheckpointState.SAVED


def _ended(point: Checkpoint, state: CheckpointState, why: str) -> Checkpoint:
    return replace(point, state=state, reason=why)


def _meet(one: CheckpointPart, other: CheckpointPart) -> bool:
    """Whether removing one would take something of the other."""
    if one.node_rank != other.node_rank:
        return False
    return f"{one.path}/".startswith(f"{other.path}/") or f"{other.path}/".startswith(
        f"{one.path}/"
    )
