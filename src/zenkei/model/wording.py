"""Numbers with their things, in words: for messages of every room. Pure, and cheap to import."""

from __future__ import annotations


def count(number: int | str, thing: str, things: str = "") -> str:
    """`1 node`, `3 nodes`. things: a plural that is no plain `s` (`2 entries`)."""
    return f"{number} {thing if str(number) == '1' else things or thing + 's'}"
