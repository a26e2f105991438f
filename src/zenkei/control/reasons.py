"""What an operator gives as a reason: one line for people. Called by commands that keep one."""

from __future__ import annotations

from zenkei.model.errors import InvalidInput

MOST_CHARS = 200


def one_line(text: str) -> str:
    """One line for people. Raises InvalidInput."""
    line = " ".join(text.split())
    if len(line) > MOST_CHARS:
        said = f"the reason has {len(line)} characters, {MOST_CHARS} are allowed"
        raise InvalidInput("bad-reason", said, hint="say it shorter")
    strange = next((char for char in line if not char.isprintable()), "")
    if strange:
        said = f"the reason holds {strange!r}, which cannot be shown"
        raise InvalidInput("bad-reason", said, hint="say it in plain words")
    return line
