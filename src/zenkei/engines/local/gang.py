"""Records of an attempt's nodes become reports about the attempt. Pure.

Called by `runs` whenever a node's records have grown. Started: all nodes have started. Exited: all
nodes have; when one fails the others are told to stop; which is the root cause, `rootcause` says.
Released: all nodes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zenkei.engines.local import hanging, rootcause, words
from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.ports.engine import Exited, Released, Report, Started
from zenkei.protocol import records
from zenkei.protocol.records import Record

GRACE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gang:
    """What the records of all nodes mean together. stop: ranks of nodes to be told to end; why.

    hung: what a node is to be told that hangs, and the others with it.
    """

    reports: tuple[Report, ...]
    stop: tuple[int, ...]
    why: StopReason = StopReason.COMPLETED
    grace_s: float = GRACE_S
    hung: hanging.Hung | None = None


def read(attempt: AttemptId, names: Sequence[str], spools: Sequence[Sequence[Record]]) -> Gang:
    """names, spools: by node rank."""
    own = [[r for r in spool if r["attempt"] == str(attempt)] for spool in spools]
    last = [{r["kind"]: r for r in spool} for spool in own]
    exits = {rank: kinds[records.EXITED] for rank, kinds in enumerate(last) if _ended(kinds)}
    failures = {rank: r for rank, r in exits.items() if r["reason"] != StopReason.COMPLETED}
    is_over = any(_ends_all(record) for record in failures.values())
    done = words.complete_stop(own)
    running = tuple(rank for rank in range(len(last)) if rank not in exits)
    failing = {rank: k[records.FAILED] for rank, k in enumerate(last) if records.FAILED in k}
    stop = running if is_over or done is not None or failing else ()
    # a node that has told of its failure ends by itself
    stop = tuple(rank for rank in stop if rank not in failing)
    reports: list[Report] = []
    if all(records.STARTED in kinds for kinds in last):
        reports.append(Started(attempt=attempt))
    reports += words.said(attempt, names, own)
    reports += hanging.stragglers(attempt, names, own)
    hung = hanging.hung(own)
    if hung is not None:
        reports.append(hanging.noticed(attempt, names, hung))
    if len(exits) == len(last):
        reports.append(_exited(attempt, names, exits, failures))
    if all(records.RELEASED in kinds for kinds in last):
        proofs = sorted({str(kinds[records.RELEASED]["proof"]) for kinds in last})
        reports.append(Released(attempt=attempt, proof="+".join(proofs)))
    if done is not None and not is_over and not failing:
        return Gang(reports=tuple(reports), stop=stop, why=done.why, grace_s=done.grace_s)
    ending = failures or failing
    why = StopReason(ending[rootcause.first(ending)]["reason"]) if ending else StopReason.COMPLETED
    grace_s = rootcause.grace_s(why, GRACE_S)
    if ending or (hung is not None and not hung.ends):
        hung = None
    return Gang(reports=tuple(reports), stop=stop, why=why, grace_s=grace_s, hung=hung)


def _ends_all(record: Record) -> bool:
    """False for a node that was ordered to stop with a checkpoint, and has saved what it must:

    the others got the same order, and may still be saving.
    """
    return int(record.get("saved", -1)) == -1


def _ended(kinds: dict[str, Record]) -> bool:
    return records.EXITED in kinds


def _exited(
    attempt: AttemptId,
    names: Sequence[str],
    exits: dict[int, Record],
    failures: dict[int, Record],
) -> Exited:
    """exits, failures: of all nodes, and of those that did not end well."""
    if not failures:
        ended = rootcause.as_exit(exits[0], names[0])
        return Exited(attempt=attempt, reason=StopReason.COMPLETED, exit=ended)
    reason, ended = rootcause.exit_of(names, failures)
    return Exited(attempt=attempt, reason=reason, exit=ended)
