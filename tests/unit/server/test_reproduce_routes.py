"""Verdicts, differences, names and lineage of results over a real socket."""

import json

import pytest

from tests.served import Served
from zenkei.cli import session
from zenkei.cli.resultbook import get, lineage
from zenkei.cli.verify import verify
from zenkei.client.failure import Failure
from zenkei.model.verdict import Comparison, Difference, Verdict

FIRST = Difference(kind="metric", name="loss", step=7, rank=0, a="nan", b="2.0", relative=None)


@pytest.fixture
def served(short_tmp):
    with Served(short_tmp) as found:
        yield found


def twice(served: Served) -> tuple[str, str]:
    first = served.submit()
    served.plant.settle()
    second = served.client.post(f"/v1/jobs/{first}/rerun")["id"]
    served.plant.settle()
    return first, second


def done(served: Served, method: str, path: str, body=None, **query):
    (message,) = served.client.stream(method, path, body, **query)
    return json.loads(message.data)


def judged(served: Served, a: str, b: str, **more):
    return done(served, "POST", f"/v1/jobs/{a}/verdict", {"against": b, **more})


def test_a_verdict_is_answered_and_shown_with_both_jobs(served):
    served.comparer.answer = Comparison(
        verdict=Verdict.DIFFERENT, first=FIRST, relative=None, absolute=None
    )
    a, b = twice(served)
    tolerance = {"everywhere": 1e-6, "named": {"loss*": 0.1}, "ignored": ["t"]}
    found = judged(served, a, b, tolerance=tolerance)["verdict"]
    assert found["comparison"]["first"]["step"] == 7
    assert found["comparison"]["relative"] is None
    assert found["tolerance"]["named"] == [["loss*", 0.1]]
    for job in (a, b):
        assert served.client.get(f"/v1/jobs/{job}/verdicts")["verdicts"] == [found]
        assert served.client.get(f"/v1/jobs/{job}")["verdicts"] == [found]


def test_a_job_without_end_has_no_verdict_and_the_status_says_so(served):
    a, _ = twice(served)
    waiting = served.submit()
    with pytest.raises(Failure) as refusal:
        judged(served, a, waiting)
    assert (refusal.value.code, refusal.value.exit_code) == ("job-not-over", 6)


@pytest.mark.parametrize(
    "tolerance",
    [{"everywhere": -1}, {"everywhere": "nan"}, {"named": {"": 1}}, {"ignored": [""]}, {"more": 1}],
)
def test_a_tolerance_that_is_none_is_refused(served, tolerance):
    a, b = twice(served)
    with pytest.raises(Failure) as refusal:
        judged(served, a, b, tolerance=tolerance)
    assert refusal.value.exit_code == 2


def test_differences_are_by_subject(served):
    first = served.submit(b"name: n\ncommand: echo a\ncode: false\nseed: 1\n")
    second = served.submit(b"name: n\ncommand: echo b\ncode: false\nseed: 2\n")
    served.plant.settle()
    found = done(served, "GET", f"/v1/jobs/{first}/differences", other=second)
    assert [section["subject"] for section in found["sections"]] == ["seed", "spec"]
    assert found["sections"][1]["changes"] == [{"name": "command", "a": "echo a", "b": "echo b"}]
    assert found["left"]["verdict"] == "identical"


def test_two_results_can_be_compared_without_a_verdict(served):
    a, b = twice(served)
    found = done(served, "POST", f"/v1/jobs/{a}/result/diff", {"other": b})
    assert found["comparison"]["verdict"] == "identical"
    assert served.client.get(f"/v1/jobs/{a}/verdicts")["verdicts"] == []


def test_names_move_and_their_history_is_kept(served):
    a, b = twice(served)
    for job in (a, b):
        served.client.put(f"/v1/jobs/{job}/result/tags/best", {})
    (tag,) = served.client.get("/v1/result-tags")["tags"]
    assert tag["attempt"] == f"{b}/1"
    assert served.client.get(f"/v1/jobs/{a}/result/tags")["tags"] == []
    history = served.client.get("/v1/result-tags/best")["history"]
    assert [one["attempt"] for one in history] == [f"{a}/1", f"{b}/1"]
    served.client.delete("/v1/result-tags/best")
    with pytest.raises(Failure) as refusal:
        served.client.get("/v1/result-tags/best")
    assert refusal.value.code == "no-such-result-tag"


def test_a_removed_result_is_told_as_such(served):
    job, _ = twice(served)
    assert served.client.delete(f"/v1/jobs/{job}/result")["attempt"] == f"{job}/1"
    found = served.client.get(f"/v1/jobs/{job}/result")
    assert (found["result"]["state"], found["entries"]) == ("removed", [])


def test_lineage_is_a_graph_and_a_drawing_in_which_nothing_is_executed(served):
    job = served.submit(b'name: "<script>&"\ncommand: echo hi\ncode: false\n')
    served.plant.settle()
    graph = served.client.get(f"/v1/jobs/{job}/lineage")
    assert graph["root"] == f"result {job}"
    drawing = b"".join(served.client.fetch(f"/v1/jobs/{job}/lineage", picture=True))
    assert drawing.startswith(b"<svg ")
    assert b"<script>" not in drawing
    assert b"&lt;script&gt;&amp;" in drawing


@pytest.mark.parametrize("place", ["", "nowhere/drawing"])
def test_a_drawing_that_cannot_be_written_is_told_as_such(served, monkeypatch, tmp_path, place):
    job = served.submit()
    served.plant.settle()
    monkeypatch.setattr(session, "open", lambda **_: served.client)
    with pytest.raises(Failure, match="cannot be written") as refusal:
        lineage([job, "--svg", str(tmp_path / place)])
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("place", "why"), [("", "it is not replaced"), ("nowhere/file", "cannot be written")]
)
def test_a_file_of_a_result_goes_only_where_a_file_can_be(
    served, monkeypatch, tmp_path, place, why
):
    job = served.submit()
    served.plant.settle()
    monkeypatch.setattr(session, "open", lambda **_: served.client)
    with pytest.raises(Failure, match=why) as refusal:
        get([job, "any", str(tmp_path / place), "--force"])
    assert refusal.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def removed(served):
    job = served.submit()
    served.plant.settle()
    served.client.delete(f"/v1/jobs/{job}/result")
    return job


def cancelled(served):
    job = served.submit()
    served.client.post(f"/v1/jobs/{job}/cancel", {})
    served.plant.settle(60)
    return job


@pytest.mark.parametrize("made", [removed, cancelled])
def test_a_job_of_which_nothing_is_left_is_not_run_again_to_be_compared(served, monkeypatch, made):
    job = made(served)
    monkeypatch.setattr(session, "open", lambda **_: served.client)
    with pytest.raises(Failure, match="there is nothing to compare") as refusal:
        verify([job])
    assert refusal.value.exit_code == 2
    assert [row["id"] for row in served.client.get("/v1/jobs")["jobs"]] == [job]
