"""Kinds of single values: how a scalar's text is read, and what the JSON Schema says of it.

Used by the table in `keys`. `read` returns None after it has recorded a problem. A kind is the only
place that knows its rule, so parser and schema cannot differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from zenkei.model.errors import InvalidInput
from zenkei.model.ids import JobId
from zenkei.spec import limits
from zenkei.spec.problems import Code, Reading, describe, listing, nearest, show
from zenkei.spec.quantities import (
    duration_ms,
    integer,
    show_bytes,
    show_ms,
    size_bytes,
    thousandths,
)
from zenkei.spec.tree import Node, Scalar

TEMPLATE_MARK: Final = "${{"
_JOINERS: Final = "\u200c\u200d"
_UNPASSABLE: Final = re.compile("[\0\ud800-\udfff]")
"""What no argument or variable can hold, or no UTF-8 file: by an escape, or from a terminal."""
_WORDS: Final = ["string", "number", "boolean"]


class Kind(Protocol):
    """What a key's value can be. wants: in words, for `must be ..., not ...`."""

    @property
    def wants(self) -> str: ...

    def read(self, node: Node, where: str, to: Reading) -> Any: ...

    def schema(self) -> dict[str, object]: ...


def scalar(
    node: Node, where: str, to: Reading, kind: Kind, *, templates: bool = False
) -> str | None:
    """The text at `node`, or None after a problem: not a scalar, no value, a template misplaced."""
    if not isinstance(node, Scalar):
        to.add(node, Code.WRONG_TYPE, f"`{where}` must be {kind.wants}, not {describe(node)}")
        return None
    if node.is_null:
        quoted = f'; as a text, write "{show(node.text)}"' if node.text else ""
        hint = f"give it {kind.wants}, or remove the key{quoted}"
        to.add(node, Code.WRONG_TYPE, f"`{where}` has no value", hint)
        return None
    if TEMPLATE_MARK in node.text and not templates:
        hint = "templates are replaced in `command` and in the values of `env.vars`"
        to.add(node, Code.TEMPLATE, f"`{where}` cannot hold a template: `{show(node.text)}`", hint)
        return None
    return node.text


def hidden(text: str) -> str:
    """The first character that people cannot see or that reorders text, or ''."""
    if text.isascii() and text.isprintable():
        return ""
    for char in text:
        kind = unicodedata.category(char)
        if (kind[0] == "C" and char not in _JOINERS) or kind in ("Zl", "Zp"):
            return char
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One line of visible text. rule: returns a hint if the text is not allowed."""

    wants: str = "a text"
    most: int = limits.NAME_CHARS
    pattern: str = ""
    rule: Callable[[str], str] | None = None
    hint: str = ""

    def read(self, node: Node, where: str, to: Reading) -> str | None:
        raw = scalar(node, where, to, self)
        if raw is None:
            return None
        text = unicodedata.normalize("NFC", raw.strip())
        complaint = self._complaint(text)
        if complaint:
            message = f"`{where}` cannot be `{show(raw)}`"
            to.add(node, Code.BAD_VALUE, message, complaint)
            return None
        return text

    def allows(self, text: str) -> bool:
        """Whether a text as it stands, without blanks around it, is one."""
        return text == unicodedata.normalize("NFC", text.strip()) and not self._complaint(text)

    def _complaint(self, text: str) -> str:
        if not text:
            return f"give it {self.wants}"
        if len(text) > self.most:
            return f"{len(text)} characters are too many, the limit is {self.most}"
        char = hidden(text)
        if char:
            return f"remove the invisible character U+{ord(char):04X}"
        if self.pattern and not re.fullmatch(self.pattern, text):
            return self.hint or f"give it {self.wants}"
        return self.rule(text) if self.rule else ""

    def schema(self) -> dict[str, object]:
        found: dict[str, object] = {"type": _WORDS, "minLength": 1, "maxLength": self.most}
        if self.pattern:
            found["pattern"] = f"^(?:{self.pattern})$"
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """Text kept as written, several lines allowed; templates: its ${{ ... }} are replaced later."""

    wants: str = "a text"
    most_bytes: int = limits.VALUE_BYTES
    templates: bool = False
    empty: bool = True
    strip: bool = False

    def read(self, node: Node, where: str, to: Reading) -> str | None:
        text = scalar(node, where, to, self, templates=self.templates)
        if text is None:
            return None
        text = text.strip() if self.strip else text
        bad = _UNPASSABLE.search(text)
        if bad:
            message = f"`{where}` holds the character U+{ord(bad[0]):04X}: `{show(text)}`"
            to.add(node, Code.ENCODING, message, "programs cannot be given it; remove it")
            return None
        size = len(text.encode())
        if size > self.most_bytes:
            message = f"`{where}` has {size} bytes, the limit is {self.most_bytes}"
            to.add(node, Code.TOO_LARGE, message, "put it into a file; files travel with the code")
            return None
        if not text and not self.empty:
            to.add(node, Code.BAD_VALUE, f"`{where}` is empty", f"give it {self.wants}")
            return None
        return text

    def schema(self) -> dict[str, object]:
        return {"type": _WORDS, "minLength": 0 if self.empty else 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Integer:
    """hint: what helps when the number is out of range."""

    least: int
    most: int
    hint: str = ""

    @property
    def wants(self) -> str:
        if self.least == self.most:
            return f"the number {self.least}"
        return f"a whole number from {self.least} to {self.most}"

    def read(self, node: Node, where: str, to: Reading) -> int | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        value = integer(text)
        if value is None:
            plain = re.fullmatch(r"[+-]?0+(\d{1,18})", text, re.ASCII)
            hint = f"write {plain[1]}: numbers do not start with 0" if plain else ""
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            to.add(node, Code.BAD_VALUE, message, hint or "write it in digits, without a unit")
            return None
        if not self.least <= value <= self.most:
            hint = self.hint or f"the range is {self.least} to {self.most}"
            to.add(node, Code.OUT_OF_RANGE, f"`{where}` cannot be {value}", hint)
            return None
        return value

    def schema(self) -> dict[str, object]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, kw_only=True, slots=True)
class Milli:
    """A decimal number read as thousandths."""

    least: int
    most: int
    wants: str

    def read(self, node: Node, where: str, to: Reading) -> int | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        value = thousandths(text)
        if value is None:
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            to.add(node, Code.BAD_VALUE, message, "steps are thousandths: 0.125, 0.5, 4")
            return None
        if not self.least <= value <= self.most:
            hint = f"the range is {self.least / 1000:g} to {self.most / 1000:g}"
            to.add(node, Code.OUT_OF_RANGE, f"`{where}` cannot be {show(text)}", hint)
            return None
        return value

    def schema(self) -> dict[str, object]:
        return {"type": "number", "minimum": self.least / 1000, "maximum": self.most / 1000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Bytes, with a required unit: a bare `16` is gigabytes to one reader and bytes to another."""

    most: int = limits.BYTES
    wants: str = "a size with a unit"
    least: int = 1

    def read(self, node: Node, where: str, to: Reading) -> int | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        value = size_bytes(text)
        if value is None:
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            to.add(node, Code.BAD_VALUE, message, _size_hint(text))
        elif not self.least <= value <= self.most:
            hint = f"the range is {self.least}B to {show_bytes(self.most)}"
            to.add(node, Code.OUT_OF_RANGE, f"`{where}` cannot be {show(text)}", hint)
        else:
            return value
        return None

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": r"^\d+(\.\d+)?\s?([KkMmGgTtPp]([Ii][Bb]?|[Bb])|[Bb])$"}


def _size_hint(text: str) -> str:
    number = re.match(r"\d{1,18}(?:\.\d{1,9})?", text)
    if number and text[number.end() :].strip().upper() in ("K", "M", "G", "T", "P"):
        unit = text[number.end() :].strip().upper()
        return f"say which: {number[0]}{unit}iB (powers of 1024) or {number[0]}{unit}B (of 1000)"
    if number and number.end() == len(text):
        return f"add the unit: {number[0]}GiB, {number[0]}MiB or {number[0]}B"
    return "units: B, kB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024), as in 16GiB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration:
    """Seconds as a float of whole milliseconds."""

    least_ms: int
    most_ms: int
    wants: str = "a duration"

    def read(self, node: Node, where: str, to: Reading) -> float | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        value = duration_ms(text)
        if value is None:
            hint = "write 90s, 45m, 1.5h, 1h30m or 2d; a plain number is seconds"
            if ":" in text:
                hint = f"`{show(text)}` can be read in two ways; write 1h30m, 90m or 5400s"
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            to.add(node, Code.BAD_VALUE, message, hint)
            return None
        if not self.least_ms <= value <= self.most_ms:
            hint = f"the range is {show_ms(self.least_ms)} to {show_ms(self.most_ms)}"
            to.add(node, Code.OUT_OF_RANGE, f"`{where}` cannot be {show(text)}", hint)
            return None
        return value / 1000

    def schema(self) -> dict[str, object]:
        pattern = r"^(\d+(\.\d+)?\s?(ms|w|d|h|m|s)\s?)+$|^\d+(\.\d+)?$"
        return {"type": ["string", "number"], "pattern": pattern, "minimum": self.least_ms / 1000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Boolean:
    wants: str = "true or false"

    def read(self, node: Node, where: str, to: Reading) -> bool | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        lowered = text.lower()
        if lowered in ("true", "false"):
            return lowered == "true"
        known = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(lowered)
        hint = f"write {known}" if known else "write true or false"
        to.add(node, Code.BAD_VALUE, f"`{where}` must be true or false, not `{show(text)}`", hint)
        return None

    def schema(self) -> dict[str, object]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One word of a closed set. later: words of later versions, with what helps meanwhile."""

    words: Mapping[str, str]
    later: Mapping[str, str] = field(default_factory=dict)

    @property
    def wants(self) -> str:
        return f"one of {listing(self.words)}"

    def read(self, node: Node, where: str, to: Reading) -> str | None:
        text = scalar(node, where, to, self)
        if text is None or text in self.words:
            return text
        if text in self.later:
            message = f"`{where}: {text}` is not available yet"
            to.add(node, Code.NOT_YET, message, self.later[text])
            return None
        meant = nearest(text, self.words)
        hint = f"did you mean `{meant}`? " if meant else ""
        message = f"`{where}` cannot be `{show(text)}`"
        to.add(node, Code.BAD_VALUE, message, f"{hint}allowed: {listing(self.words)}")
        return None

    def schema(self) -> dict[str, object]:
        later = [
            {"const": w, "description": f"Not available yet: {d}"} for w, d in self.later.items()
        ]
        return {"oneOf": [{"const": w, "description": d} for w, d in self.words.items()] + later}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job's id, read from its text: `42.10` is member 10, not the number 42.1."""

    wants: str = "a job id such as 42 or 42.7"

    def read(self, node: Node, where: str, to: Reading) -> JobId | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        try:
            return JobId.parse(text)
        except InvalidInput:
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            hint = "write the number that was printed when the job was submitted"
            to.add(node, Code.BAD_VALUE, message, hint)
            return None

    def schema(self) -> dict[str, object]:
        return {"type": ["string", "number"], "pattern": r"^\d{1,12}(\.\d{1,7})?$", "minimum": 0}
