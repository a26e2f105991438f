"""Canonical form of a JobSpec and its hash.

Stored with each job, hashed to group equal jobs, read back by planner and launcher. Defaults are
left out, so a key that comes later does not change the hash of a spec without it; a key that is not
known here is refused, so an older zenkei never runs half of a newer wish. Keys are sorted; a
matrix is a list of pairs, because its order is the members' order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetRequest, Shuffle, Split
from zenkei.model.errors import InvalidInput
from zenkei.model.ids import JobId
from zenkei.model.job import (
    After,
    CheckpointPolicy,
    CheckpointRanks,
    CodeRequest,
    Dependency,
    EnvRequest,
    HangAction,
    HangPolicy,
    JobSpec,
    Launcher,
    ResourceRequest,
    RetryAction,
    RetryPolicy,
    RetryRule,
    SecretUse,
    Topology,
)
from zenkei.model.resources import Request

_ORDERED: Final = "matrix"
_PARTS: Final[dict[type[Any], tuple[tuple[str, Any], ...]]] = {}


def canonical(spec: JobSpec) -> str:
    """One line of JSON. `from_canonical` is its inverse."""
    return json.dumps(_plain(spec), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(spec: JobSpec) -> Digest:
    """BLAKE3 of the canonical form."""
    return digest_of(canonical(spec))


def digest_of(text: str) -> Digest:
    """The same, of the canonical form itself."""
    from blake3 import blake3

    return Digest("b3:" + blake3(text.encode()).hexdigest())


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, JobId):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    found = {}
    for name, default in _parts(type(value)):
        inner = getattr(value, name)
        if inner is default or (inner == default and type(inner) is type(default)):
            continue
        found[name] = _plain(list(inner.items())) if name == _ORDERED else _plain(inner)
    return found


def _parts(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Names and defaults. Those that a factory makes are only compared with, never changed."""
    found = _PARTS.get(kind)
    if found is None:
        found = _PARTS[kind] = tuple(
            (part.name, part.default if factory is dataclasses.MISSING else factory())
            for part in dataclasses.fields(kind)
            for factory in (part.default_factory,)
        )
    return found


def from_canonical(text: str) -> JobSpec:
    """Raises InvalidInput for what `canonical` of this version did not write."""
    try:
        return _spec(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidInput, RecursionError) as error:
        raise InvalidInput(
            "bad-canonical-spec",
            f"the stored spec cannot be read: {error}",
            hint="it was written by a newer zenkei, or damaged",
        ) from error


_Take = dict[str, Callable[[Any], Any]]


def _make(kind: type[Any], data: Any, take: _Take) -> Any:
    """`kind(**data)` with each part converted. Raises ValueError for an unknown part."""
    unknown = set(data) - set(take)
    if unknown:
        raise ValueError(f"unknown part {sorted(unknown)[0]!r} of {kind.__name__}")
    return kind(**{name: take[name](inner) for name, inner in data.items()})


def _typed(kind: type[Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {kind.__name__}")
        return value

    return check


_text, _int, _bool, _float = _typed(str), _typed(int), _typed(bool), _typed(float)


def _many(each: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda data: tuple(each(item) for item in _typed(list)(data))


def _table(each: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda data: {_text(name): each(value) for name, value in data.items()}


def _command(data: Any) -> str | tuple[str, ...]:
    return data if isinstance(data, str) else _many(_text)(data)


def _matrix(data: Any) -> dict[str, tuple[str, ...]]:
    return {_text(name): _many(_text)(values) for name, values in _typed(list)(data)}


_TEXTS: Final = _many(_text)
_ENV: Final[_Take] = {
    "python": _text,
    "packages": _TEXTS,
    "requirements": _text,
    "lock": _text,
    "vars": _table(_text),
    "build": _bool,
}
_REQUEST: Final[_Take] = {
    "cpu_milli": _int,
    "memory_bytes": _int,
    "tmp_bytes": _int,
    "gpu_count": _int,
    "gpu_milli": _int,
    "gpu_kinds": _TEXTS,
}
_RESOURCES: Final[_Take] = {
    "nodes": _int,
    "least": _int,
    "node": lambda data: _make(Request, data, _REQUEST),
    "ranks": _int,
}
_RULE: Final[_Take] = {"exit_codes": _many(_int), "action": RetryAction, "pattern": _text}
_RETRY: Final[_Take] = {
    "limit": _int,
    "backoff_s": _float,
    "rules": _many(lambda data: _make(RetryRule, data, _RULE)),
}
_CHECKPOINT: Final[_Take] = {
    "signal": _text,
    "ranks": CheckpointRanks,
    "grace_s": _float,
    "every_s": _float,
    "keep": _int,
}
_HANG: Final[_Take] = {
    "action": HangAction,
    "quiet_s": _float,
    "startup_s": _float,
    "timeout_s": _float,
    "enabled": _bool,
}
_TOPOLOGY: Final[_Take] = {"level": _text, "required": _bool}
_CODE: Final[_Take] = {"enabled": _bool, "include": _TEXTS, "exclude": _TEXTS}
_DEPENDENCY: Final[_Take] = {"job": JobId.parse, "after": After}
_SECRET: Final[_Take] = {"name": _text, "variable": _text, "as_file": _bool}
_SPLIT: Final[_Take] = {
    "parts": _many(lambda data: (_text(data[0]), _float(data[1]))),
    "seed": _int,
    "by": _text,
}
_SHUFFLE: Final[_Take] = {"seed": _int, "epoch": _int}
_DATASET: Final[_Take] = {
    "name": _text,
    "at": _text,
    "version": _text,
    "split": lambda data: _make(Split, data, _SPLIT),
    "shuffle": lambda data: _make(Shuffle, data, _SHUFFLE),
}
_SPEC: Final[_Take] = {
    "name": _text,
    "command": _command,
    "project": _text,
    "queue": _text,
    "priority": _int,
    "env": lambda data: _make(EnvRequest, data, _ENV),
    "resources": lambda data: _make(ResourceRequest, data, _RESOURCES),
    "launcher": Launcher,
    "code": lambda data: _make(CodeRequest, data, _CODE),
    "seed": _int,
    "deterministic": _bool,
    "retry": lambda data: _make(RetryPolicy, data, _RETRY),
    "time_limit_s": _float,
    "grace_s": _float,
    "after": _many(lambda data: _make(Dependency, data, _DEPENDENCY)),
    "array": _int,
    "matrix": _matrix,
    "labels": _table(_text),
    "constraints": _table(_TEXTS),
    "secrets": _many(lambda data: _make(SecretUse, data, _SECRET)),
    "outputs": _text,
    "checkpoint": lambda data: _make(CheckpointPolicy, data, _CHECKPOINT),
    "hang": lambda data: _make(HangPolicy, data, _HANG),
    "rdma": _bool,
    "topology": lambda data: _make(Topology, data, _TOPOLOGY),
    "datasets": _many(lambda data: _make(DatasetRequest, data, _DATASET)),
}


def _spec(data: Any) -> JobSpec:
    made: JobSpec = _make(JobSpec, data, _SPEC)
    return made
