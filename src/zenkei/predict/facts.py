"""What is known of a job before it runs, and the groups that it belongs to, from wide to narrow.

Called by `durations` for each job that ends and for each question. Pure. A fact that is missing is
left out of the path, so a trace that knows nothing but GPUs works as well as a full history.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"[0-9A-Za-z]+")
_DIGITS = re.compile(r"\d+")
_NUMBERS = re.compile(r"#(?:[.,:_+\-/]*#)+")
_ALTERNATION = re.compile(r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)")
_HEX = re.compile(r"(?=.*\d)[0-9a-fA-F]{6,}\Z")
LONGEST_NAME = 200
"""Characters of a name that count; people put whole command lines there."""


class Facts(NamedTuple):
    """command: a digest; gpus_milli: of all parts together; empty text: not known."""

    user: str = ""
    queue: str = ""
    name: str = ""
    command: str = ""
    image: str = ""
    project: str = ""
    gpus_milli: int = 0
    submitted_us: int = 0


@lru_cache(maxsize=4096)
def template(name: str) -> str:
    """`name` without what differs from run to run: numbers, dates, digests become `#`.

    `train-resnet50-lr0.001` and `train-resnet18-lr0.1` are one template. A word counts as a digest
    if it is hexadecimal with a digit and 6 letters or more, or changes three times between letters
    and digits in 8 or more.
    """
    folded = _WORD.sub(lambda word: _folded(word.group()), name[:LONGEST_NAME])
    return _NUMBERS.sub("#", folded)


def _folded(word: str) -> str:
    mixed = len(word) >= 8 and len(_ALTERNATION.findall(word)) >= 3
    if mixed or _HEX.match(word):
        return "#"
    return _DIGITS.sub("#", word)


def path(facts: Facts) -> tuple[str, ...]:
    """Labels of the groups below the root, wide to narrow; each begins with its level's letter."""
    levels = (
        ("q", facts.queue),
        ("u", facts.user),
        ("p", facts.project),
        ("n", template(facts.name)),
        ("i", facts.image),
        ("c", facts.command),
        ("g", str(facts.gpus_milli)),
    )
    return tuple(f"{letter}:{fact}" for letter, fact in levels if fact)
