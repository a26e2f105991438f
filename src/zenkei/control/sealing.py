"""The output of a released attempt becomes an immutable result with its record.

Called by the dispatcher on the seal lane, after the devices are free: hashing never holds a GPU.
`sealing → sealed | incomplete(reason)` is a state of the Result; the job is over already. Who waits
for the job is woken here, so that its result is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from zenkei.control import datapins
from zenkei.control.datapins import PinCache
from zenkei.control.dependencies import wake_dependents_of
from zenkei.control.origins import Origins
from zenkei.control.progress import reported_steps
from zenkei.control.records import Records, Saved, encode
from zenkei.control.specs import SpecCache
from zenkei.control.starts import MOST_BYTES, Starts, starts_of
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.errors import EngineError, TemporaryEngineError, Unavailable, ZenkeiError
from zenkei.model.event import Effect
from zenkei.model.ids import AttemptId
from zenkei.model.job import Job, JobSpec
from zenkei.ports.blobs import Blobs
from zenkei.ports.engine import Engine
from zenkei.ports.store import Changes, Store, Unit, View
from zenkei.ports.trees import Trees

log = logging.getLogger(__name__)

MOST_TRIES = 5
"""After as many temporary failures the result is incomplete, with that reason."""
PATIENT = frozenset({"disk-full"})
"""What is waited for as long as it takes: nothing is wrong with the output."""
MOST_DELAY_S = 60.0
MOST_SPECS = 1024
"""Specs that are kept in the words of a record, between batches."""


class Sealer:
    """version: zenkei's own, for the record."""

    def __init__(
        self, *, store: Store, cache: SpecCache, trees: Trees, blobs: Blobs, version: str
    ) -> None:
        self._store = store
        self._specs = cache
        self._trees = trees
        self._blobs = blobs
        self._pins = PinCache(blobs)
        self._version = version
        self._specs_told: dict[Digest, dict[str, object]] = {}

    def seal(self, effects: list[Effect], engine_of: Callable[[Effect], Engine]) -> None:
        """Seal a batch of attempts: one put for their records, one commit for the results.

        The effects are taken out only after dependents are woken and the engine may forget: a
        crash in between seals again what is sealed, and nobody is left waiting.
        """
        jobs = tuple(dict.fromkeys(effect.job for effect in effects))
        nodes = {node.name: node for node in self._store.nodes()}
        if len(self._specs_told) > MOST_SPECS:
            self._specs_told.clear()
        written = Records(nodes, self._version, self._pins.get, self._specs_told)
        histories = self._store.histories(jobs)
        rows = self._store.rows_of(jobs)
        origins = Origins(self._blobs)
        sealed: dict[AttemptId, tuple[Effect, Result]] = {}
        records: dict[AttemptId, bytes] = {}
        later: list[tuple[int, float]] = []
        for effect in effects:
            attempt = AttemptId(effect.job, effect.attempt)
            try:
                result = self._result(attempt, engine_of(effect), last=effect.tries >= MOST_TRIES)
            except (Unavailable, TemporaryEngineError) as error:
                log.warning("sealing delayed attempt=%s why=%s", attempt, error)
                later.append((effect.id, min(MOST_DELAY_S, 2.0 ** min(effect.tries + 1, 8))))
                continue
            sealed[attempt] = (effect, result)
            row = rows.get(attempt.job)
            if row is not None:
                spec, git = self._specs.get(row.spec), origins.git(row.source)
                events = histories.get(attempt.job, ())
                engine = engine_of(effect)
                saved, starts = self._saved(row, spec, engine), _starts(engine, attempt, spec)
                document = written.document(row, spec, events, result, git, saved, starts)
                if row.data:
                    dealt = datapins.rows_digests(engine, attempt)
                    document["datasets"] = written.datasets(row.data, dealt)
                records[attempt] = encode(document)
        digests = dict(zip(records, self._blobs.put_many(records.values()), strict=True))
        self._commit(
            Changes(
                results=[result for _, result in sealed.values()],
                later=later,
            ),
            [digests.get(attempt, Digest("")) for attempt in sealed],
        )
        wake_dependents_of(self._store, [attempt.job for attempt in sealed])
        for attempt, (effect, _) in sealed.items():
            engine_of(effect).retire(attempt)
        self._commit(Changes(done=[effect.id for effect, _ in sealed.values()]))

    def _saved(self, row: Job, spec: JobSpec, engine: Engine) -> Saved | None:
        """Read only for jobs that can save: the others cost nothing."""
        if spec.checkpoint is None:
            return None
        return Saved(points=self._store.checkpoints(row.id), steps=partial(reported_steps, engine))

    def _commit(self, changes: Changes, records: Sequence[Digest] = ()) -> None:
        """records: of the results, in their order."""
        results = tuple(zip(changes.results, records, strict=True))

        def decide(view: View) -> tuple[Changes, None]:
            now_us = view.now_us
            changes.results = [replace(one, record=of, at_us=now_us) for one, of in results]
            return changes, None

        self._store.submit(Unit(decide=decide)).result()

    def _result(self, attempt: AttemptId, engine: Engine, *, last: bool) -> Result:
        """What cannot be kept is said in the result.

        Raises Unavailable or TemporaryEngineError where another try may help, unless it is the
        last; always while the disk is full.
        """
        state, reason = ResultState.SEALED, ""
        output, files, size_bytes = Digest(""), 0, 0
        try:
            places = tuple(Path(place) for place in engine.outputs(attempt))
            if places:
                output, files, size_bytes = self._trees.seal(places)
        except (ZenkeiError, EngineError, OSError) as error:
            again = isinstance(error, Unavailable | TemporaryEngineError) and not last
            if again or (isinstance(error, Unavailable) and error.code in PATIENT):
                raise
            log.warning("result incomplete attempt=%s why=%s", attempt, error)
            state, reason = ResultState.INCOMPLETE, str(error)
        return Result(
            attempt=str(attempt),
            state=state,
            reason=reason,
            output=output,
            files=files,
            size_bytes=size_bytes,
        )


def _starts(engine: Engine, attempt: AttemptId, spec: JobSpec) -> Starts:
    """Of every rank where it matters what was seeded; else the first speaks for all."""
    asked = spec.resources.nodes * spec.resources.ranks
    is_seeded = spec.seed is not None or spec.deterministic

    def read(rank: int) -> bytes:
        return engine.read(attempt, f"starts/{rank}", 0, MOST_BYTES)

    return starts_of(read, asked if is_seeded else 1)
