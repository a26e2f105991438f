"""cluster.yaml to ClusterConfig: the entrance for everything about cluster files.

`parse` is called by the daemon when a file is applied and by `zenkei cluster apply` to look first;
it raises InvalidInput (`invalid-cluster-file`) with every problem of the file, and nothing else,
whatever the bytes. `canonical` and `digest` are those of job files in kind: defaults left out, keys
sorted. Typical files take a millisecond.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput
from zenkei.model.queue import ClusterConfig
from zenkei.spec import limits
from zenkei.spec.cluster_build import build
from zenkei.spec.cluster_keys import FILE, HOMES, QUEUES, VERSION
from zenkei.spec.problems import CLUSTER_FILE, Reading
from zenkei.spec.yamltext import read_tree


def parse(text: bytes, *, file: str) -> ClusterConfig:
    """What `text` wishes of the cluster. file: its path or name, for messages."""
    to = Reading(file, HOMES, what=CLUSTER_FILE, depth=limits.CLUSTER_DEPTH)
    tree = read_tree(text, to)
    fields = FILE.read(tree, "", to) if tree is not None else None
    config = build(fields, to) if fields is not None else ClusterConfig()
    to.finish()
    return config


def schema() -> dict[str, object]:
    """The published JSON Schema of cluster files (draft 2020-12); a new dict on each call."""
    found = FILE.schema()
    properties = found["properties"]
    assert isinstance(properties, dict)
    queues = {k: v for k, v in properties["queues"].items() if k != "description"}
    properties["queues"] = {
        "$ref": "#/$defs/queues",
        "description": properties["queues"]["description"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:zenkei:cluster-file:{VERSION}",
        "title": "zenkei cluster file",
        "description": "Queues, where nodes stand, reservations, and how the scheduler decides.",
        **found,
        "$defs": {"queues": queues or QUEUES.schema()},
    }


def canonical(config: ClusterConfig) -> str:
    """One line of JSON. `from_canonical` is its inverse."""
    return json.dumps(_plain(config), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(config: ClusterConfig) -> Digest:
    """BLAKE3 of the canonical form."""
    from blake3 import blake3

    return Digest("b3:" + blake3(canonical(config).encode()).hexdigest())


def from_canonical(text: str) -> ClusterConfig:
    """Raises InvalidInput for what `canonical` of this version did not write."""
    try:
        made: ClusterConfig = _revived(ClusterConfig)(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(
            "bad-canonical-cluster",
            f"the stored configuration cannot be read: {error}",
            hint="it was written by a newer zenkei, or damaged",
        ) from error
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    found = {}
    for part in dataclasses.fields(value):
        inner = getattr(value, part.name)
        default = part.default
        if part.default_factory is not dataclasses.MISSING:
            default = part.default_factory()
        if inner != default or type(inner) is not type(default):
            found[part.name] = _plain(inner)
    return found


def _revived(hint: Any) -> Callable[[Any], Any]:
    """How a JSON value becomes one of type `hint`; it raises ValueError for any other."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        inner = _revived(next(arg for arg in args if arg is not types.NoneType))
        return lambda value: None if value is None else inner(value)
    if origin is tuple and args[-1] is Ellipsis:
        item = _revived(args[0])
        return lambda value: tuple(item(one) for one in _typed(list, value))
    if origin is tuple:
        items = [_revived(arg) for arg in args]
        return lambda value: tuple(f(one) for f, one in zip(items, value, strict=True))
    if origin is dict:
        return lambda value: {_typed(str, k): _typed(str, v) for k, v in value.items()}
    if issubclass(hint, Enum):
        words: type[Enum] = hint
        return words
    if dataclasses.is_dataclass(hint):
        return _revived_object(hint)
    return lambda value: _typed(hint, value)


def _revived_object(kind: Any) -> Callable[[Any], Any]:
    parts = {name: _revived(hint) for name, hint in get_type_hints(kind).items()}

    def revive(value: Any) -> Any:
        unknown = sorted(set(_typed(dict, value)) - set(parts))
        if unknown:
            raise ValueError(f"unknown part {unknown[0]!r} of {kind.__name__}")
        return kind(**{name: parts[name](inner) for name, inner in value.items()})

    return revive


def _typed(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not {kind.__name__}")
    return value
