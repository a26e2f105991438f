"""Makes a submission ready: environment locked and realised, code laid out, then PENDING.

Called by the dispatcher on a worker of the build lane; may take minutes. One preparation serves all
members of a submission. The places that need the artefacts are prepared before any device is held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Datasets
from zenkei.control.draft import Draft
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetPin
from zenkei.model.errors import (
    PermanentEngineError,
    TemporaryEngineError,
    Unavailable,
    ZenkeiError,
)
from zenkei.model.event import Effect
from zenkei.model.job import FailureClass, Job, JobSpec, JobState
from zenkei.ports.builder import Builder
from zenkei.ports.engine import Artefact, ArtefactKind, Engine
from zenkei.ports.store import Changes, Reads, Store, Unit, View

log = logging.getLogger(__name__)

MOST_TRIES = 6
"""Temporary failures of an index or a place before the preparation is given up.

A full disk is waited for as long as it takes, as by jobs that are ready: the job can do nothing
about it."""
MOST_DELAY_S = 60.0


class DataPreparer:
    """Pins the datasets of a job, in the name of its owner. whose: the person of a name."""

    def __init__(
        self, datasets: Datasets, pins: PinCache, whose: Callable[[str], Principal]
    ) -> None:
        self._datasets = datasets
        self._pins = pins
        self._whose = whose

    def pin(self, row: Job, spec: JobSpec) -> tuple[Digest, tuple[DatasetPin, ...]]:
        """The list's digest, and the list. Raises NotFound for what the owner may not read.

        A job that repeats another one keeps its versions; whether they may be read is asked anew.
        """
        who = self._whose(row.owner)
        if row.data:
            pins = self._pins.get(row.data)
            self._datasets.check(who, pins)
            return row.data, pins
        pins = self._datasets.pin(who, spec.datasets)
        return self._pins.put(pins), pins


class Preparer:
    """progress(number, line): what a follower of the job is shown meanwhile."""

    def __init__(
        self,
        *,
        store: Store,
        cache: SpecCache,
        engines: Mapping[str, Engine],
        builder: Builder,
        data: DataPreparer,
        progress: Callable[[int, str], None],
    ) -> None:
        self._store = store
        self._specs = cache
        self._engines = engines
        self._builder = builder
        self._data = data
        self._progress = progress

    def prepare(self, effect: Effect) -> float | None:
        """Prepare a submission; returns a delay in seconds if it must be tried again."""
        number = effect.job.number
        waiting = [r for r in self._store.members(number) if r.state is JobState.PREPARING]
        if not waiting:
            self._commit(effect, lambda row: None)
            return None
        try:
            env, data = self._realise(number, waiting[0])
        except (Unavailable, TemporaryEngineError) as error:
            is_full = _is_full(error)
            if effect.tries < MOST_TRIES or is_full:
                log.warning("preparation delayed job=%s why=%s", number, error)
                self._progress(number, f"waiting to try again: {error}")
                growing_s = min(MOST_DELAY_S, 2.0 ** min(effect.tries + 1, 8))
                return growing_s if is_full else getattr(error, "delay_s", growing_s)
            failed = c.FailPreparation(message=_say(error), failure=FailureClass.INFRASTRUCTURE)
            self._commit(effect, lambda row: failed)
        except (ZenkeiError, PermanentEngineError) as error:
            refused = c.FailPreparation(message=_say(error), failure=FailureClass.USER_ERROR)
            self._commit(effect, lambda row: refused)
        else:
            self._commit(effect, lambda row: c.Prepare(env=env, data=data))
        return None

    def _realise(self, number: int, row: Job) -> tuple[Digest, Digest]:
        spec = self._specs.get(row.spec)

        def say(line: str) -> None:
            self._progress(number, line)

        # a job that repeats another one has its lock already, and so has one that was held again
        env = row.env
        if spec.env.needs_build and not env:
            env = self._builder.lock(spec.env, say)
        data, pins = self._data.pin(row, spec) if spec.datasets else (Digest(""), ())
        for engine in self._engines.values():
            if env:
                engine.prepare(Artefact(kind=ArtefactKind.ENV, digest=env), say)
            if row.code:
                engine.prepare(Artefact(kind=ArtefactKind.CODE, digest=row.code), say)
            for pin in pins:
                engine.prepare(Artefact(kind=ArtefactKind.DATA, digest=pin.digest), say)
            engine.check(spec, row.params, env)
        return env, data

    def _commit(self, effect: Effect, command: Callable[[Job], c.Command | None]) -> None:
        """One transaction for all members that still wait for this preparation."""

        def decide(view: View) -> tuple[Changes, None]:
            draft = Draft(view)
            for row in view.members(effect.job.number):
                order = command(row)
                if order is not None and row.state is JobState.PREPARING:
                    draft.advance(row.id, order)
            changes = draft.finish()
            changes.done.append(effect.id)
            return changes, None

        reads = Reads(submissions=(effect.job.number,))
        self._store.submit(Unit(reads=reads, decide=decide)).result()


def _is_full(error: Exception) -> bool:
    """Said by a builder itself, or through an engine."""
    return any(getattr(one, "code", "") == "disk-full" for one in (error, error.__cause__))


def _say(error: Exception) -> str:
    hint = getattr(error, "hint", "") or getattr(error.__cause__, "hint", "")
    return f"{error}\nhint: {hint}" if hint else str(error)
