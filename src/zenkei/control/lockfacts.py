"""What stands in an environment's lock, for comparing two of them. Pure.

The document is a requirements file with a JSON header (`envs.lockfile` writes it); only what is
needed here is read, and what is of another form counts as nothing known.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_MARK = "# zenkei-lock "
_PINNED = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:===?\s*([^\s;,]+)|@\s*(\S+))"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LockFacts:
    """packages: version (or address) by normalised name."""

    python: str = ""
    platform: str = ""
    packages: dict[str, str] = field(default_factory=dict)


def facts_of(lock: bytes) -> LockFacts:
    head, _, body = lock.decode("utf-8", "replace").partition("\n")
    try:
        header = json.loads(head.removeprefix(_MARK)) if head.startswith(_MARK) else {}
    except (ValueError, RecursionError):
        header = {}
    packages = {}
    for line in body.splitlines():
        match = _PINNED.match(line)
        if match is not None:
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            packages[name] = match[2] or match[3]
    return LockFacts(
        python=str(header.get("python", "")),
        platform=str(header.get("platform", "")),
        packages=packages,
    )
