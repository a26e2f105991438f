"""What a capsule says of its job: made of a row when one is written, and read with suspicion.

Called by `capsules`. Whoever made the file could have written anything: each value is of its kind
and within bounds, or the capsule is refused. Name, project and queue are those of the spec. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from zenkei.control.datapins import pin_of
from zenkei.model.data import Digest, Result, is_digest
from zenkei.model.dataset import DatasetPin, is_name
from zenkei.model.errors import InvalidInput
from zenkei.model.job import Exit, FailureClass, Job, JobState, StopReason

T = TypeVar("T")
FAR: Final = 1 << 53
MOST_TEXT: Final = 4096
MOST_PARAMS: Final = 64
MOST_TAIL: Final = 200
MOST_ATTEMPTS: Final = 100_000
MOST_NODES: Final = 100_000
_PLACE: Final = re.compile(r"(?:/|[^/\0])[^\0]{0,999}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """A dataset version that the job has read. included: its files are in the capsule."""

    pin: DatasetPin
    included: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The job as it ended where it ran. installation: which place that was. owner: there."""

    installation: str
    zenkei: str
    id: str
    name: str
    owner: str
    state: JobState
    attempt: int
    priority: int
    params: dict[str, str]
    seed: int | None
    stop: StopReason | None
    exit: Exit | None
    failure: FailureClass | None
    message: str
    nodes: tuple[str, ...]
    submitted_us: int
    started_us: int
    ended_us: int
    spec: Digest
    code: Digest
    source: Digest
    env: Digest
    record: Digest
    output: Digest
    streams: Digest

    @property
    def came_from(self) -> str:
        return f"{self.installation}/{self.id}"


def facts_of(
    row: Job, result: Result, *, seed: int | None, streams: Digest, installation: str, zenkei: str
) -> Facts:
    """seed: what it was given, where its spec has none. streams: tree of what was kept of it."""
    return Facts(
        installation=installation,
        zenkei=zenkei,
        id=str(row.id),
        name=row.name,
        owner=row.owner,
        state=row.state,
        attempt=row.attempt,
        priority=row.priority,
        params=row.params,
        seed=seed,
        stop=row.stop,
        exit=row.exit,
        failure=row.failure,
        message=row.message,
        nodes=row.nodes,
        submitted_us=row.submitted_us,
        started_us=row.started_us,
        ended_us=row.ended_us,
        spec=row.spec,
        code=row.code,
        source=row.source,
        env=row.env,
        record=result.record,
        output=result.output,
        streams=streams,
    )


def document(facts: Facts) -> dict[str, Any]:
    return asdict(facts)


def read(job: object) -> Facts:
    """Raises InvalidInput (`bad-capsule`)."""
    if not isinstance(job, Mapping):
        raise bad("it says nothing of its job")
    digests = {
        name: _digest(job, name)
        for name in ("spec", "code", "source", "env", "record", "output", "streams")
    }
    state = _word(JobState, job, "state")
    if state is None or not state.terminal:
        raise bad("its job is not over")
    params = job.get("params")
    if not isinstance(params, dict) or len(params) > MOST_PARAMS:
        raise bad("`params` cannot be")
    return Facts(
        installation=_text(job, "installation", 100),
        zenkei=_text(job, "zenkei", 100),
        id=_text(job, "id", 40),
        name=_text(job, "name", 400),
        owner=_text(job, "owner", 200),
        state=state,
        attempt=_whole(job, "attempt", 1, MOST_ATTEMPTS),
        priority=_whole(job, "priority", -1_000_000, 1_000_000),
        params={_text({"n": k}, "n", 400): _text(params, k, MOST_TEXT) for k in params},
        seed=None if job.get("seed") is None else _whole(job, "seed", 0, (1 << 32) - 1),
        stop=_word(StopReason, job, "stop"),
        exit=_exit(job.get("exit")),
        failure=_word(FailureClass, job, "failure"),
        message=_text(job, "message", 10 * MOST_TEXT),
        nodes=_texts(job, "nodes", MOST_NODES),
        submitted_us=_whole(job, "submitted_us", 0, FAR),
        started_us=_whole(job, "started_us", 0, FAR),
        ended_us=_whole(job, "ended_us", 0, FAR),
        **digests,
    )


def data_document(data: Data) -> dict[str, Any]:
    return {**asdict(data.pin), "included": data.included}


def read_data(rows: object, versions: Mapping[str, Mapping[str, int]]) -> tuple[Data, ...]:
    """versions: what the capsule really has, by digest."""
    if not isinstance(rows, list) or len(rows) > 1000:
        raise bad("its list of datasets cannot be")
    found = []
    for row in rows:
        try:
            included = bool(row["included"])
            pin = pin_of({name: value for name, value in row.items() if name != "included"})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad("a line of its list of datasets cannot be read") from error
        _check_pin(pin)
        has = versions.get(pin.digest)
        if included and (has is None or has["files"] != pin.files):
            raise bad(f"the dataset `{pin.name}` is not what its list says")
        if included and has is not None and has["size_bytes"] != pin.size_bytes:
            raise bad(f"the dataset `{pin.name}` is not what its list says")
        found.append(Data(pin=pin, included=included))
    return tuple(found)


def _check_pin(pin: DatasetPin) -> None:
    numbers = (pin.number, pin.files, pin.size_bytes)
    is_sound = all(type(n) is int and 0 <= n <= FAR for n in numbers)
    if not is_name(pin.name) or not is_sound or not _PLACE.fullmatch(pin.at):
        raise bad("a dataset has a name or a place that cannot be")


def _exit(found: object) -> Exit | None:
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise bad("`exit` cannot be read")
    code = found.get("code")
    matched = found.get("matched")
    if not isinstance(matched, list) or not all(type(n) is int for n in matched):
        raise bad("`exit` cannot be read")
    return Exit(
        code=None if code is None else _whole(found, "code", -(1 << 31), 1 << 31),
        signal=_whole(found, "signal", 0, 1000),
        rank=_whole(found, "rank", -1, 1 << 31),
        node=_text(found, "node", 400),
        detail=_text(found, "detail", 10 * MOST_TEXT),
        symptom=_text(found, "symptom", 400),
        matched=tuple(matched[:1000]),
        tail=_texts(found, "tail", MOST_TAIL),
        ranks=_whole(found, "ranks", 0, 1 << 31),
    )


def _digest(job: Mapping[str, Any], name: str) -> Digest:
    value = job.get(name)
    if not isinstance(value, str) or (value and not is_digest(value)):
        raise bad(f"`{name}` is no digest")
    return Digest(value)


def _text(job: Mapping[str, Any], name: str, most: int) -> str:
    value = job.get(name)
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise bad(f"`{name[:100]}` is no text, or too long a one")
    return value


def _texts(job: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    values = job.get(name)
    if not isinstance(values, list) or len(values) > most:
        raise bad(f"`{name}` is no list, or too long a one")
    return tuple(_text({name: value}, name, 10 * MOST_TEXT) for value in values)


def _whole(job: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = job.get(name)
    if type(value) is not int or not least <= value <= most:
        raise bad(f"`{name}` is no number from {least} to {most}")
    return value


def _word(kind: Callable[[Any], T], job: Mapping[str, Any], name: str) -> T | None:
    value = job.get(name)
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError as error:
        raise bad(f"`{name}` cannot be {str(value)[:40]!r}") from error


def bad(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-capsule",
        f"this capsule is refused: {why}",
        hint="take the file as `zenkei result capsule` has written it",
    )
