"""A finished job as one file, and back: `zenkei result capsule`, `zenkei result import`.

Called by the server's routes. Files are read and written by processes of their own behind
`ports.datasets.DataWorks`. Import: the file is looked at as a whole; its contents are stored, each
compared with its digest, and named by nobody; then one unit enters dataset names, job, event and
result. So an import that is killed leaves nothing that anybody sees, and its repetition finishes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zenkei import spec as specs
from zenkei.control.capsulefacts import (
    Data,
    Facts,
    bad,
    data_document,
    document,
    facts_of,
    read,
    read_data,
)
from zenkei.control.capsulenames import Names
from zenkei.control.datapins import PinCache
from zenkei.control.draft import Draft
from zenkei.control.imports import PART_BYTES, part_path
from zenkei.control.orders import called, seed_of
from zenkei.control.pins import refuse_missing
from zenkei.control.queries import Queries
from zenkei.control.specs import SpecCache
from zenkei.model import event as e
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.errors import Conflict, Denied, InvalidInput
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobSpec
from zenkei.ports.blobs import Blobs
from zenkei.ports.datasets import DataWorks
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.ports.trees import Trees

Said = Callable[[Mapping[str, Any]], None]
MOST_TRIES: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """This installation. name: told in capsules. request: of workers: `blobs`, `depot`.

    scratch: directory for what is being made. zenkei: version.
    """

    name: str
    request: Mapping[str, Any]
    scratch: str
    zenkei: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """datasets: names here, by name there. missing: digests that neither capsule nor store has.

    is_new: False if this capsule was imported before.
    """

    job: JobId
    capsule: Digest
    facts: Facts
    is_new: bool
    datasets: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[Digest, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looked:
    """path: of the capsule. found: what the worker says of it."""

    path: str
    found: Mapping[str, Any]
    facts: Facts
    spec: JobSpec
    data: tuple[Data, ...]

    @property
    def capsule(self) -> Digest:
        return Digest(str(self.found["capsule"]))


class Capsules:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        store: Store,
        queries: Queries,
        works: DataWorks,
        blobs: Blobs,
        trees: Trees,
        place: Place,
    ) -> None:
        self._store = store
        self._queries = queries
        self._names = Names(store.datasets)
        self._works = works
        self._trees = trees
        self._pins = PinCache(blobs)
        self._specs = SpecCache(store)
        self._blobs = blobs
        self._place = place

    # -- out ---------------------------------------------------------------------------------------

    def write(
        self,
        who: Principal,
        job: JobId,
        to: str,
        said: Said,
        *,
        with_data: bool = True,
        overwrite: bool = False,
    ) -> Mapping[str, Any]:
        """Raises NotFound for a job, and for data of it, that `who` may not read."""
        _absolute(to)
        row, result = self._finished(who, job)
        spec = self._specs.get(row.spec)
        data = self._data(who, row, spec, with_data=with_data)
        self._blobs.put(specs.canonical(spec).encode())
        facts = facts_of(
            row,
            result,
            seed=seed_of(row, None) if spec.seed is None else None,
            streams=self._streams(who, row, spec),
            installation=self._place.name,
            zenkei=self._place.zenkei,
        )
        order = {
            "do": "write",
            **self._place.request,
            "to": to,
            "overwrite": overwrite,
            "job": document(facts),
            "data": [data_document(one) for one in data],
        }
        found = self._works.run(order, said)
        left = [one.pin.name for one in data if not one.included]
        return {**found, "to": to, "job": str(row.id), "left_out": left}

    def _finished(self, who: Principal, job: JobId) -> tuple[Job, Result]:
        row = self._queries.row(who, job)
        if not row.state.terminal:
            raise Conflict(
                "job-not-over",
                f"job {row.id} is {row.state}: there is no result yet",
                hint=f"`zenkei wait {row.id}`",
            )
        result = self._queries.result(who, job)
        if result.state is not ResultState.SEALED:
            why = f": {result.reason}" if result.reason else ""
            raise Conflict(
                "result-not-sealed",
                f"the result of job {row.id} is {result.state}{why}",
                hint=f"`zenkei wait {row.id}` waits until it is kept"
                if result.state is ResultState.SEALING
                else "what is not complete cannot travel: run the job again",
            )
        return row, result

    def _data(
        self, who: Principal, row: Job, spec: JobSpec, *, with_data: bool
    ) -> tuple[Data, ...]:
        refuse_missing(row, spec)
        pins = self._pins.get(row.data)
        for pin in pins:
            self._names.readable(who, pin)
        return tuple(Data(pin=pin, included=with_data) for pin in called(pins, spec))

    def _streams(self, who: Principal, row: Job, spec: JobSpec) -> Digest:
        """A tree of all logs and metrics that were kept of its attempts."""
        with tempfile.TemporaryDirectory(dir=self._place.scratch, prefix="capsule-") as made:
            for number in range(1, row.attempt + 1):
                attempt = AttemptId(row.id, number)
                for stream in _stream_names(spec):
                    for part, content in enumerate(self._parts(who, attempt, stream)):
                        path = Path(made) / part_path(number, stream, part)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content)
            tree, _, _ = self._trees.seal((Path(made),))
        return tree

    def _parts(self, who: Principal, attempt: AttemptId, stream: str) -> Iterator[bytes]:
        offset, part = 0, bytearray()
        while piece := self._queries.read(who, attempt, stream, offset, PART_BYTES - len(part)):
            offset += len(piece)
            part += piece
            if len(part) == PART_BYTES:
                yield bytes(part)
                part.clear()
        if part:
            yield bytes(part)

    # -- in ----------------------------------------------------------------------------------------

    def take(self, who: Principal, path: str, said: Said) -> Imported:
        """Make a job of a capsule; the importer owns it, and datasets that come with it.

        Raises InvalidInput, with nothing written, for a file that is not a capsule through and
        through; Unavailable where there is no room for it.
        """
        _absolute(path)
        looked = self._look(path, said)
        project = looked.spec.project
        if not can(who, Verb.SUBMIT, Target(owner=who.name, project=project)):
            raise Denied("may-not-submit", f"{who.name} may not submit to {project}")
        missing = self._missing(who, looked.data)
        key = f"capsule:{looked.capsule}:{','.join(missing)}"
        known = self._known(who, key)
        if known is not None:
            return self._outcome(looked, known, missing, {}, is_new=False)
        order = {"do": "take", **self._place.request, "path": path, "capsule": looked.capsule}
        stored = self._works.run({**order, "origin": self._origin(looked, missing)}, said)
        return self._enter(who, looked, Digest(str(stored["origin"])), missing, key)

    def _look(self, path: str, said: Said) -> _Looked:
        found = self._works.run({"do": "look", **self._place.request, "path": path}, said)
        facts = read(found["job"])
        spec = specs.vouched(str(found["spec"]))
        if specs.digest(spec) != facts.spec:
            raise bad("its spec does not have its digest")
        if spec.env.needs_build and not facts.env:
            # it would be resolved here anew, from what a stranger has written
            raise bad("its environment has no lock")
        data = read_data(found["data"], found["versions"])
        asked = [(one.at, one.name, one.split, one.shuffle) for one in spec.datasets]
        if asked != [(d.pin.at, d.pin.name, d.pin.split, d.pin.shuffle) for d in data]:
            raise bad("its list of datasets is not what its spec asks for")
        return _Looked(path=path, found=found, facts=facts, spec=spec, data=data)

    def _missing(self, who: Principal, data: tuple[Data, ...]) -> tuple[Digest, ...]:
        """Data that nobody has brought, and that are not here where `who` may read them."""
        lacking = {
            one.pin.digest
            for one in data
            if not one.included and self._names.find(who, one.pin) is None
        }
        return tuple(sorted(lacking))

    def _known(self, who: Principal, key: str) -> JobId | None:
        def decide(view: View) -> tuple[Changes, JobId | None]:
            known = view.known_request()
            return Changes(), None if known is None else JobId(known[0])

        unit = Unit(reads=Reads(request_key=(who.name, key)), decide=decide)
        return self._store.submit(unit).result()

    def _origin(self, looked: _Looked, missing: tuple[Digest, ...]) -> str:
        facts = looked.facts
        document = {
            "zenkei": "origin",
            "installation": facts.installation,
            "job": facts.id,
            "owner": facts.owner,
            "capsule": looked.capsule,
            "version": facts.zenkei,
            "submitted_us": facts.submitted_us,
            "started_us": facts.started_us,
            "ended_us": facts.ended_us,
            "data": [[one.pin.name, one.pin.number, one.pin.digest] for one in looked.data],
            "missing": missing,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    def _enter(
        self,
        who: Principal,
        looked: _Looked,
        origin: Digest,
        missing: tuple[Digest, ...],
        key: str,
    ) -> Imported:
        """One transaction; again if somebody has changed one of the names meanwhile."""
        for last in range(MOST_TRIES):
            bound = self._names.bind(who, looked.data, looked.facts.came_from)
            data = Digest("") if missing else self._pins.put(bound.pins)
            birth = _birth(who, looked, origin, data)
            unit = Unit(
                reads=Reads(request_key=(who.name, key)),
                decide=lambda view, birth=birth, bound=bound: _born(  # type: ignore[misc]
                    view, who, looked, birth, key, bound.changes
                ),
            )
            try:
                job, is_new = self._store.submit(unit).result()
            except Conflict:
                if last + 1 == MOST_TRIES:
                    raise
                continue
            return self._outcome(looked, job, missing, bound.names, is_new=is_new)
        raise AssertionError

    def _outcome(
        self,
        looked: _Looked,
        job: JobId,
        missing: tuple[Digest, ...],
        names: Mapping[str, str],
        *,
        is_new: bool,
    ) -> Imported:
        return Imported(
            job=job,
            capsule=looked.capsule,
            facts=looked.facts,
            is_new=is_new,
            datasets=names,
            missing=missing,
        )


def _born(
    view: View, who: Principal, looked: _Looked, birth: e.Imported, key: str, names: list[Any]
) -> tuple[Changes, tuple[JobId, bool]]:
    known = view.known_request()
    if known is not None:
        return Changes(), (JobId(known[0]), False)
    job = JobId(view.next_number())
    draft = Draft(view)
    draft.record(None, job, birth)
    changes = draft.finish()
    output = looked.found["output"]
    changes.results.append(
        Result(
            attempt=str(AttemptId(job, birth.attempt)),
            state=ResultState.SEALED,
            output=looked.facts.output,
            record=looked.facts.record,
            files=int(output["files"]),
            size_bytes=int(output["size_bytes"]),
            at_us=view.now_us,
        )
    )
    changes.specs[looked.facts.spec] = specs.canonical(looked.spec)
    changes.datasets = list(names)
    changes.request = (who.name, key, job.number, str(looked.capsule))
    return changes, (job, True)


def _birth(who: Principal, looked: _Looked, origin: Digest, data: Digest) -> e.Imported:
    facts, spec = looked.facts, looked.spec
    return e.Imported(
        spec=facts.spec,
        project=spec.project,
        owner=who.name,
        name=spec.name,
        queue=spec.queue,
        priority=facts.priority,
        state=facts.state,
        attempt=facts.attempt,
        origin=origin,
        params=facts.params,
        code=facts.code,
        source=facts.source,
        env=facts.env,
        data=data,
        seed=facts.seed,
        stop=facts.stop,
        exit=facts.exit,
        failure=facts.failure,
        message=facts.message,
        nodes=facts.nodes,
    )


def _stream_names(spec: JobSpec) -> Iterator[str]:
    asked = spec.resources
    yield from (f"metrics/{rank}" for rank in range(asked.nodes * asked.ranks))
    for node in range(asked.nodes):
        yield from (f"log/{node}", f"log/{node}/index")


def _absolute(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput("bad-path", f"`{path[:100]}` is not an absolute path")
