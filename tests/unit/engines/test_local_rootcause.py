"""Which node's record tells why a gang failed."""

from __future__ import annotations

from typing import Any

from tests.unit.engines.test_local_gang import ATTEMPT, NAMES, STARTED, exited, read
from zenkei.engines.local import rootcause
from zenkei.model.job import Exit, StopReason
from zenkei.ports.engine import Exited


def failed(at_us: int, symptom: str = "", **fields: Any) -> dict[str, Any]:
    given = {"by_rank": True, "cause_us": at_us, "code": 1, **fields}
    return exited(at_us, "nonzero_exit", symptom=symptom, **given)


def root(*records: dict[str, Any]) -> Exit:
    [report] = [r for r in read(*([STARTED, r] for r in records)).reports if isinstance(r, Exited)]
    return report.exit


def test_a_cause_wins_over_a_consequence_that_was_seen_earlier():
    found = root(failed(10, "connection_lost", rank=0), failed(20, "cuda_out_of_memory", rank=3))
    assert (found.node, found.rank, found.symptom) == ("node-2", 3, "cuda_out_of_memory")


def test_of_two_causes_the_earlier_one_is_it():
    found = root(failed(30, "gpu_lost", rank=0), failed(20, "python_error", rank=1))
    assert (found.node, found.symptom) == ("node-2", "python_error")


def test_a_silent_exit_is_a_cause_of_its_own():
    assert root(failed(10, "", rank=0), failed(20, "gpu_lost", rank=1)).node == "node-1"


def test_a_cause_that_came_much_later_is_another_story():
    late = 10 + rootcause.WINDOW_US + 1
    assert root(failed(10, "connection_lost"), failed(late, "gpu_lost")).node == "node-1"


def test_without_any_cause_the_first_consequence_stands():
    found = root(failed(30, "collective_timeout"), failed(20, "connection_lost"))
    assert (found.node, found.symptom) == ("node-2", "connection_lost")


def test_a_rank_whose_end_nobody_saw_gives_way_to_one_that_said_something():
    lost = exited(10, "launch_failed", cause_us=10, by_rank=True, rank=0, detail="rank 0 was lost")
    assert root(lost, failed(20, "mpi_abort", rank=1)).symptom == "mpi_abort"


def test_a_node_that_was_stopped_while_it_was_dying_lends_its_words_but_not_its_signal():
    stopped = failed(20, "gpu_lost", rank=2, by_rank=False, code=None, signal=15)
    found = root(failed(10, "connection_lost", code=1, rank=0), stopped)
    assert (found.node, found.rank, found.code, found.signal) == ("node-2", 2, 1, 0)


def test_patterns_found_on_any_node_count():
    assert root(failed(10, matched=[2]), failed(20, matched=[0, 2])).matched == (0, 2)


def test_the_others_are_stopped_as_soon_as_one_tells_of_its_failure():
    telling = [STARTED, {**exited(2, "nonzero_exit"), "kind": "failed", "rank": 0}]
    found = read(telling, [STARTED], [STARTED])
    assert (found.stop, found.why) == ((1, 2), StopReason.NONZERO_EXIT)
    assert found.grace_s <= rootcause.PEERS_GRACE_S


def test_records_of_older_agents_tell_no_symptom():
    old = read([STARTED, exited(2, "nonzero_exit", code=3)])
    [report] = [r for r in old.reports if isinstance(r, Exited)]
    assert report == Exited(
        attempt=ATTEMPT,
        reason=StopReason.NONZERO_EXIT,
        exit=Exit(code=3, node=NAMES[0]),
    )
