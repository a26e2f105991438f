"""JSON documents value by value, and files with one document a line (.jsonl, .ndjson).

The order of keys and blanks do not count; a key that stands twice makes a document unreadable, for
readers do not agree on its meaning. Documents are bounded, lines are streamed.
"""

from __future__ import annotations

import json
from typing import IO, Any

from zenkei.data.compare.tally import Tally, Unreadable, shortened, text
from zenkei.model.verdict import Finding

MOST_BYTES = 64 << 20
MOST_LINE = 16 << 20
MOST_DEPTH = 200


def compare_json(a: IO[bytes], b: IO[bytes], tolerance: float) -> Finding:
    """Raises Unreadable."""
    tally = Tally(tolerance)
    _add(parsed(a.read(MOST_BYTES + 1)), parsed(b.read(MOST_BYTES + 1)), "$", tally, 0)
    return tally.finding()


def compare_lines(a: IO[bytes], b: IO[bytes], tolerance: float) -> Finding:
    """Line by line. Raises Unreadable."""
    tally, number = Tally(tolerance), 0
    while True:
        left, right = a.readline(MOST_LINE + 1), b.readline(MOST_LINE + 1)
        number += 1
        if not left and not right:
            return tally.finding()
        if not left or not right:
            tally.differs(f"line {number}", f"only the {'first' if left else 'second'} has it")
            return tally.finding()
        if left.strip() or right.strip():
            _add(parsed(left), parsed(right), f"line {number}: $", tally, 0)


def parsed(data: bytes) -> Any:
    """Raises Unreadable for what is too long, malformed, too deep, or has a key twice."""
    if len(data) > MOST_BYTES:
        raise Unreadable("a document longer than 64 MiB")
    try:
        return json.loads(data, object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {str(error)[:100]}") from error


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shortened(twice)!r} stands twice")
    return found


def _add(a: Any, b: Any, where: str, tally: Tally, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise Unreadable("a document nested too deep")
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            place = f"{where}.{shortened(key)}"
            if key in a and key in b:
                _add(a[key], b[key], place, tally, depth + 1)
            else:
                tally.differs(place, f"only the {'first' if key in a else 'second'} has it")
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            tally.differs(where, "length", str(len(a)), str(len(b)))
            return
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _add(x, y, f"{where}[{i}]", tally, depth + 1)
    elif _is_number(a) and _is_number(b):
        tally.number(a, b, where)
    else:
        tally.compared += 1
        if type(a) is not type(b) or a != b:
            tally.differs(where, "", text(a), text(b))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
