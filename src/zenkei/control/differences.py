"""What is not the same about two jobs, what explains a difference best coming first: `zenkei diff`.

Called by the server's routes. The order of suspicion: seed, code, data, the rest of the spec,
packages (those that reckon first), hardware, zenkei itself; then what came of it: end, metrics,
files. Facts come from the records where the jobs are sealed. Cost: reading two records and what
differs of code and results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zenkei import spec as specs
from zenkei.control.datapins import PinCache
from zenkei.control.lockfacts import LockFacts, facts_of
from zenkei.control.orders import seed_of
from zenkei.control.queries import Queries
from zenkei.control.reproduce import Reproduction
from zenkei.control.specs import SpecCache
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict, NotFound, Unavailable
from zenkei.model.ids import JobId
from zenkei.model.job import Job
from zenkei.model.verdict import Comparison, Tolerance
from zenkei.ports.blobs import Blobs
from zenkei.ports.comparing import CodeChange, Comparer

NUMERICAL = ("torch", "numpy", "jax", "jaxlib", "tensorflow", "cupy", "scipy", "chainer")
"""Packages whose versions change results most often; CUDA libraries come right after."""
LABELS = ("cpu_model", "driver", "cuda", "kernel", "os", "python")
"""Of the nodes' labels, those that can change a result, in this order."""
MOST_CHARS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that is not the same; an empty text: it is not there."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDiff:
    """sections: what differs by subject, most suspicious first; only those with changes.

    code: the changed files. same: subjects without a difference. unknown: subjects that could not
    be looked at, and why. left: how metrics and files differ; None if a job has no result.
    """

    sections: Mapping[str, tuple[Change, ...]]
    code: tuple[CodeChange, ...]
    same: tuple[str, ...]
    unknown: Mapping[str, str]
    left: Comparison | None


class Differences:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        cache: SpecCache,
        queries: Queries,
        comparer: Comparer,
        reproduction: Reproduction,
        blobs: Blobs,
    ) -> None:
        self._specs = cache
        self._queries = queries
        self._comparer = comparer
        self._reproduction = reproduction
        self._blobs = blobs
        self._pins = PinCache(blobs)

    def diff(self, principal: Principal, job: JobId, other: JobId) -> JobDiff:
        a, b = (self._queries.row(principal, one) for one in (job, other))
        records = tuple(self._record(principal, one) for one in (a, b))
        unknown: dict[str, str] = {}
        code: tuple[CodeChange, ...] = ()
        if a.code != b.code:
            try:
                code = self._comparer.code(a.code, b.code)
            except (NotFound, Unavailable) as error:
                unknown["code"] = str(error)
        if not all(records):
            unknown["hardware"] = "one of the jobs has no record yet"
        seeds, asked = _seeds(a, b, self._specs)
        found = {
            **({"seed": seeds} if asked else {}),
            "code": tuple(Change(name=c.path, a="", b=c.change) for c in code),
            "data": self._data(a, b),
            "spec": self._spec(a, b),
            **({} if asked else {"seed": seeds}),
            "environment": self._environment(a, b, unknown),
            "hardware": _hardware(*records) if all(records) else (),
            "zenkei": _zenkei(*records) if all(records) else (),
        }
        left = self._left(principal, a.id, b.id, unknown)
        return JobDiff(
            sections={name: changes for name, changes in found.items() if changes},
            code=code,
            same=tuple(n for n, changes in found.items() if not changes and n not in unknown),
            unknown=unknown,
            left=left,
        )

    def _left(
        self, principal: Principal, a: JobId, b: JobId, unknown: dict[str, str]
    ) -> Comparison | None:
        try:
            return self._reproduction.compare(principal, a, b, Tolerance())
        except (Conflict, NotFound, Unavailable) as error:
            unknown["results"] = str(error)
            return None

    def _record(self, principal: Principal, row: Job) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._queries.record(principal, row.id))
        except NotFound:
            return None
        return found

    def _spec(self, a: Job, b: Job) -> tuple[Change, ...]:
        left, right = (self._flat(row) for row in (a, b))
        return tuple(_changes(left, right, sorted(left.keys() | right.keys(), key=_weight)))

    def _flat(self, row: Job) -> dict[str, str]:
        document = json.loads(specs.canonical(self._specs.get(row.spec)))
        document.pop("seed", None)  # a subject of its own
        flat = dict(_flatten(document, ""))
        return flat | {f"parameter {name}": value for name, value in row.params.items()}

    def _data(self, a: Job, b: Job) -> tuple[Change, ...]:
        left, right = (self._versions(row.data) for row in (a, b))
        return tuple(_changes(left, right, sorted(left.keys() | right.keys())))

    def _versions(self, digest: Digest) -> dict[str, str]:
        return {
            f"{pin.name} at {pin.at}": f"version {pin.number} ({pin.digest[:15]}…)"
            for pin in self._pins.get(digest)
        }

    def _environment(self, a: Job, b: Job, unknown: dict[str, str]) -> tuple[Change, ...]:
        if a.env == b.env:
            return ()
        try:
            left, right = (self._facts(row.env) for row in (a, b))
        except NotFound as error:
            unknown["environment"] = str(error)
            return ()
        heads = [
            Change(name=name, a=x, b=y)
            for name, x, y in (
                ("python", left.python, right.python),
                ("platform", left.platform, right.platform),
            )
            if x != y
        ]
        names = sorted(left.packages.keys() | right.packages.keys(), key=_package_weight)
        return (*heads, *_changes(left.packages, right.packages, names))

    def _facts(self, lock: Digest) -> LockFacts:
        return facts_of(self._blobs.get(lock)) if lock else LockFacts(python="the node's own")


def _seeds(a: Job, b: Job, cache: SpecCache) -> tuple[tuple[Change, ...], bool]:
    """Also whether one of the two asks for its seed: else few programs use it."""
    asked = [cache.get(row.spec).seed for row in (a, b)]
    left, right = (str(seed_of(row, seed)) for row, seed in zip((a, b), asked, strict=True))
    # two jobs that ask for none always have two
    name = "seed, made of the job's id" if asked == [None, None] else "seed"
    changes = () if left == right else (Change(name=name, a=left, b=right),)
    return changes, asked != [None, None]


def _hardware(a: dict[str, Any] | None, b: dict[str, Any] | None) -> tuple[Change, ...]:
    left, right = (_machine(record or {}) for record in (a, b))
    return tuple(_changes(left, right, left))


def _zenkei(a: dict[str, Any] | None, b: dict[str, Any] | None) -> tuple[Change, ...]:
    left, right = (str((record or {}).get("zenkei", "")) for record in (a, b))
    return () if left == right else (Change(name="version", a=left, b=right),)


def _machine(record: dict[str, Any]) -> dict[str, str]:
    """The hardware of the last attempt, summed up over its nodes."""
    nodes = (record.get("attempts") or [{}])[-1].get("nodes") or []
    devices = [device.get("kind", "") for node in nodes for device in node.get("devices", ())]
    found = {
        "GPUs": ", ".join(f"{devices.count(kind)} × {kind}" for kind in sorted(set(devices))),
        "nodes": str(len(nodes)),
    }
    for label in LABELS:
        values = {str(node.get("labels", {}).get(label, "")) for node in nodes}
        found[label] = ", ".join(sorted(values))
    found["CPU cores held"] = ", ".join(
        sorted({f"{node.get('cpu_milli', 0) / 1000:g}" for node in nodes})
    )
    found["names"] = ", ".join(str(node.get("name", "")) for node in nodes)
    return found


def _changes(a: Mapping[str, str], b: Mapping[str, str], names: Iterable[str]) -> Iterator[Change]:
    for name in names:
        x, y = a.get(name, ""), b.get(name, "")
        if x != y:
            yield Change(name=name, a=x[:MOST_CHARS], b=y[:MOST_CHARS])


def _flatten(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _weight(key: str) -> tuple[int, str]:
    """What a program is told comes before what it gets, and both before what only plans it."""
    order = ("parameter ", "command", "env", "deterministic", "launcher", "datasets", "resources")
    return next((i for i, start in enumerate(order) if key.startswith(start)), len(order)), key


def _package_weight(name: str) -> tuple[int, str]:
    if name in NUMERICAL:
        return NUMERICAL.index(name), name
    return (len(NUMERICAL) if name.startswith(("nvidia-", "cuda-", "mkl")) else 99), name
