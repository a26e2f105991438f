"""Values ↔ JSON text for the rows of `sql`, and the line form of the golden event logs.

Encoders and decoders are made once per type from its annotations: about 1 µs per event. Bodies of
events carry `TYPE_VERSION`; an older one goes through `UPGRADES` when it is read. Text that is not
valid UTF-8 (lone surrogates) survives: it takes the slower way through `json`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import orjson

from zenkei.model.cluster import Allocation, Node, NodeEvent, NodePart
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Result, ResultTag
from zenkei.model.dataset import Dataset, DatasetEvent, DatasetVersion
from zenkei.model.event import (
    BODY_TYPES,
    TYPE_VERSION,
    Effect,
    EffectKind,
    Event,
    EventBody,
    EventKind,
)
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobState, StopReason
from zenkei.model.verdict import Verification

T = TypeVar("T")
Decode = Callable[[Any], Any]
Fields = dict[str, Any]

UPGRADES: Final[dict[tuple[EventKind, int], Callable[[Fields], Fields]]] = {}
"""By kind and the version that was read: the fields of the next version."""
_SHORT_CHARS: Final = 1024
"""Texts up to here are decoded once while they keep coming; longer ones would fill the memory."""


def dumps(value: object) -> str:
    """Compact JSON. Raises TypeError for what has no place in a row."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError:
        # lone surrogates, or a defect: the standard library keeps the first, refuses the second
        return json.dumps(_builtin(value), separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def column(text: str) -> str:
    """Text that every database can compare: NUL and lone surrogates are escaped, for good."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):  # a named one: orjson leaves it to us
        return list(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


def _builtin(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _builtin(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): _builtin(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, tuple | list):
        return [_builtin(item) for item in value]
    return value


# -- decoders, made from annotations --------------------------------------------------------------


def _decoder(hint: Any) -> Decode | None:
    """How a JSON value becomes one of type `hint`; None if it is one already."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional(_decoder(next(a for a in args if a is not types.NoneType)))
    if origin in (tuple, frozenset):
        return _collection(origin, _decoder(args[0]))
    if origin is dict:
        return _dict(_decoder(args[1]))
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return hint
        if is_dataclass(hint):
            return _object(hint)
        if issubclass(hint, tuple):
            return lambda items: hint(*items)
    return None


def _optional(item: Decode | None) -> Decode | None:
    return None if item is None else lambda value: None if value is None else item(value)


def _collection(kind: Decode, item: Decode | None) -> Decode:
    return kind if item is None else lambda values: kind([item(value) for value in values])


def _dict(item: Decode | None) -> Decode | None:
    return None if item is None else lambda d: {key: item(value) for key, value in d.items()}


def _object(cls: type[T]) -> Callable[[Fields], T]:
    """Decoder of a dataclass; fields that are missing have their defaults."""
    hints = get_type_hints(cls)
    decoders = [(f.name, _decoder(hints[f.name])) for f in fields(cast(Any, cls))]
    needed = [(name, decode) for name, decode in decoders if decode is not None]
    if not needed:
        return lambda values: cls(**values)

    def decode_object(values: Fields) -> T:
        for name, decode in needed:
            if name in values:
                values[name] = decode(values[name])
        return cls(**values)

    return decode_object


_BODIES: Final = {kind: _object(cls) for kind, cls in BODY_TYPES.items()}
_KINDS: Final = {str(kind): kind for kind in EventKind}
_STATES: Final = {str(state): state for state in JobState}
_EFFECT_KINDS: Final = {str(kind): kind for kind in EffectKind}
decode_node: Final = _object(Node)
decode_node_event: Final = _object(NodeEvent)
_decode_part: Final = _object(NodePart)
decode_cluster_record: Final = _object(ClusterRecord)
decode_result: Final = _object(Result)
decode_checkpoint: Final = _object(Checkpoint)
decode_result_tag: Final = _object(ResultTag)
decode_verification: Final = _object(Verification)
decode_dataset: Final = _object(Dataset)
decode_dataset_version: Final = _object(DatasetVersion)
decode_dataset_event: Final = _object(DatasetEvent)


# -- events ---------------------------------------------------------------------------------------


def _decode_body(kind: str, type_version: int, body: str) -> EventBody:
    event_kind, values = _KINDS[kind], loads(body)
    for older in range(type_version, TYPE_VERSION):
        upgrade = UPGRADES.get((event_kind, older))
        values = upgrade(values) if upgrade else values
    return _BODIES[event_kind](values)


# Bodies are values, and the members of an array have the same ones.
_known_body = lru_cache(maxsize=2048)(_decode_body)


def decode_event(
    seq: int, key: int, version: int, at_us: int, kind: str, type_version: int, body: str
) -> Event:
    """An event from the columns of its row."""
    decode = _known_body if len(body) <= _SHORT_CHARS else _decode_body
    return Event(
        job=JobId.from_key(key),
        version=version,
        at_us=at_us,
        body=decode(kind, type_version, body),
        seq=seq,
    )


def event_line(event: Event) -> str:
    """An event as one line of a golden log."""
    return dumps(
        {
            "seq": event.seq,
            "job": str(event.job),
            "version": event.version,
            "at_us": event.at_us,
            "kind": event.kind,
            "type_version": TYPE_VERSION,
            "body": event.body,
        }
    )


def event_of_line(line: str) -> Event:
    row = loads(line)
    return decode_event(
        row["seq"],
        JobId.parse(row["job"]).key,
        row["version"],
        row["at_us"],
        row["kind"],
        row["type_version"],
        dumps(row["body"]),
    )


# -- jobs -----------------------------------------------------------------------------------------

_CHANGES: Final = (
    "changed_us",
    "env",
    "data",
    "not_before_us",
    "attempt",
    "counted",
    "requeues",
    "started_us",
    "ended_us",
    "message",
    "exit",
    "stop",
    "failure",
    "saving",
    "avoid",
    "nodes",
    "claim",
    "allocated_us",
    "saved_us",
    "preempted_us",
)


def encode_birth(job: Job) -> str:
    """What nothing but an edit changes of a job."""
    rare: Fields = {} if job.seed is None else {"seed": job.seed}
    if job.origin:
        rare["origin"] = job.origin
    return dumps(
        {
            **rare,
            "spec": job.spec,
            "project": job.project,
            "owner": job.owner,
            "name": job.name,
            "queue": job.queue,
            "priority": job.priority,
            "submitted_us": job.submitted_us,
            "params": job.params,
            "code": job.code,
            "source": job.source,
            "rerun_of": job.rerun_of,
        }
    )


def encode_standing(job: Job) -> str:
    """What changes of a job, without defaults: version and state are columns."""
    values: Fields = {name: value for name in _CHANGES if (value := getattr(job, name))}
    if job.holds:
        values["holds"] = sorted(job.holds)
    if job.step >= 0:
        values["step"] = job.step
    if job.reached >= 0:
        values["reached"] = job.reached
    if job.memory_milli != 1000:
        values["memory_milli"] = job.memory_milli
    return dumps(values)


_JOB_DECODERS: Final = [
    (name, decode)
    for name, hint in get_type_hints(Job).items()
    if name not in ("id", "state") and (decode := _decoder(hint)) is not None
]


def decode_job(key: int, version: int, state: str, birth: str, standing: str) -> Job:
    """A job from the columns of its row."""
    values: Fields = loads(birth)
    values.update(loads(standing))
    for name, decode in _JOB_DECODERS:
        if name in values:
            values[name] = decode(values[name])
    return Job(id=JobId.from_key(key), state=_STATES[state], version=version, **values)


# -- the rest -------------------------------------------------------------------------------------


def encode_effect(effect: Effect) -> str:
    """What the columns of an outbox row do not say."""
    return dumps(
        {
            "kind": effect.kind,
            "key": effect.key,
            "attempt": effect.attempt,
            "reason": effect.reason,
            "grace_s": effect.grace_s,
            "checkpoint_s": effect.checkpoint_s,
            "step": effect.step,
        }
    )


def decode_effect(row_id: int, job: int, tries: int, body: str) -> Effect:
    values = loads(body)
    reason = values["reason"]
    return Effect(
        kind=_EFFECT_KINDS[values["kind"]],
        key=values["key"],
        job=JobId.from_key(job),
        attempt=values["attempt"],
        reason=None if reason is None else StopReason(reason),
        grace_s=values["grace_s"],
        checkpoint_s=values.get("checkpoint_s", 0.0),
        step=values.get("step", -1),
        id=row_id,
        tries=tries,
    )


@lru_cache(maxsize=4096)
def decode_part(text: str) -> NodePart:
    """A part from its column. Jobs that ask for the same on the same node share one value."""
    return _decode_part(loads(text))


@lru_cache(maxsize=64)
def _word(text: str) -> str:
    word: str = loads(text)
    return word


def decode_allocations(rows: Iterable[tuple[int, int, str, str]]) -> tuple[Allocation, ...]:
    """Allocations from the rows of their parts (job, attempt, cluster, part), in rank order."""
    parts: dict[tuple[int, int, str], list[NodePart]] = {}
    for job, attempt, cluster, part in rows:
        parts.setdefault((job, attempt, cluster), []).append(decode_part(part))
    return tuple(
        Allocation(
            attempt=AttemptId(JobId.from_key(job), attempt),
            cluster=_word(cluster),
            parts=tuple(held),
        )
        for (job, attempt, cluster), held in parts.items()
    )
