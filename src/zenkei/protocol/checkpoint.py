"""What a rank says about its checkpoints: lines of a marker file. Program → supervisor.

Each rank has a file of its own, named by $ZENKEI_CHECKPOINT_MARKER, to which it appends one line of
JSON per event; a program that cannot import the SDK may do so with `echo`:

    {"saved": 120, "path": "step-120"}    progress at step 120 is saved
    {"saved": 120}                        the same, from a rank that wrote no file of its own
    {"resumed": 120}                      the program goes on from the checkpoint of step 120

`path` is relative to $ZENKEI_CHECKPOINT_DIR, and names a file or a directory that is complete. A
line counts when it has its newline. A checkpoint is complete when all ranks that must have said so
for the same step. Readers never trust a path: see `engines`.
"""

from __future__ import annotations

import json
from typing import NamedTuple

MOST_LINE = 4096
MOST_STEP = (1 << 53) - 1


class Mark(NamedTuple):
    """One line. resumed: it is said that the program went on from `step`. path may be empty."""

    step: int
    path: str = ""
    resumed: bool = False


def encode(mark: Mark) -> bytes:
    """One line. Raises ValueError for a step or path that a reader would refuse."""
    problem = _problem(mark)
    if problem:
        raise ValueError(problem)
    kind = "resumed" if mark.resumed else "saved"
    fields = {kind: mark.step}
    if mark.path:
        fields["path"] = mark.path  # type: ignore[assignment]
    return json.dumps(fields).encode() + b"\n"


def decode(data: bytes) -> tuple[list[Mark], list[str], bytes]:
    """Marks, complaints about lines that are none, and the rest without a newline."""
    lines, newline, rest = data.rpartition(b"\n")
    marks: list[Mark] = []
    complaints: list[str] = []
    for line in lines.split(b"\n") if newline else ():
        if not line.strip():
            continue
        mark, problem = _mark(line)
        if mark is None:
            complaints.append(problem)
        else:
            marks.append(mark)
    return marks, complaints, rest


def _mark(line: bytes) -> tuple[Mark | None, str]:
    shown = line[:80].decode("utf-8", "replace")
    if len(line) > MOST_LINE:
        return None, f"a line of {len(line)} bytes, the limit is {MOST_LINE}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None, f"`{shown}` is no JSON"
    if not isinstance(fields, dict) or ("saved" in fields) == ("resumed" in fields):
        return None, f"`{shown}` has neither `saved` nor `resumed`, or both"
    resumed = "resumed" in fields
    step = fields["resumed" if resumed else "saved"]
    path = fields.get("path", "")
    if not isinstance(step, int) or isinstance(step, bool) or not isinstance(path, str):
        return None, f"`{shown}`: a step is a whole number, a path is a text"
    mark = Mark(step, "" if resumed else path, resumed)
    problem = _problem(mark)
    return (None, problem) if problem else (mark, "")


def _problem(mark: Mark) -> str:
    if not 0 <= mark.step <= MOST_STEP:
        return f"step {mark.step} is not between 0 and {MOST_STEP}"
    parts = mark.path.split("/") if mark.path else []
    if mark.path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return f"`{mark.path[:80]}` is no path inside $ZENKEI_CHECKPOINT_DIR"
    try:
        mark.path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{mark.path[:80]!a} has half a character: no file has such a name"
    if any(ord(char) < 32 or ord(char) == 127 for char in mark.path):
        return f"`{mark.path[:80]!r}` has control characters"
    return ""
