"""What the nodes of a gang say about silence, put together. Pure; called by `gang`.

A node sees its own ranks only. The gang hangs when every node that still runs says that nothing
moves there, and one of them says that this is no longer usual (`ready`). Then the rank that keeps
the others waiting is to blame, on whichever node it is: that node is told, and it ends the attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zenkei.model.ids import AttemptId
from zenkei.model.job import Notice
from zenkei.ports.engine import Noticed
from zenkei.protocol import hangs, records
from zenkei.protocol.records import Record

Spools = Sequence[Sequence[Record]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hung:
    """node: its place in the gang; rank: -1 if no single one is to blame.

    ends: the attempt is to be ended for it, not only told.
    """

    node: int
    rank: int
    detail: str
    grace_s: float
    ends: bool


def hung(spools: Spools) -> Hung | None:
    """Set when the gang hangs as a whole. spools: by node rank, more than one."""
    if len(spools) < 2:
        return None
    latest = [_latest(spool, records.STUCK) for spool in spools]
    evidence: list[tuple[int, hangs.Evidence]] = []
    for node, (spool, stuck) in enumerate(zip(spools, latest, strict=True)):
        if any(record["kind"] in (records.EXITED, records.FAILED) for record in spool):
            continue
        found = hangs.load(stuck["ranks"]) if stuck is not None else ()
        if not found:
            return None
        evidence += [(node, one) for one in found]
    told = [record for record in latest if record is not None and record["ranks"]]
    if not evidence or not any(record["ready"] for record in told):
        return None
    silent_s = max(float(record["silent_s"]) for record in told if record["ready"])
    usual_s = max(float(record["usual_s"]) for record in told)
    verdict = hangs.judge([one for _, one in evidence], silent_s, usual_s)
    node = next((node for node, one in evidence if one.rank == verdict.rank), evidence[0][0])
    grace_s = min(float(record["grace_s"]) for record in told)
    ends = all(record["ends"] for record in told)
    return Hung(node=node, rank=verdict.rank, detail=verdict.text, grace_s=grace_s, ends=ends)


def noticed(attempt: AttemptId, names: Sequence[str], found: Hung) -> Noticed:
    """For people; what a single node tells about itself is told by its own watch."""
    return Noticed(
        attempt=attempt,
        notice=Notice.QUIET,
        detail=found.detail[:500],
        rank=found.rank,
        node=names[found.node],
    )


def stragglers(attempt: AttemptId, names: Sequence[str], spools: Spools) -> Iterator[Noticed]:
    """One notice for the first rank that all others were seen to wait for."""
    latest = [_latest(spool, records.SHARE) for spool in spools]
    told = [record for record in latest if record is not None]
    if len(told) < len(spools):
        return
    spins = any(record.get("spins") for record in told)
    shares = [hangs.Share(*row) for record in told for row in record["ranks"]]
    rank = hangs.straggler(shares, spins=spins)
    if rank < 0:
        return
    node = next(
        i for i, record in enumerate(told) if any(row[0] == rank for row in record["ranks"])
    )
    slow = next(share for share in shares if share.rank == rank)
    share = round(100 * (slow.works + slow.sleeps) / slow.looks)
    others = "the other rank waits" if len(shares) == 2 else "the other ranks wait"
    does = "sleeps" if hangs.part_of(slow) == "sleeps" else "works"
    yield Noticed(
        attempt=attempt,
        notice=Notice.STRAGGLER,
        detail=f"rank {rank} is much slower: it {does} {share} % of the time, {others} for it",
        rank=rank,
        node=names[node],
    )


def _latest(spool: Sequence[Record], kind: str) -> Record | None:
    return next((record for record in reversed(spool) if record["kind"] == kind), None)
