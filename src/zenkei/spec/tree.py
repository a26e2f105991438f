"""A job file as a tree that remembers where each value stands; types are decided later, by key.

Made by `yamltext.read_tree` from a file and by `from_values` from command-line flags; read by
`kinds` and `shapes`. A scalar is the text that the author wrote: `3.10` stays "3.10", `no` stays
"no", `1:30` stays "1:30". Aliased nodes are shared, so the tree is a graph without cycles.
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import TypeAlias

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(slots=True)
class Scalar:
    """plain: without quotes and not a block. line and column count from 1; 0: nowhere."""

    text: str
    plain: bool = True
    line: int = 0
    column: int = 0

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    items: list[Node] = field(default_factory=list)
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Mapping:
    """pairs: in the author's order, keys unique."""

    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)
    line: int = 0
    column: int = 0


Node: TypeAlias = Scalar | Sequence | Mapping


def from_values(value: object) -> Node:
    """A tree without places from plain values: what flags and programs give instead of a file."""
    if isinstance(value, AnyMapping):
        pairs = [(Scalar(str(key), plain=False), from_values(v)) for key, v in value.items()]
        return Mapping(pairs)
    if isinstance(value, (list, tuple)):
        return Sequence([from_values(item) for item in value])
    if value is None:
        return Scalar("")
    if isinstance(value, bool):
        return Scalar("true" if value else "false")
    return Scalar(str(value), plain=not isinstance(value, str))
