"""Kinds made of kinds: sections with fixed keys, lists, free mappings, values of several shapes.

Used by the table in `keys`. A section's table of keys is the one source for what the parser allows,
what it suggests for a misspelled key, and what the JSON Schema offers for completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any

from zenkei.spec.kinds import Kind
from zenkei.spec.problems import Code, Reading, describe, listing, nearest, show
from zenkei.spec.tree import Mapping, Node, Scalar, Sequence


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its kind, its sentence for people, and an example.

    later: what helps until a later version offers it; such a key is checked and then refused.
    """

    name: str
    kind: Kind
    doc: str
    example: str = ""
    default: str = ""
    later: str = ""


class Fields:
    """What a mapping held: values by key, each with its node. Absent keys have no entry."""

    __slots__ = ("_found", "node", "where")

    def __init__(self, node: Node | None, where: str) -> None:
        self.node = node
        self.where = where
        self._found: dict[str, tuple[Any, Node, Scalar]] = {}

    def put(self, key: Scalar, value: Any, node: Node) -> None:
        self._found[key.text] = (value, node, key)

    def get(self, name: str, default: Any = None) -> Any:
        found = self._found.get(name)
        return default if found is None else found[0]

    def at(self, name: str) -> Node | None:
        """Where the key's value stands; where the mapping stands if the key is absent."""
        found = self._found.get(name)
        return self.node if found is None else found[1]

    def items(self) -> Iterator[tuple[str, Any, Node, Scalar]]:
        for name, (value, node, key) in self._found.items():
            yield name, value, node, key

    def wrote(self, name: str) -> bool:
        """True if the author wrote the key, even if its value was refused."""
        return isinstance(self.node, Mapping) and any(k.text == name for k, _ in self.node.pairs)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A mapping with fixed keys. whole: the file itself (its keys have no prefix).

    synonyms: words of other tools and the key meant by them.
    """

    name: str
    keys: tuple[Key, ...]
    wants: str = "a mapping of keys"
    whole: bool = False
    synonyms: AnyMapping[str, str] = field(default_factory=dict)

    def read(self, node: Node, where: str, to: Reading) -> Fields | None:
        fields = Fields(node, where)
        if isinstance(node, Scalar) and node.is_null:
            return fields  # a section whose keys are all commented out
        if not isinstance(node, Mapping):
            hint = f"keys: {listing(self._names())}"
            what = f"a {to.what}" if self.whole else f"`{where}`"
            to.add(
                node, Code.WRONG_TYPE, f"{what} must be {self.wants}, not {describe(node)}", hint
            )
            return None
        known = {key.name: key for key in self.keys}
        for name, inner in node.pairs:
            key = known.get(name.text)
            path = name.text if self.whole else f"{where}.{name.text}"
            if key is None:
                to.add(name, Code.UNKNOWN_KEY, *self._unknown(name.text, where, to))
                continue
            before = len(to.problems)
            value = key.kind.read(inner, path, to)
            to.hint_since(before, _example(key))
            if key.later:
                to.add(name, Code.NOT_YET, f"`{path}` is not available yet", key.later)
            elif value is not None:
                fields.put(name, value, inner)
        return fields

    def _names(self) -> list[str]:
        return sorted(key.name for key in self.keys if not key.later)

    def _unknown(self, word: str, where: str, to: Reading) -> tuple[str, str]:
        names = self._names()
        of = f"the {to.what}" if self.whole else f"`{where}`"
        allowed = f"allowed: {listing(names)}"
        home = to.homes.get(word, self.name)
        meant = self.synonyms.get(word.lower()) or nearest(word, names)
        if home != self.name:
            place = "at the top level" if not home else f"under `{home}`"
            hint = f"`{show(word)}` belongs {place}"
        elif meant:
            hint = f"did you mean `{meant}`? {allowed}"
        else:
            hint = allowed
        return f"`{show(word)}` is not a key of {of}", hint

    def schema(self) -> dict[str, object]:
        properties = {key.name: self._property(key) for key in self.keys}
        kind: object = "object" if self.whole else ["object", "null"]
        return {"type": kind, "additionalProperties": False, "properties": properties}

    @staticmethod
    def _property(key: Key) -> dict[str, object]:
        doc = f"Not available yet ({key.later}). {key.doc}" if key.later else key.doc
        found = {**key.kind.schema(), "description": doc}
        if key.default:
            found["description"] = f"{doc} Default: {key.default}."
        if key.example:
            found["examples"] = [key.example]
        return found


def _example(key: Key) -> str:
    if key.example:
        return f"for example `{key.name}: {key.example}`"
    return f"give it {key.kind.wants}"


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list of one kind; `single`: one value without brackets is a list of one."""

    of: Kind
    most: int
    single: bool = False
    least: int = 0

    @property
    def wants(self) -> str:
        return (
            f"{self.of.wants}, or a list of them"
            if self.single
            else f"a list, each {self.of.wants}"
        )

    def read(self, node: Node, where: str, to: Reading) -> list[tuple[Any, Node]] | None:
        """Values with their nodes; those with problems are left out."""
        if isinstance(node, Scalar) and node.is_null and not self.least:
            return []
        if not isinstance(node, Sequence):
            if self.single:
                value = self.of.read(node, where, to)
                return None if value is None else [(value, node)]
            hint = f"write [{show(node.text)}]" if isinstance(node, Scalar) else ""
            message = f"`{where}` must be {self.wants}, not {describe(node)}"
            to.add(node, Code.WRONG_TYPE, message, hint)
            return None
        if len(node.items) > self.most:
            message = f"`{where}` has {len(node.items)} entries, the limit is {self.most}"
            to.add(node, Code.TOO_LARGE, message, to.smaller)
            return None
        if len(node.items) < self.least:
            to.add(node, Code.BAD_VALUE, f"`{where}` is empty", f"give it {self.wants}")
            return None
        found = []
        for place, item in enumerate(node.items):
            value = self.of.read(item, f"{where}[{place}]", to)
            if value is not None:
                found.append((value, item))
        return found

    def schema(self) -> dict[str, object]:
        items = self.of.schema()
        many: dict[str, object] = {"type": "array", "items": items, "maxItems": self.most}
        if self.least:
            many["minItems"] = self.least
        if self.single:
            return {"anyOf": [items, many]}
        if not self.least:
            many["type"] = ["array", "null"]
        return many


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping whose keys the author chooses. check: returns (complaint, hint) for a bad key."""

    of: Kind
    most: int
    check: Callable[[str], tuple[str, str] | None]
    wants: str = "a mapping of names to values"
    pattern: str = ""

    def read(self, node: Node, where: str, to: Reading) -> Fields | None:
        fields = Fields(node, where)
        if isinstance(node, Scalar) and node.is_null:
            return fields
        if not isinstance(node, Mapping):
            to.add(node, Code.WRONG_TYPE, f"`{where}` must be {self.wants}, not {describe(node)}")
            return None
        if len(node.pairs) > self.most:
            message = f"`{where}` has {len(node.pairs)} entries, the limit is {self.most}"
            to.add(node, Code.TOO_LARGE, message, to.smaller)
            return None
        for name, inner in node.pairs:
            bad = self.check(name.text)
            if bad:
                to.add(name, Code.BAD_VALUE, f"`{show(name.text)}` in `{where}` {bad[0]}", bad[1])
                continue
            value = self.of.read(inner, f"{where}.{show(name.text)}", to)
            if value is not None:
                fields.put(name, value, inner)
        return fields

    def schema(self) -> dict[str, object]:
        found: dict[str, object] = {
            "type": ["object", "null"],
            "maxProperties": self.most,
            "additionalProperties": self.of.schema(),
        }
        if self.pattern:
            found["propertyNames"] = {"pattern": f"^(?:{self.pattern})$"}
        return found


@dataclass(frozen=True, kw_only=True)
class Either:
    """A value whose shape says what it is: a scalar, a list or a mapping. says: all, in words."""

    scalar: Kind | None = None
    sequence: Kind | None = None
    mapping: Kind | None = None
    says: str = ""

    @property
    def wants(self) -> str:
        return self.says or ", or ".join(
            k.wants for k in (self.scalar, self.sequence, self.mapping) if k
        )

    def read(self, node: Node, where: str, to: Reading) -> Any:
        kind = self.mapping
        if isinstance(node, Scalar):
            kind = self.scalar
        elif isinstance(node, Sequence):
            kind = self.sequence
        if kind is None:
            to.add(node, Code.WRONG_TYPE, f"`{where}` must be {self.wants}, not {describe(node)}")
            return None
        return kind.read(node, where, to)

    def schema(self) -> dict[str, object]:
        return {"anyOf": [k.schema() for k in (self.scalar, self.sequence, self.mapping) if k]}
