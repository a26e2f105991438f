"""Patterns of node names: `n[01-16]`, `rack3-*`, `gpu-[1-4,7]`, `node-?`.

Used for what an operator says of nodes: where they stand, which ones a reservation takes. Pure.
Cost: a pattern is read once; then O(length of the name).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, TypeAlias

MOST_CHARS: Final = 253
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_PART: Final = re.compile(r"\[([^\[\]]*)\]|([*?])|([^\[\]*?]+)")
_Ranges: TypeAlias = tuple[tuple[int, int, int], ...]
"""First, last, and the width of numbers with leading zeros (0: without)."""


def complaint(pattern: str) -> str:
    """What is wrong with a pattern, in words that go on after its name; empty if nothing is."""
    try:
        _read(pattern)
    except ValueError as error:
        return str(error)
    return ""


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name fits one of `patterns`. What is no pattern fits nothing."""
    names: set[str] = set()
    tests = []
    for pattern in patterns:
        try:
            regex, ranges = _read(pattern)
        except ValueError:
            continue
        if regex is None:
            names.add(pattern)
        else:
            tests.append((regex, ranges))

    def matches(name: str) -> bool:
        return name in names or any(_fits(name, regex, ranges) for regex, ranges in tests)

    return matches


@lru_cache(maxsize=4096)
def _read(pattern: str) -> tuple[re.Pattern[str] | None, tuple[_Ranges, ...]]:
    """A regular expression with a group for each `[...]`; None for a plain name."""
    if not pattern or len(pattern) > MOST_CHARS:
        raise ValueError(f"has {len(pattern)} characters, 1 to {MOST_CHARS} are allowed")
    made, ranges, at = [], [], 0
    plain = True
    for part in _PART.finditer(pattern):
        if part.start() != at:
            break
        at = part.end()
        if part[3]:
            made.append(re.escape(part[3]))
            continue
        plain = False
        if part[2]:
            made.append("[^/]*" if part[2] == "*" else "[^/]")
        else:
            ranges.append(_ranges(part[1]))
            made.append(r"(\d{1,9})")
    if at != len(pattern):
        raise ValueError("has a bracket without its partner")
    return (None if plain else re.compile("".join(made), re.ASCII)), tuple(ranges)


def _ranges(text: str) -> _Ranges:
    found = []
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise ValueError(f"has `[{text[:40]}]`, which is no range such as [1-4] or [01-16,20]")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f"has the range {first}-{last}, which is empty")
        width = len(first) if len(first) > 1 and first.startswith("0") else 0
        if width and len(last) != width and match[2]:
            raise ValueError(f"has the range {first}-{last}, whose numbers differ in width")
        found.append((int(first), int(last), width))
    return tuple(found)


def _fits(name: str, regex: re.Pattern[str], ranges: tuple[_Ranges, ...]) -> bool:
    match = regex.fullmatch(name)
    if match is None:
        return False
    return all(_within(text, of) for text, of in zip(match.groups(), ranges, strict=True))


def _within(text: str, ranges: _Ranges) -> bool:
    number, zeros = int(text), text.startswith("0") and len(text) > 1
    return any(
        first <= number <= last and (len(text) == width if width else not zeros)
        for first, last, width in ranges
    )
