"""Who is to blame among silent ranks, in which words; who is a straggler."""

from __future__ import annotations

import pytest

from zenkei.protocol.hangs import Evidence, Share, dump, judge, load, straggler

WAITS = Evidence(0, "waits", "waits for data from a socket", "train.py:9 in all_reduce", True)


def waits(*ranks: int) -> list[Evidence]:
    return [WAITS._replace(rank=rank) for rank in ranks]


def test_a_stopped_rank_is_to_blame_and_not_those_that_wait_for_it():
    found = [*waits(0, 2), Evidence(1, "stopped")]
    verdict = judge(found, 42.0, 0.3)
    assert verdict.rank == 1
    assert verdict.text == (
        "no sign of progress for 42 s (usual: 0.3 s): rank 1 is stopped (SIGSTOP);"
        " ranks 0 and 2 wait for it at train.py:9 in all_reduce"
    )


def test_a_rank_that_computes_is_to_blame_before_those_that_wait():
    found = [*waits(0, 1), Evidence(2, "computes", "computes", "train.py:5 in solve")]
    verdict = judge(found, 300.0, 0.0)
    assert verdict.rank == 2
    assert verdict.text.startswith("no sign of progress for 5 min: rank 2 computes at train.py:5")


def test_ranks_that_spin_in_a_collective_are_not_to_blame_for_one_that_does_not():
    spins = [WAITS._replace(rank=rank, state="computes") for rank in (0, 1)]
    verdict = judge([*spins, Evidence(2, "waits", "waits for a lock", "data.py:3 in load")], 9, 0)
    assert verdict.rank == 2


def test_a_rank_that_ended_early_is_to_blame():
    verdict = judge([*waits(0, 2), Evidence(1, "ended", "has ended")], 7.0, 0.2)
    assert verdict.rank == 1
    assert "rank 1 has ended while ranks 0 and 2 wait for it" in verdict.text


def test_the_rank_in_another_place_is_to_blame_if_all_wait():
    other = WAITS._replace(rank=2, place="train.py:20 in evaluate")
    assert judge([*waits(0, 1, 3), other], 7.0, 0.2).rank == 2


def test_nobody_is_to_blame_if_all_wait_in_the_same_place():
    verdict = judge(waits(0, 1), 7.0, 0.2)
    assert verdict.rank == -1
    assert "ranks 0 and 1 wait for data from a socket at train.py:9" in verdict.text


def test_nobody_is_to_blame_if_the_place_of_one_is_unknown():
    verdict = judge([*waits(0), Evidence(1, "waits", "waits for a lock")], 7.0, 0.2)
    assert verdict.rank == -1


def test_of_two_in_different_places_both_are_named():
    other = WAITS._replace(rank=1, place="train.py:20 in barrier")
    text = judge([*waits(0), other], 7.0, 0.2).text
    assert (
        "in different places (0 at train.py:9 in all_reduce, 1 at train.py:20 in barrier)" in text
    )


def test_evidence_survives_its_record():
    found = (WAITS, Evidence(1, "stopped"))
    assert load(dump(found)) == found
    assert load([["nonsense"], 7]) == ()


@pytest.mark.parametrize(
    ("shares", "spins", "expected"),
    [
        pytest.param([(0, 0, 20), (19, 0, 20), (1, 0, 20)], False, 1, id="one works, others wait"),
        pytest.param([(0, 0, 20), (0, 20, 20)], False, 1, id="one sleeps, the other waits"),
        pytest.param([(18, 0, 20), (19, 0, 20)], False, -1, id="all work"),
        pytest.param(
            [(1, 14, 20, 4), (7, 0, 20, 6)], False, 0, id="sleeps, on a machine that is overloaded"
        ),
        pytest.param(
            [(18, 0, 20, 12), (7, 0, 20, 6)], False, 0, id="works, on a machine that is overloaded"
        ),
        pytest.param([(18, 0, 20), (7, 0, 20)], False, -1, id="the other one works as well"),
        pytest.param([(18, 0, 20), (16, 0, 20, 15)], False, -1, id="too little is known"),
        pytest.param([(9, 0, 20), (12, 0, 20)], False, -1, id="twice as slow is no straggler"),
        pytest.param([(19, 0, 20), (18, 0, 20), (0, 0, 20)], False, -1, id="a server and workers"),
        pytest.param([(20, 0, 20), (0, 20, 20), (20, 0, 20)], True, 1, id="one sleeps, MPI spins"),
        pytest.param([(20, 0, 20), (0, 20, 20)], False, -1, id="a master that polls its worker"),
        pytest.param([(20, 0, 20)], False, -1, id="a rank alone"),
    ],
)
def test_a_straggler_is_the_one_that_all_others_wait_for(shares, spins, expected):
    found = [Share(rank, *share) for rank, share in enumerate(shares)]
    assert straggler(found, spins=spins) == expected
