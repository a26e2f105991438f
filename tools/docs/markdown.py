"""Small pieces of Markdown. Called by the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MADE = "<!-- made by `make docs` from the code; edit the code or tools/docs, not this page -->\n"


def page(title: str, *parts: str) -> str:
    """A page: title, note of its origin, parts divided by blank lines."""
    body = "\n\n".join(part.strip("\n") for part in parts if part)
    return f"# {title}\n\n{MADE}\n{body}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def code(text: str) -> str:
    """`text` as code; empty stays empty."""
    return f"`{text}`" if text else ""


def sentence(docstring: str | None) -> str:
    """A docstring as running text: lines joined, indentation gone, no blank lines."""
    lines = [line.strip() for line in (docstring or "").strip().splitlines()]
    return re.sub(r"\s+", " ", " ".join(lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
