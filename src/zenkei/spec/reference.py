"""Reference tables of all keys and problem codes in Markdown, from the table that the parser uses.

Called by the documentation's generator; a test compares them with docs/guides/job-file.md.
"""

from __future__ import annotations

from typing import Any

from zenkei.spec.keys import walk
from zenkei.spec.kinds import Kind
from zenkei.spec.shapes import Key, Section


def reference() -> str:
    """One table for the file and one for each section, in the order of the file."""
    tables: dict[int, tuple[Section, list[Key]]] = {}
    for section, key in walk():
        tables.setdefault(id(section), (section, []))[1].append(key)
    return "\n".join(_table(section, keys) for section, keys in tables.values())


def _table(section: Section, keys: list[Key]) -> str:
    title = f"### `{section.name}`" if section.name else "### The file"
    rows = ["| key | value | meaning | default |", "|---|---|---|---|"]
    for key in keys:
        doc = f"*Not available yet.* {key.doc}" if key.later else key.doc
        if key.example:
            doc = f"{doc} Example: `{key.example}`."
        cells = (f"`{key.name}`", _value(key.kind), doc, key.default)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([title, "", *rows, ""])


def _value(kind: Kind) -> str:
    bounds: Any = kind.schema()
    if bounds.get("type") == "string" and "pattern" in bounds:
        return f"{kind.wants} (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
    return kind.wants
