"""Which node's record tells why a gang failed. Pure; called by `gang`.

The root cause is the first failure by time. But a node that only saw a consequence of another (a
connection that closed, a collective that timed out) gives way to one that shows a cause, if that
came within WINDOW_US: reports of several nodes come in any order, and their clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from zenkei.model.job import Exit, StopReason
from zenkei.protocol import symptoms
from zenkei.protocol.records import Record

WINDOW_US = 60_000_000
PEERS_GRACE_S = 0.5
"""As for the other ranks of the failing node (`agent.supervisor`): they cannot go on."""
_OF_RANKS = frozenset({StopReason.NONZERO_EXIT, StopReason.OUT_OF_MEMORY, StopReason.LAUNCH_FAILED})


def grace_s(why: StopReason, otherwise_s: float) -> float:
    """For the nodes that are told to stop because another has failed."""
    return min(PEERS_GRACE_S, otherwise_s) if why in _OF_RANKS else otherwise_s


def first(failures: Mapping[int, Record]) -> int:
    """The node that failed first; 0 if none did."""
    return min(failures, key=lambda rank: (*_standing(failures[rank]), rank), default=0)


def exit_of(names: Sequence[str], failures: Mapping[int, Record]) -> tuple[StopReason, Exit]:
    """Why the gang failed, and the exit that tells it. names: of nodes, by rank."""
    seen = first(failures)
    root = _root(failures, seen)
    ended = as_exit(failures[root], names[root])
    if root != seen and not ended.code:
        # it was stopped before it could end by itself: the exit that was seen stands for it
        other = as_exit(failures[seen], names[seen])
        ended = replace(ended, code=other.code, signal=other.signal)
    matched = {int(place) for r in failures.values() for place in r.get("matched", ())}
    reason = StopReason(failures[root]["reason"])
    return reason, replace(ended, matched=tuple(sorted(matched)))


def as_exit(record: Record, node: str) -> Exit:
    """One node's record."""
    code = record.get("code")
    return Exit(
        code=None if code is None else int(code),
        signal=int(record.get("signal", 0)),
        rank=int(record.get("rank", -1)),
        node=node,
        detail=str(record.get("detail", "")),
        symptom=_symptom(record),
        tail=tuple(str(line) for line in record.get("tail", ())),
        ranks=int(record.get("ranks", 1)),
    )


def _root(failures: Mapping[int, Record], seen: int) -> int:
    """Of those that failed soon after the first, the one that shows more; else the first."""
    weight = _weight(failures[seen])
    until_us = _decided_us(failures[seen]) + WINDOW_US
    near = {rank: r for rank, r in failures.items() if _decided_us(r) <= until_us}
    most = max((_weight(record) for record in near.values() if _symptom(record)), default=0)
    if most <= weight:
        return seen
    return first({rank: r for rank, r in near.items() if _symptom(r) and _weight(r) == most})


def _weight(record: Record) -> int:
    """2: a cause, 1: a consequence, 0: a rank whose end nobody saw."""
    symptom = _symptom(record)
    if symptoms.is_consequence(symptom):
        return 1
    # mpiexec ends what is left when one rank fails, before that can tell why
    return 0 if not symptom and record["reason"] == StopReason.LAUNCH_FAILED else 2


def _standing(record: Record) -> tuple[bool, int]:
    """Failures in the order in which they can be root causes.

    By when they were decided: a record may be written after a grace. A failure without a rank comes
    last: it is mpiexec's, or that of a node that was told to end because another had failed.
    """
    decided_us = _decided_us(record)
    ownerless = decided_us > 0 and not record.get("by_rank", False)
    return ownerless, decided_us


def _decided_us(record: Record) -> int:
    return int(record.get("cause_us") or 0)


def _symptom(record: Record) -> str:
    return str(record.get("symptom", ""))
