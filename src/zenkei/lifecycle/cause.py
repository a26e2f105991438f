"""Why an attempt ended badly, in one line for people, and what they can do. Pure.

`outcome` makes it the job's message; `api` shows it for each attempt. The line is the same wherever
a person sees it: `run`, `wait`, `show`, messages.
"""

from __future__ import annotations

from typing import Final

from zenkei.lifecycle.symptoms import MEANINGS
from zenkei.model.job import Exit, StopReason

MOST_CHARS: Final = 200
TIME_LIMIT: Final = "it reached its time limit"
LOST: Final = {
    StopReason.NODE_LOST: "its node was lost",
    StopReason.LAUNCH_FAILED: "it could not be launched",
    StopReason.HEALTH_CHECK: "its node failed a health check",
    StopReason.PREEMPTED: "it was preempted too often",
    StopReason.RESIZED: "it was resized too often",
    StopReason.HUNG: "it hung",
    StopReason.DISK_FULL: "the disk was full",
    StopReason.BUDGET_EXHAUSTED: "its budget is used up",
}
_HINTS: Final = {
    StopReason.TIME_LIMIT: "raise `time_limit`, or save checkpoints and go on from them",
    StopReason.NODE_LOST: "`zenkei nodes` shows their state",
    StopReason.LAUNCH_FAILED: "`zenkei logs` has what the node said",
    StopReason.HUNG: "`zenkei stacks` shows where its ranks were",
    StopReason.DISK_FULL: "`zenkei du` and `zenkei prune` make space",
}
_SIGNALS: Final = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
    10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 24: "XCPU", 25: "XFSZ",
}  # fmt: skip


def line(reason: StopReason, ended: Exit) -> str:
    """`rank 3 on node-2 failed first: CUDA out of memory (exit code 1)`; empty: nothing failed."""
    if reason is StopReason.TIME_LIMIT:
        return TIME_LIMIT
    if reason in LOST and not _speaks(reason, ended):
        detail = f": {_short(ended.detail)}" if ended.detail else ""
        where = f" ({ended.node})" if ended.node and reason is not StopReason.DISK_FULL else ""
        return f"{LOST[reason]}{where}{detail}"
    if reason not in (StopReason.NONZERO_EXIT, StopReason.OUT_OF_MEMORY, StopReason.LAUNCH_FAILED):
        return ""
    what, how = _what(reason, ended), _how(ended)
    is_news = how and how not in what  # a title may name the signal itself
    said = f"{what} ({how})" if what and is_news else what or how or "it failed"
    last = f", last line: {_short(ended.detail)}" if ended.detail and not what else ""
    return f"{_who(ended)}{said}{last}"


def hint(reason: StopReason, ended: Exit) -> str:
    """What a person can do about it; may be empty."""
    meaning = MEANINGS.get(ended.symptom)
    if meaning is not None and (reason not in LOST or _speaks(reason, ended)):
        return meaning.hint
    if reason is StopReason.OUT_OF_MEMORY:
        return MEANINGS["memory_limit"].hint
    return _HINTS.get(reason, "")


def _speaks(reason: StopReason, ended: Exit) -> bool:
    """True if the ranks' own words say why a launch failed."""
    return reason is StopReason.LAUNCH_FAILED and ended.symptom in MEANINGS


def _what(reason: StopReason, ended: Exit) -> str:
    meaning = MEANINGS.get(ended.symptom)
    if meaning is None and reason is StopReason.OUT_OF_MEMORY:
        meaning = MEANINGS["memory_limit"]
    if meaning is None:
        return ""
    tells = ended.detail and (meaning.told or reason is StopReason.OUT_OF_MEMORY)
    return ": ".join(filter(None, (meaning.title, _short(ended.detail) if tells else "")))


def _how(ended: Exit) -> str:
    if ended.code is not None:
        return f"exit code {ended.code}"
    return f"signal {_SIGNALS.get(ended.signal, ended.signal)}" if ended.signal else ""


def _who(ended: Exit) -> str:
    if ended.ranks < 2 or ended.rank < 0:
        return ""
    return f"rank {ended.rank} on {ended.node or 'its node'} failed first: "


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"
