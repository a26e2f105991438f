"""What the ranks of a gang said about checkpoints, and what was noticed about them. Pure.

Called by `gang`. A step is a checkpoint when every node that has ranks which must save it says so.
Steps rise on each node; a node that saves very often reports only some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zenkei.model.data import CheckpointPart
from zenkei.model.ids import AttemptId
from zenkei.model.job import Notice, StopReason
from zenkei.ports.engine import Checkpointed, Noticed, Report, Resumed
from zenkei.protocol import records
from zenkei.protocol.records import Record

Spools = Sequence[Sequence[Record]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """All nodes have the checkpoint that an order to stop waited for: now they may be stopped."""

    why: StopReason
    grace_s: float


def said(attempt: AttemptId, names: Sequence[str], spools: Spools) -> tuple[Report, ...]:
    """Resumed, Checkpointed by step, Noticed. names, spools: by node rank."""
    return (*_resumed(attempt, spools), *_saved(attempt, spools), *_noticed(attempt, names, spools))


def complete_stop(spools: Spools) -> Stop | None:
    """Set when a step that an order to stop waits for is saved on all nodes."""
    for step, told in _complete(spools):
        for record in told.values():
            if "stop" in record and int(record["step"]) == step:
                return Stop(why=StopReason(record["stop"]), grace_s=float(record["grace_s"]))
    return None


def _resumed(attempt: AttemptId, spools: Spools) -> Iterator[Resumed]:
    told = [record for spool in spools for record in spool if record["kind"] == records.RESUMED]
    if told:
        yield Resumed(attempt=attempt, step=int(told[0]["step"]))


def _saved(attempt: AttemptId, spools: Spools) -> Iterator[Checkpointed]:
    for step, told in _complete(spools):
        parts = [
            CheckpointPart(node_rank=rank, path=path)
            for rank, record in sorted(told.items())
            for path in _outermost(record["paths"])
        ]
        yield Checkpointed(attempt=attempt, step=step, parts=tuple(parts))


def _complete(spools: Spools) -> list[tuple[int, dict[int, Record]]]:
    """Steps that all nodes which must have said so have, rising, with their records by node."""
    by_node = [_steps(spool) for spool in spools]
    must = dict(enumerate(by_node))
    if any(record.get("first") for record in by_node[0].values()):
        must = {0: by_node[0]}
    common = set.intersection(*(set(steps) for steps in must.values()))
    return [(step, {rank: steps[step] for rank, steps in must.items()}) for step in sorted(common)]


def _steps(spool: Sequence[Record]) -> dict[int, Record]:
    return {int(r["step"]): r for r in spool if r["kind"] == records.SAVED}


def _outermost(paths: Sequence[str]) -> list[str]:
    """Without those that lie inside another one."""
    return [
        path
        for path in sorted(set(paths))
        if not any(path.startswith(other + "/") for other in paths)
    ]


def _noticed(attempt: AttemptId, names: Sequence[str], spools: Spools) -> Iterator[Noticed]:
    for rank, spool in enumerate(spools):
        for record in spool:
            if record["kind"] != records.NOTICE or record["notice"] not in set(Notice):
                continue
            yield Noticed(
                attempt=attempt,
                notice=Notice(record["notice"]),
                detail=str(record["detail"]),
                rank=int(record["rank"]),
                node=names[rank],
            )
    yield from _disagreement(attempt, names, spools)


def _disagreement(attempt: AttemptId, names: Sequence[str], spools: Spools) -> Iterator[Noticed]:
    """Nodes that answered an order to stop with different steps."""
    answers = {
        rank: int(record["step"])
        for rank, spool in enumerate(spools)
        for record in spool
        if record["kind"] == records.SAVED and "stop" in record
    }
    if len(set(answers.values())) > 1 and complete_stop(spools) is None:
        told = ", ".join(f"{names[rank]} step {step}" for rank, step in sorted(answers.items()))
        yield Noticed(
            attempt=attempt,
            notice=Notice.CHECKPOINT,
            detail=f"the nodes have saved different steps, so none of them counts: {told}",
        )
