"""`job-file.md` from the table of keys, `settings.md` from the fields of Settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tools.docs.markdown import code, page, table
from zenkei.settings import Settings
from zenkei.spec.keys import walk

BUDGET = 40
UNITS = """
| kind | written | notes |
|---|---|---|
| memory, disk | `16GiB`, `500MB`, `1.5TiB` | binary and decimal units |
| time | `90s`, `45m`, `1.5h`, `1h30m`, `2d` | a plain number is seconds |
| GPUs | `1`, `8`, `0.5` | below 1: a share of one device |
| jobs | `42`, `42.7` | a member of an array has a dot |
"""
INTRO = """
A job file is YAML of at most 1 MiB, in UTF-8. Unknown and duplicate keys are refused, never
ignored; all problems of a file are reported at once, with line and column. `zenkei init` writes a
first one, `zenkei run --check` looks without submitting, `zenkei schema` prints the JSON Schema for
an editor. Only `command` is needed:
"""
EXAMPLE = """```yaml
command: echo hello
```"""


def job_file() -> str:
    parts: list[str] = [INTRO, EXAMPLE, "## Units", UNITS]
    sections: dict[str, list[list[str]]] = {}
    for section, key in walk():
        doc = key.doc.rstrip(".") + "."
        if key.later:
            doc = f"**Not available yet** ({key.later}). {doc}"
        path = f"{section.name}.{key.name}" if section.name else key.name
        example = code(key.example)
        sections.setdefault(section.name, []).append(
            [code(path), doc, key.kind.wants, key.default, example]
        )
    for name, rows in sections.items():
        parts.append(f"## `{name}`" if name else "## The file")
        parts.append(table(["key", "meaning", "value", "default", "example"], rows))
    return page("Job file", *parts)


def settings() -> str:
    rows = [
        [code(f.name), _kind(f.default), _default(f.default), _why(f)]
        for f in fields(Settings)
        if f.name != "home"
    ]
    return page(
        "Settings",
        "A setting is the environment variable `ZENKEI_NAME` of the daemon (upper case), else "
        "`name = value` in `$ZENKEI_HOME/settings.toml`, else its default. They are read when the "
        f"daemon starts. Settings are a budget: {len(rows)} of {BUDGET} are used.",
        "`ZENKEI_HOME` names the home itself; without it, `$XDG_STATE_HOME/zenkei`, else "
        "`~/.local/state/zenkei`.",
        table(["setting", "kind", "default", "why a default cannot do for everybody"], rows),
    )


def _kind(default: object) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names[type(default)]


def _default(default: object) -> str:
    return code(str(default)) if default != "" else "(empty)"


def _why(field: Any) -> str:
    """Raises KeyError for a setting without a reason."""
    return str(field.metadata["why"])
