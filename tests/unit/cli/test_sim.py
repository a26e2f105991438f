"""`zenkei sim` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zenkei.cli import entry
from zenkei.sim import scripts
from zenkei.sim.traces import TraceJob, read_nodes, read_trace
from zenkei.sim.traceworld import Setting

NAMED = (
    "jobs jct_mean_s jct_p50_s wait_mean_s wait_p99_s wait_max_s utilisation preemptions "
    "ftf_over_1_05 start_p90_coverage start_p50_abs_error_s cpu_s"
)


@pytest.fixture
def trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = tmp_path / "jobs.csv"
    assert entry.main(["sim", "make", str(path), "--nodes", "4x8", "--jobs", "60"]) == 0
    capsys.readouterr()
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = entry.main(["sim", *argv])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_trace_is_run_and_told_with_all_figures(
    trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "run", trace, "--nodes", "4x8", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(NAMED.split()) <= set(found)
    assert (found["jobs"], found["unfinished"], found["start_p90_coverage"]) == (60, 0, None)
    assert 0 < found["utilisation"] <= 1
    code, out, _ = run(capsys, "run", trace, "--nodes", "4x8")
    assert code == 0
    table = dict(line.split() for line in out.split("\n\n")[0].splitlines())
    assert set(NAMED.split()) <= set(table)
    assert table["start_p90_coverage"] == "-"


def test_a_made_trace_is_the_same_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for number, seed in enumerate("112"):
        path = tmp_path / f"{number}.csv"
        run(capsys, "make", str(path), "--nodes", "4x8", "--jobs", "50", "--seed", seed)
        made.append(path.read_text())
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert len(read_trace(tmp_path / "0.csv")) == 50


def test_a_report_is_one_page_that_fetches_nothing(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    code, out, _ = run(capsys, "run", trace, "--nodes", "4x8", "--report", str(page))
    assert code == 0
    assert str(page) in out
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") >= 3
    assert "http" not in text
    assert "<script" not in text


def test_what_a_trace_calls_its_queues_is_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "jobs.csv", tmp_path / "out.html"
    path.write_text("submit_s,duration_s,queue\n0,5,<script>x</script>\n0,5,b\n")
    code, *_ = run(capsys, "run", str(path), "--nodes", "1x1", "--report", str(page))
    assert code == 0
    assert "<script" not in page.read_text()


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("run", "TRACE"), 2, "--nodes is missing"),
        (("run", "TRACE", "--nodes", "4x8", "--policy", "sjf"), 2, "`sjf` is no policy"),
        (("run", "TRACE", "--nodes", "4x8", "--policy", "no.yaml"), 4, "`no.yaml` cannot be read"),
        (("run", "TRACE", "--nodes", "4x8", "--round", "soon"), 2, "--round soon: not a time"),
        (("run", "TRACE", "--nodes", "4x8", "--queue", "x"), 4, "no job of"),
        (("run", "no.csv", "--nodes", "4x8"), 4, "`no.csv` cannot be read"),
        (("run", "TRACE", "--nodes", "4x8", "--report", "/no/where"), 2, "cannot be written"),
        (("replay", "TRACE"), 2, "is no simulation"),
        (("replay", "no.json"), 4, "`no.json` cannot be read"),
        (("make", "x.csv", "--nodes", "4x0"), 2, "has no GPU"),
    ],
)
def test_what_cannot_be_done_is_told(
    trace: str,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    found, _, err = run(capsys, *(trace if word == "TRACE" else word for word in argv))
    assert found == code
    assert says in err
    assert "hint: " in err


def test_a_cluster_file_that_is_none_is_told_with_its_place(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("policy: {order: lottery}\n")
    code, _, err = run(capsys, "run", trace, "--nodes", "4x8", "--policy", str(path))
    assert code == 2
    assert "mine.yaml:1:" in err


def test_a_script_is_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = TraceJob("a", "u", "q", "", 0, 10**7, gpu_count=1, gpu_milli=1000)
    script = scripts.Script(jobs=(job,), nodes=read_nodes("1x1"), setting=Setting())
    path = tmp_path / "simulation.json"
    path.write_text(scripts.dump(script))
    code, out, _ = run(capsys, "replay", str(path), "--json")
    assert code == 0
    assert json.loads(out)["jct_mean_s"] == 10.0
