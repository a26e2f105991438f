"""The output of a released attempt becomes an immutable result with its record.

Called by the dispatcher on the seal lane, after the devices are free: hashing never holds a GPU.
`sealing → sealed | incomplete(reason)` is a state of the Result; the job is over already. Who waits
for the job is woken here, so that its result is there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from zenkei.control.records import record_of
from zenkei.control.specs import SpecCache
from zenkei.lifecycle.effects import retire, wake_dependents
from zenkei.lifecycle.evolve import replay
from zenkei.model.cluster import Node
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.errors import EngineError, ZenkeiError
from zenkei.model.event import Effect, Event
from zenkei.model.ids import AttemptId
from zenkei.model.job import Job
from zenkei.ports.blobs import Blobs
from zenkei.ports.engine import Engine
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.ports.trees import Trees

log = logging.getLogger(__name__)


class Sealer:
    """version: zenkei's own, for the record."""

    def __init__(
        self, *, store: Store, cache: SpecCache, trees: Trees, blobs: Blobs, version: str
    ) -> None:
        self._store = store
        self._specs = cache
        self._trees = trees
        self._blobs = blobs
        self._version = version

    def seal(self, effects: list[Effect], engine_of: Callable[[Effect], Engine]) -> None:
        """Seal a batch of attempts; their records share one put, and all share one commit."""
        results: dict[AttemptId, Result] = {}
        records: dict[AttemptId, bytes] = {}
        jobs = tuple(dict.fromkeys(effect.job for effect in effects))
        nodes = {node.name: node for node in self._store.nodes()}
        histories = self._store.histories(jobs)
        for effect in effects:
            attempt = AttemptId(effect.job, effect.attempt)
            results[attempt] = self._result(attempt, engine_of(effect))
            row = replay(histories.get(attempt.job, ()))
            if row is not None:
                story = histories[attempt.job]
                records[attempt] = self._record(row, story, results[attempt], nodes)
        for attempt, digest in zip(records, self._blobs.put_many(records.values()), strict=True):
            results[attempt] = replace(results[attempt], record=digest)

        def decide(view: View) -> tuple[Changes, None]:
            changes = Changes(done=[effect.id for effect in effects])
            for attempt, result in results.items():
                changes.results.append(replace(result, at_us=view.now_us))
                changes.effects.append(retire(attempt))
                row = view.job(attempt.job)
                if row is not None and row.state.terminal and row.attempt == attempt.number:
                    changes.effects.append(wake_dependents(row.id))
            return changes, None

        self._store.submit(Unit(reads=Reads(jobs=jobs), decide=decide)).result()

    def _result(self, attempt: AttemptId, engine: Engine) -> Result:
        """Never raises for the job's own doing: what cannot be kept is said in the result."""
        state, reason = ResultState.SEALED, ""
        output, files, size_bytes = Digest(""), 0, 0
        try:
            places = tuple(Path(place) for place in engine.outputs(attempt))
            if places:
                output, files, size_bytes = self._trees.seal(places)
        except (ZenkeiError, EngineError, OSError) as error:
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

    def _record(
        self, row: Job, events: tuple[Event, ...], result: Result, nodes: Mapping[str, Node]
    ) -> bytes:
        spec = self._specs.get(row.spec)
        record = record_of(row, spec, events, nodes, result, self._version)
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1)
        return text.encode("utf-8", "surrogateescape")
