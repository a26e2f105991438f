"""The parts of a split for one job, written where it reads them.

Called by `service.mount` for a request with `split`: {"parts": [[NAME, FRACTION], ...], "seed": n,
"by": "file" | "group", "to": FILE}. A job to which nobody says its parts reckons the same ones
itself, in seconds instead of a tenth of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zenkei.data.node.request import Request
from zenkei.data.versions import jobindex
from zenkei.model.dataset import Split
from zenkei.model.errors import InvalidInput


def deal(asked: Request, index: Path) -> dict[str, Any]:
    """What the answer has beside the mount: `rows_path`, `rows_digest`, and files by part."""
    to = asked.path("to")
    split = Split(
        parts=asked.shares("parts"), seed=asked.count("seed", 0), by=asked.text("by", "file")
    )
    try:
        digest, counts = jobindex.write_parts(index, split, to)
    except ValueError as error:
        raise InvalidInput(
            "bad-request",
            f"`split` of the request cannot be: {error}",
            hint="see zenkei.data.node.dealing for what a split has",
        ) from error
    return {"rows_path": str(to), "rows_digest": digest, "parts": counts}
