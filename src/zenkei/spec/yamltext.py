"""Bytes to tree: YAML syntax, and what of YAML a job or cluster file may use.

Called by `parsing.parse`. Reads libyaml's events instead of its objects: every value keeps its line
and column, nothing is constructed or guessed (no tags, no implicit types), and nesting, size and
alias expansion are bounded while reading, so hostile files cost no more than large ones. O(bytes).
The first error of syntax ends the reading; everything else is collected.
"""

from __future__ import annotations

import re
from typing import Any, Final

from zenkei.spec import limits
from zenkei.spec.problems import JOB_FILE, Code, Reading, show
from zenkei.spec.tree import Mapping, Node, Scalar, Sequence

_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff"
)
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_UTF8_MARK: Final = b"\xef\xbb\xbf"


class _Stop(Exception):
    """Reading cannot go on; the reason is in the Reading."""


def read_tree(text: bytes, to: Reading) -> Node | None:
    """The file's one document, or None if a problem made that impossible."""
    try:
        decoded = _decode(text, to)
        return _Composer(decoded, to).document()
    except _Stop:
        return None


def _decode(text: bytes, to: Reading) -> str:
    if len(text) > limits.FILE_BYTES:
        message = f"the file has {len(text)} bytes, the limit is {limits.FILE_BYTES} (1 MiB)"
        hint = f"keep data out of the {to.what}; name files instead"
        to.add_at(1, 1, Code.TOO_LARGE, message, hint)
        raise _Stop
    if text.startswith(_WIDE_MARKS):
        to.add_at(1, 1, Code.ENCODING, "the file is UTF-16 or UTF-32", "save it as UTF-8")
        raise _Stop
    body = text.removeprefix(_UTF8_MARK)
    try:
        decoded = body.decode("utf-8")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8")
        line, column = _place(before)
        byte = f"byte 0x{body[error.start]:02x} is not UTF-8"
        to.add_at(line, column, Code.ENCODING, byte, "save the file as UTF-8")
        raise _Stop from None
    bad = _UNPRINTABLE.search(decoded)
    if bad:
        line, column = _place(decoded[: bad.start()])
        what = f"character U+{ord(bad[0]):04X} may not stand in a {to.what}"
        to.add_at(line, column, Code.ENCODING, what, "remove it")
        raise _Stop
    return decoded


def _place(before: str) -> tuple[int, int]:
    """Line and column of what follows `before`."""
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1


class _Composer:
    """Builds the tree from events with a stack of its own: depth costs no recursion."""

    def __init__(self, text: str, to: Reading) -> None:
        import yaml

        self._yaml = yaml
        self._to = to
        self._loader = yaml.CSafeLoader(text)
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._count = 0

    def document(self) -> Node | None:
        events = self._yaml
        try:
            self._next()
            start = self._next()
            if isinstance(start, events.StreamEndEvent):
                self._to.add_at(1, 1, Code.MISSING_KEY, "the file is empty", self._first_line())
                return None
            node, _, _ = self._node(0)
            self._next()
            after = self._next()
            if not isinstance(after, events.StreamEndEvent):
                what = self._to.what
                hint = f"a {what} holds one document: one {what.removesuffix(' file')}"
                self._refuse(after, "a second document", hint)
            return node
        except events.YAMLError as error:
            self._syntax(error)
            raise _Stop from None
        finally:
            self._loader.dispose()

    def _next(self) -> Any:
        return self._loader.get_event()

    def _node(self, depth: int) -> tuple[Node, int, int]:
        """The next node with its size (nodes in it, aliases expanded) and its height."""
        return self._finish(self._next(), depth)

    def _finish(self, event: Any, depth: int) -> tuple[Node, int, int]:
        kinds = self._yaml
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if depth > self._to.depth:
            self._too_deep(line, column)
        if isinstance(event, kinds.AliasEvent):
            return self._alias(event, depth, line, column)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            message = f"tag `{show(tag)}` is not allowed"
            hint = "remove it: each value is read as its key wants it"
            self._to.add_at(line, column, Code.FORBIDDEN_YAML, message, hint)
        self._grow(1, line, column)
        if isinstance(event, kinds.ScalarEvent):
            node: Node = Scalar(event.value, not event.style, line, column)
            size, height = 1, 0
        else:
            if event.anchor:
                self._anchors[event.anchor] = None  # open: an alias to it would be a cycle
            if isinstance(event, kinds.SequenceStartEvent):
                node, size, height = self._sequence(depth, line, column)
            else:
                node, size, height = self._mapping(depth, line, column)
        if event.anchor:
            self._anchors[event.anchor] = (node, size, height)
        return node, size, height

    def _sequence(self, depth: int, line: int, column: int) -> tuple[Node, int, int]:
        items: list[Node] = []
        size, height = 1, 0
        while not isinstance(event := self._next(), self._yaml.SequenceEndEvent):
            item, more, below = self._finish(event, depth + 1)
            items.append(item)
            size, height = size + more, max(height, below + 1)
        return Sequence(items, line, column), size, height

    def _mapping(self, depth: int, line: int, column: int) -> tuple[Node, int, int]:
        pairs: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Node] = []
        size, height = 1, 0
        while not isinstance(event := self._next(), self._yaml.MappingEndEvent):
            key, more, _ = self._finish(event, depth + 1)
            value, most, below = self._node(depth + 1)
            size, height = size + more + most, max(height, below + 1)
            if not isinstance(key, Scalar):
                hint = "a key is a word, as in `name: value`"
                self._to.add(key, Code.WRONG_TYPE, "a key cannot be a list or a mapping", hint)
            elif key.plain and key.text == "<<":
                merged.append(value)
            elif key.text in pairs:
                first = pairs[key.text][0].line
                message = f"`{show(key.text)}` is given twice (first in line {first})"
                self._to.add(key, Code.DUPLICATE_KEY, message, "keep one of them")
            else:
                pairs[key.text] = (key, value)
        for value in merged:
            self._merge(value, pairs)
        return Mapping(list(pairs.values()), line, column), size, height

    def _merge(self, value: Node, pairs: dict[str, tuple[Scalar, Node]]) -> None:
        """`<<: *base`: keys of the base, unless given here; earlier bases win over later ones."""
        for base in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(base, Mapping):
                hint = "write `<<: *anchor` with the anchor on a mapping"
                self._to.add(base, Code.WRONG_TYPE, "`<<` merges mappings only", hint)
                continue
            for key, inner in base.pairs:
                pairs.setdefault(key.text, (key, inner))

    def _alias(self, event: Any, depth: int, line: int, column: int) -> tuple[Node, int, int]:
        name = event.anchor
        known = self._anchors.get(name)
        if known is None:
            what = "contains itself" if name in self._anchors else "has no anchor above it"
            message = f"alias `*{show(name)}` {what}"
            self._to.add_at(line, column, Code.YAML, message, f"put `&{show(name)}` on the value")
            raise _Stop
        _, size, height = known
        if depth + height > self._to.depth:
            self._too_deep(line, column)
        self._grow(size, line, column)
        return known

    def _grow(self, size: int, line: int, column: int) -> None:
        self._count += size
        if self._count > limits.NODES_OF_FILE:
            message = f"more than {limits.NODES_OF_FILE} values (aliases expanded)"
            hint = "a job file is small; sweeps are short with `matrix` and `array`"
            hint = hint if self._to.what == JOB_FILE else "name many nodes by a pattern"
            self._to.add_at(line, column, Code.TOO_LARGE, message, hint)
            raise _Stop

    def _too_deep(self, line: int, column: int) -> None:
        message = f"values are nested deeper than {self._to.depth} levels"
        hint = f"no key of a {self._to.what} needs that"
        self._to.add_at(line, column, Code.TOO_LARGE, message, hint)
        raise _Stop

    def _first_line(self) -> str:
        return _FIRST_LINE if self._to.what == JOB_FILE else _FIRST_CLUSTER_LINE

    def _refuse(self, event: Any, what: str, hint: str) -> None:
        mark = event.start_mark
        self._to.add_at(mark.line + 1, mark.column + 1, Code.FORBIDDEN_YAML, f"{what} starts", hint)

    def _syntax(self, error: Exception) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        hint = next((h for part, h in _SYNTAX_HINTS.items() if part in problem), _SYNTAX_HINT)
        self._to.add_at(line, column, Code.YAML, f"not YAML: {show(problem)}", hint)


_FIRST_LINE = "the shortest job file is one line: `command: python train.py`"
_FIRST_CLUSTER_LINE = "`zenkei cluster init` writes a first one"
_SYNTAX_HINT = "check indentation, and quote texts that hold `: `, ` #` or start with a sign"
_SYNTAX_HINTS = {
    "cannot start any token": "indent with spaces, not tabs; quote texts that start with @, % or `",
    "mapping values are not allowed": "quote a text that holds `: `, or check the indentation",
    "could not find expected ':'": "a key ends in a colon and a space: `name: value`",
    "did not find expected ','": "in [...] and {...}, quote texts with , [ ] { }, templates too",
    "did not find expected key": "check the indentation: keys of one mapping stand in one column",
}
