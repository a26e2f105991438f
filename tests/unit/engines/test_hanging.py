"""A gang over several nodes hangs only if every node says that nothing moves there."""

from __future__ import annotations

from typing import Any

from zenkei.engines.local import gang
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Notice
from zenkei.ports.engine import Noticed
from zenkei.protocol.hangs import Evidence, dump

ATTEMPT = AttemptId(JobId(1), 1)
NAMES = ("node-1", "node-2")


def stuck(*evidence: Evidence, ready: bool = True, ends: bool = True) -> dict[str, Any]:
    return {
        "kind": "stuck",
        "attempt": str(ATTEMPT),
        "ready": ready,
        "ranks": dump(evidence),
        "silent_s": 9.0,
        "usual_s": 0.2,
        "grace_s": 5.0,
        "ends": ends,
    }


WAITS = Evidence(0, "waits", "waits for data from a socket", "train.py:9 in all_reduce", True)
LOOPS = Evidence(1, "computes", "computes", "train.py:5 in solve")


def test_the_node_of_the_rank_that_loops_is_told_and_not_the_one_that_waits():
    found = gang.read(ATTEMPT, NAMES, [[stuck(WAITS, ready=False)], [stuck(LOOPS)]])
    assert found.hung is not None
    assert (found.hung.node, found.hung.rank) == (1, 1)
    assert "rank 1 computes at train.py:5 in solve; rank 0 waits for it" in found.hung.detail
    [notice] = [r for r in found.reports if isinstance(r, Noticed)]
    assert (notice.notice, notice.node) == (Notice.QUIET, "node-2")


def test_a_node_that_only_waits_is_no_hang_while_the_other_is_at_work():
    assert gang.read(ATTEMPT, NAMES, [[stuck(WAITS)], []]).hung is None


def test_a_node_that_moves_again_takes_back_what_it_said():
    spools = [[stuck(WAITS)], [stuck(LOOPS), stuck(ready=False)]]
    assert gang.read(ATTEMPT, NAMES, spools).hung is None


def test_nodes_that_wait_are_no_hang_before_one_of_them_finds_it_unusual():
    spools = [[stuck(WAITS, ready=False)], [stuck(WAITS._replace(rank=1), ready=False)]]
    assert gang.read(ATTEMPT, NAMES, spools).hung is None


def test_a_hang_that_is_only_to_be_told_ends_nothing():
    found = gang.read(ATTEMPT, NAMES, [[stuck(WAITS, ends=False)], [stuck(LOOPS, ends=False)]])
    assert found.hung is None
    assert any(isinstance(report, Noticed) for report in found.reports)


def test_a_straggler_is_found_among_the_ranks_of_all_nodes():
    def share(*rows: tuple[int, int, int, int]) -> dict[str, Any]:
        return {"kind": "share", "attempt": str(ATTEMPT), "ranks": [*rows], "spins": False}

    spools = [[share((0, 1, 0, 20))], [share((1, 19, 0, 20))]]
    [notice] = [r for r in gang.read(ATTEMPT, NAMES, spools).reports if isinstance(r, Noticed)]
    assert (notice.notice, notice.rank, notice.node) == (Notice.STRAGGLER, 1, "node-2")
    assert not gang.read(ATTEMPT, NAMES, [spools[0], []]).reports
