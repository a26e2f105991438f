"""`job-file.md`, `cluster-file.md` from the tables of keys, `settings.md` from Settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tools.docs.markdown import code, page, table
from zenkei.settings import Settings
from zenkei.spec.cluster_keys import FILE as CLUSTER
from zenkei.spec.keys import FILE, walk
from zenkei.spec.shapes import Section

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


CLUSTER_UNITS = """
| kind | written | notes |
|---|---|---|
| memory | `512GiB`, `2TiB`, `0B` | binary and decimal units |
| GPUs | `16`, `0.5`, `{A100: 8, H100: 8}` | of all models, or by model; `total`: together |
| time | `90s`, `45m`, `1h30m`, `2d` | a plain number is seconds |
| moments | `2026-12-01 09:00`, `2026-12-01T09:00+09:00` | without a zone: in that of `timezone` |
| nodes | `node-1`, `n[01-16]`, `gpu-[1-4,7]`, `rack3-*`, `n?` | names or patterns |
"""
CLUSTER_INTRO = """
A cluster file is YAML of at most 1 MiB, read as strictly as a [job file](job-file.md): unknown and
duplicate keys are refused, all problems are reported at once with line and column. `zenkei cluster
init` writes a first one from the nodes there are, `zenkei cluster apply FILE --diff` shows what it
would change, `zenkei schema cluster` prints the JSON Schema for an editor. `cap`, `borrow`, `lend`
and `user_cap` take the keys of `quota`; the innermost queues are those in which jobs wait.
"""
CLUSTER_EXAMPLE = """```yaml
queues:
  vision:
    quota: {gpus: 16, memory: 2TiB}
    queues:
      train: {weight: 2}
      debug: {priority: 10, user_cap: {gpus: 1}}
  speech:
    quota: {gpus: 8}
    cap: {gpus: 16}
```"""


def job_file() -> str:
    return _keys_page("Job file", [INTRO, EXAMPLE, "## Units", UNITS], FILE)


def cluster_file() -> str:
    intro = [CLUSTER_INTRO, CLUSTER_EXAMPLE, "## Units", CLUSTER_UNITS]
    return _keys_page("Cluster file", intro, CLUSTER)


def _keys_page(title: str, parts: list[str], file: Section) -> str:
    sections: dict[str, list[list[str]]] = {}
    seen: set[int] = set()
    for section, key in walk(file):
        if id(key) in seen:
            continue  # a table that stands in several places is told once
        seen.add(id(key))
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
    return page(title, *parts)


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
