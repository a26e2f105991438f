"""What `zenkei explain` says of an account, in about five lines."""

from __future__ import annotations

from typing import Any

from zenkei.cli import explain

Json = dict[str, Any]
GIB = 1 << 30


def account(**keys: object) -> Json:
    free = {"cpu_milli": 6000, "gpu_milli": 0, "memory_bytes": 3 * GIB, "most_gpu_milli": 0}
    known = {
        "cause": "busy",
        "nodes": 2,
        "needed": 2,
        "level": "",
        "fitting": 1,
        "together": {"nodes": 1, "where": "local"},
        "kept": 0,
        "excluded": {"gpu": 1},
        "ahead": 3,
        "suitable": 2,
        "free": free,
        "holders": [],
        "more_holders": 0,
        "ends": [],
        "nearest": [],
        "failed_on": [],
        "forgives": False,
    }
    return {**known, **keys}


def said(hint: str = "", **keys: object) -> list[str]:
    job: Json = {"id": "7", "name": "train", "state": "pending", "holds": [], "exit": None}
    reason = {"text": "waits for 2 nodes", "hint": hint}
    return explain.said({"job": job, "reason": reason, "explanation": account(**keys)})


def held(job: str, queue: str = "vision") -> Json:
    return {"job": job, "queue": queue}


def test_it_takes_five_lines_cause_numbers_holders_ends_and_offers():
    lines = said(
        ahead=0,
        holders=[held("3", ""), held("4", "")],
        ends=[held("4")],
        nearest=[{"text": "on 1 node instead of 2 nodes"}, {"text": "in queue `guests`"}],
    )
    assert lines == [
        "job 7 (train) is pending: waits for 2 nodes",
        "  needs 2 nodes: 1 could take a part now; 1 has too few free GPUs; first in line",
        "  free on 2 suitable nodes: 6 CPUs, 0 GPUs, 3.0 GiB of memory; held by jobs 3, 4",
        "  would start if job 4 (queue vision) ended",
        "  would start now on 1 node instead of 2 nodes, or in queue `guests`",
    ]


def test_what_nobody_knows_has_no_line():
    assert len(said()) == 3


def test_a_hint_comes_right_after_the_reason():
    assert said(hint="ask for less")[1] == "hint: ask for less"


def test_holders_are_named_by_queue_and_the_rest_is_counted():
    rows = [
        held("1"),
        held("2", "speech"),
        held("3", "speech"),
        held("4", ""),
        held("5"),
        held("6"),
    ]
    [line] = [one for one in said(holders=rows, more_holders=9) if "held by" in one]
    assert line.endswith(
        "held by jobs 1 (queue vision), 2, 3 (queue speech), 4, 5 (queue vision) and 10 more"
    )


def test_of_a_limit_the_holders_hold_the_limit():
    assert (
        "; its limit is held by job 3 (queue vision)" in said(cause="cap", holders=[held("3")])[2]
    )


def test_many_who_would_have_to_end_are_counted():
    lines = said(ends=[held(str(i)) for i in range(1, 9)])
    assert "  would start if jobs 1, 2, 3, 4, 5 (queue vision) and 3 more ended" in lines


def test_of_a_required_level_it_says_how_many_lie_together():
    line = said(level="rack", fitting=3, together={"nodes": 2, "where": "row1/rack2"})[1]
    assert line.startswith(
        "  needs 2 nodes in one rack: 3 could take a part now, at most 2 of them in one "
        "(row1/rack2); "
    )


def test_a_gang_that_may_be_smaller_shows_both_sizes():
    assert said(nodes=4)[1].startswith("  needs 2 nodes (up to 4): ")


def test_nodes_that_are_kept_for_others_are_counted():
    assert "1 could take a part now, 1 of them kept for others;" in said(kept=1)[1]


def test_gpus_in_pieces_are_called_so():
    free = {"cpu_milli": 0, "gpu_milli": 3500, "memory_bytes": 0, "most_gpu_milli": 2000}
    line = said(cause="fragmentation", free=free)[2]
    assert "3.5 GPUs (at most 2 on one), 0 B of memory, enough in all, but in pieces" in line


def test_where_no_node_suits_nothing_is_counted_as_free():
    assert said(suitable=0)[2] == "  no node would suit that is ready"


def test_the_first_in_line_is_told_so():
    assert said(ahead=0)[1].endswith("; first in line")
    assert said(ahead=1)[1].endswith("; 1 job before it in line")


def test_a_job_that_goes_back_to_where_it_failed_is_told_so():
    line = said(forgives=True, failed_on=["n1", "n2"])[1]
    assert "it failed on n1, n2, and may go there again: too few others could do" in line
