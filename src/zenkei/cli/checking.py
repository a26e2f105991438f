"""`zenkei run --check`: parse here, without a daemon, and say everything that is wrong."""

from __future__ import annotations

import json
from typing import Any

from zenkei import spec
from zenkei.cli.render import clean, count
from zenkei.server.sources import reader


def check(body: Any, query: dict[str, Any], *, as_json: bool) -> int:
    """Raises InvalidInput with all problems; prints what the file means if there is none."""
    read = reader(query["source"])
    if isinstance(body, bytes):
        parsed = spec.parse(body, file=query["file"], folder=query["source"], read=read)
    else:
        parsed = spec.from_flags({**body["flags"], "command": body["command"]}, read=read)
    members = len(spec.members(parsed))
    if as_json:
        meaning = json.loads(spec.canonical(parsed))
        print(json.dumps({"spec": meaning, "digest": spec.digest(parsed), "members": members}))
    else:
        what = f", {count(members, 'member')}" if members > 1 else ""
        print(f"{clean(query.get('file', 'command'))} is valid: {clean(parsed.name)}{what}")
    return 0
