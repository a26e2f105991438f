"""Patterns of node names: `n[01-16]`, `rack3-*`, `gpu-[1-4,7]`, `node-?`.

Used for what an operator says of nodes: where they stand, which ones a reservation takes. Pure.
Cost: a pattern is read once; then at most its length times that of the name, whatever they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

MOST_CHARS: Final = 253
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_PART: Final = re.compile(r"\[([^\[\]]*)\]|([*?])|([^\[\]*?]+)")


class _Ranges(NamedTuple):
    """of: first, last, and the width of numbers with leading zeros (0: without).

    lengths: that the numbers may have.
    """

    of: tuple[tuple[int, int, int], ...]
    lengths: tuple[int, ...]


_Token: TypeAlias = str | _Ranges | None
"""A text, a range, `?` (the text `?`, which no name part is) or `*` (None)."""
_ANY_ONE: Final = "?"


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
            tokens = _read(pattern)
        except ValueError:
            continue
        if tokens == (pattern,) and pattern != _ANY_ONE:
            names.add(pattern)
        else:
            tests.append(tokens)

    def matches(name: str) -> bool:
        return name in names or any(_fits(name, tokens) for tokens in tests)

    return matches


@lru_cache(maxsize=4096)
def _read(pattern: str) -> tuple[_Token, ...]:
    if not pattern or len(pattern) > MOST_CHARS:
        raise ValueError(f"has {len(pattern)} characters, 1 to {MOST_CHARS} are allowed")
    made: list[_Token] = []
    at = 0
    for part in _PART.finditer(pattern):
        if part.start() != at:
            break
        at = part.end()
        if part[3]:
            made.append(part[3])
        elif part[2]:
            made.append(None if part[2] == "*" else _ANY_ONE)
        else:
            made.append(_ranges(part[1]))
    if at != len(pattern):
        raise ValueError("has a bracket without its partner")
    return tuple(made)


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
    lengths = {
        length
        for first, last, width in found
        for length in ([width] if width else range(len(str(first)), len(str(last)) + 1))
    }
    return _Ranges(tuple(found), tuple(sorted(lengths)))


def _fits(name: str, tokens: tuple[_Token, ...]) -> bool:
    """Follows all places at which a token may end at once: nothing is ever tried twice."""
    places = [0]
    for token in tokens:
        places = _after(name, token, places)
        if not places:
            return False
    return places[-1] == len(name)


def _after(name: str, token: _Token, places: list[int]) -> list[int]:
    """Where `token` may end if it begins at one of `places`, sorted."""
    if isinstance(token, str) and token != _ANY_ONE:
        return [at + len(token) for at in places if name.startswith(token, at)]
    if token == _ANY_ONE:
        return [at + 1 for at in places if at < len(name) and name[at] != "/"]
    if isinstance(token, _Ranges):
        ends = {
            at + length
            for at in places
            for length in token.lengths
            if _within(name[at : at + length], length, token)
        }
        return sorted(ends)
    return _after_star(name, places)


def _after_star(name: str, places: list[int]) -> list[int]:
    ends: list[int] = []
    for at in places:
        if ends and at <= ends[-1]:
            continue
        slash = name.find("/", at)
        ends += range(at, (slash if slash >= 0 else len(name)) + 1)
    return ends


def _within(text: str, length: int, ranges: _Ranges) -> bool:
    if len(text) != length or not (text.isascii() and text.isdigit()):
        return False
    number, zeros = int(text), text.startswith("0") and length > 1
    return any(
        first <= number <= last and (length == width if width else not zeros)
        for first, last, width in ranges.of
    )
