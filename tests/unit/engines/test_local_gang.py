"""What the records of several nodes mean for the attempt."""

from __future__ import annotations

from typing import Any

from zenkei.engines.local import gang
from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.ports.engine import Exited, Released, Started

ATTEMPT = AttemptId.parse("7/1")
NAMES = ("node-1", "node-2", "node-3")


def record(kind: str, at_us: int, **fields: Any) -> dict[str, Any]:
    return {"attempt": "7/1", "kind": kind, "at_us": at_us, **fields}


def exited(at_us: int, reason: str = "completed", **fields: Any) -> dict[str, Any]:
    return record("exited", at_us, reason=reason, **fields)


def read(*spools: list[dict[str, Any]]) -> gang.Gang:
    return gang.read(ATTEMPT, NAMES[: len(spools)], spools)


STARTED = record("started", 1)


def test_a_gang_has_started_when_all_its_nodes_have():
    assert read([STARTED], []).reports == ()
    assert read([STARTED], [STARTED]).reports == (Started(attempt=ATTEMPT),)


def test_a_gang_that_ended_well_has_exited_when_its_last_node_has():
    assert read([STARTED, exited(2, code=0)], [STARTED]).reports == (Started(attempt=ATTEMPT),)
    done = read([STARTED, exited(2, code=0)], [STARTED, exited(3, code=0)])
    assert [type(report) for report in done.reports] == [Started, Exited]


def test_when_a_node_fails_the_others_are_told_to_stop():
    assert read([STARTED], [STARTED, exited(2, "nonzero_exit")], [STARTED]).stop == (0, 2)


def test_a_node_that_ended_well_stops_nobody():
    assert read([STARTED, exited(2)], [STARTED]).stop == ()


def test_the_first_failure_is_the_root_cause_though_its_record_came_last():
    why = {"cause_us": 10, "by_rank": True, "detail": "bad"}
    late = exited(90, "nonzero_exit", code=3, rank=4, **why)
    found = read([exited(50, "nonzero_exit", cause_us=20, by_rank=True)], [late])
    [report] = [each for each in found.reports if isinstance(each, Exited)]
    assert (report.reason, report.exit.code) == (StopReason.NONZERO_EXIT, 3)
    assert (report.exit.node, report.exit.rank, report.exit.detail) == ("node-2", 4, "bad")


def test_a_lost_node_is_the_root_cause_of_what_its_peers_made_of_it():
    peer = [STARTED, exited(5, "nonzero_exit", code=1, rank=0, cause_us=4, by_rank=True)]
    lost = [STARTED, exited(9, "node_lost", rank=-1, cause_us=0)]
    assert _reason(read(peer, lost)) is StopReason.NODE_LOST


def test_what_mpiexec_says_counts_only_if_no_rank_says_more():
    mpiexec = [STARTED, exited(3, "nonzero_exit", code=143, rank=-1, cause_us=2)]
    rank = [STARTED, exited(9, "out_of_memory", rank=3, cause_us=8, by_rank=True)]
    told_to_end = [STARTED, exited(9, "nonzero_exit", rank=1, signal=15, cause_us=8)]
    assert _reason(read(mpiexec, rank)) is StopReason.OUT_OF_MEMORY
    found = read(told_to_end, mpiexec)
    assert [each.exit.code for each in found.reports if isinstance(each, Exited)] == [143]


def _reason(found: gang.Gang) -> StopReason:
    [report] = [each for each in found.reports if isinstance(each, Exited)]
    return report.reason


def test_a_gang_is_released_when_all_nodes_are_and_names_their_proofs():
    ends = [exited(2), record("released", 3, proof="cgroup-kill")]
    others = [exited(2), record("released", 3, proof="reboot")]
    assert not any(isinstance(each, Released) for each in read(ends, [exited(2)]).reports)
    assert read(ends, others).reports[-1] == Released(attempt=ATTEMPT, proof="cgroup-kill+reboot")


def test_records_of_another_attempt_are_refused():
    foreign = {**STARTED, "attempt": "7/2"}
    assert read([foreign]).reports == ()
