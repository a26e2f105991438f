"""What the ranks of several nodes said, taken together."""

from __future__ import annotations

from typing import Any

from zenkei.engines.local import gang
from zenkei.model.data import CheckpointPart
from zenkei.model.ids import AttemptId
from zenkei.model.job import Notice, StopReason
from zenkei.ports.engine import Checkpointed, Exited, Noticed, Released, Resumed

ATTEMPT = AttemptId.parse("7/1")
NAMES = ("node-1", "node-2")


def record(kind: str, **fields: Any) -> dict[str, Any]:
    return {"attempt": "7/1", "kind": kind, "at_us": 1, **fields}


def saved(step: int, *paths: str, **fields: Any) -> dict[str, Any]:
    return record("saved", step=step, paths=list(paths), **fields)


def exited(reason: str = "preempted", **fields: Any) -> dict[str, Any]:
    return record("exited", reason=reason, **fields)


STOP = {"stop": "preempted", "grace_s": 7.0}


def read(*spools: list[dict[str, Any]]) -> gang.Gang:
    return gang.read(ATTEMPT, NAMES[: len(spools)], spools)


def points(found: gang.Gang) -> list[tuple[int, tuple[CheckpointPart, ...]]]:
    return [(r.step, r.parts) for r in found.reports if isinstance(r, Checkpointed)]


def test_a_step_is_a_checkpoint_when_all_nodes_have_it() -> None:
    found = read([saved(10, "a"), saved(20, "b")], [saved(10, "c")])
    parts = (CheckpointPart(node_rank=0, path="a"), CheckpointPart(node_rank=1, path="c"))
    assert points(found) == [(10, parts)]


def test_a_path_inside_another_is_part_of_it() -> None:
    [(_, parts)] = points(read([saved(10, "step/rank-0", "step", "step-2")]))
    assert [part.path for part in parts] == ["step", "step-2"]


def test_where_only_the_first_rank_must_speak_its_node_is_enough() -> None:
    found = read([saved(10, "a", first=True)], [])
    assert [step for step, _ in points(found)] == [10]


def test_records_of_another_attempt_are_not_counted() -> None:
    assert points(read([{**saved(10, "a"), "attempt": "7/2"}])) == []


def test_steps_and_notices_come_before_the_end() -> None:
    notice = record("notice", notice="checkpoint", rank=0, detail="odd")
    spool = [record("resumed", rank=0, step=5), saved(10), notice, exited()]
    reports = read([*spool, record("released", proof="x")]).reports
    assert [type(r) for r in reports] == [Resumed, Checkpointed, Noticed, Exited, Released]


def test_when_all_nodes_have_saved_because_of_an_order_they_are_stopped() -> None:
    waiting = read([saved(10, **STOP)], [])
    assert waiting.stop == ()
    done = read([saved(10, **STOP)], [saved(10)])
    assert (done.stop, done.why, done.grace_s) == ((0, 1), StopReason.PREEMPTED, 7.0)


def test_a_node_that_ended_after_saving_leaves_the_other_its_time() -> None:
    assert read([saved(10, **STOP), exited(saved=10)], []).stop == ()
    assert read([exited(saved=-2)], []).stop == ()


def test_a_node_that_ended_without_saving_ends_the_others_wait() -> None:
    assert read([exited(saved=-1)], []).stop == (1,)
    assert read([exited("nonzero_exit")], []).stop == (1,)


def test_different_answers_to_one_order_are_told_until_they_agree() -> None:
    found = read([saved(10, **STOP)], [saved(11, **STOP)])
    [notice] = [r for r in found.reports if isinstance(r, Noticed)]
    assert notice.notice is Notice.CHECKPOINT
    assert "node-1 step 10, node-2 step 11" in notice.detail
    agreed = read([saved(10, **STOP), saved(11, **STOP)], [saved(11, **STOP)])
    assert not any(isinstance(r, Noticed) for r in agreed.reports)
