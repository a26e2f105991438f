"""The published JSON Schema of job files (draft 2020-12): `zenkei schema`, editors' completion.

Made from the same table as the parser. It is as strict as JSON types allow; what needs several keys
at once (a share of a GPU on two nodes) only the parser says.
"""

from __future__ import annotations

from zenkei.spec.keys import FILE, VERSION


def schema() -> dict[str, object]:
    """A new dict on each call."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:zenkei:job-file:{VERSION}",
        "title": "zenkei job file",
        "description": "What to run, in which environment, on which resources.",
        **FILE.schema(),
        "required": ["command"],
    }
