"""Metrics as a program reports them and as a reader sees them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zenkei.protocol import metrics as wire
from zenkei.protocol import names
from zenkei.sdk import context, output_dir, progress, report, seed_everything
from zenkei.sdk.metrics import _Sink


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(names.JOB, "42")
    monkeypatch.setenv(names.METRICS_DIR, str(tmp_path))
    monkeypatch.setenv(names.RANK, "3")
    monkeypatch.setattr("zenkei.sdk.metrics._sink", _Sink())
    return tmp_path / "3"


def points(path: Path) -> list[tuple[str, int, float]]:
    return [(p.name, p.step, p.value) for p in wire.Reader().feed(path.read_bytes())]


def test_points_are_read_back_in_order_with_steps_that_go_back(job: Path) -> None:
    report(step=10, loss=0.5)
    report({"loss": 0.25, "acc/val": 0.75}, step=4)
    report(speed=1)
    assert points(job) == [
        ("loss", 10, 0.5),
        ("loss", 4, 0.25),
        ("acc/val", 4, 0.75),
        ("speed", wire.NO_STEP, 1.0),
    ]


def test_nan_and_infinity_are_kept(job: Path) -> None:
    report(step=1, loss=math.nan, top=math.inf)
    first, second = points(job)
    assert math.isnan(first[2])
    assert second[2] == math.inf


def test_progress_is_a_metric_between_0_and_1(job: Path) -> None:
    progress(0.4)
    progress(7)
    assert [p[2] for p in points(job)] == [0.4, 1.0]


def test_what_is_not_a_number_is_refused_with_its_name(job: Path) -> None:
    with pytest.raises(TypeError, match="loss is 'high'"):
        report(loss="high")
    assert not job.exists()


def test_a_reader_that_sees_pieces_gets_every_point_once(job: Path) -> None:
    for step in range(100):
        report({"loss": step / 7, f"name-{step % 5}": 1.0}, step=step)
    data, reader, seen = job.read_bytes(), wire.Reader(), []
    for at in range(0, len(data), 7):
        seen += reader.feed(data[at : at + 7])
    assert seen == wire.Reader().feed(data)
    assert len(seen) == 200


def test_a_torn_write_costs_only_itself(job: Path) -> None:
    report(step=1, loss=1.0)
    with job.open("ab") as file:
        file.write(b"torn")
    _Sink().write({"loss": 2.0}, 2)
    assert [(name, value) for name, _, value in points(job)] == [("loss", 1.0), ("loss", 2.0)]


def test_a_forked_worker_reports_into_the_same_file(job: Path) -> None:
    report(step=1, loss=1.0)
    child = os.fork()
    if child == 0:
        report(step=2, worker=2.0)
        os._exit(0)
    os.waitpid(child, 0)
    report(step=3, loss=3.0)
    assert [p[:2] for p in points(job)] == [("loss", 1), ("worker", 2), ("loss", 3)]


def test_thinning_keeps_the_extremes(job: Path) -> None:
    many = [wire.Point(i, i, math.sin(i), "x") for i in range(10_000)]
    few = list(wire.thin(many, 200))
    assert len(few) <= 210
    assert max(p.value for p in few) == max(p.value for p in many)
    assert list(wire.thin(many[:100], 200)) == many[:100]


def test_outside_a_job_everything_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zenkei.sdk.metrics._sink", _Sink())
    report(step=1, loss=1.0)
    assert not context().in_job
    assert context().world_size == 1
    assert output_dir() == str(tmp_path / "outputs")
    assert [p.name for p in tmp_path.iterdir()] == ["outputs"]


def test_mpi_ranks_go_before_the_supervisors(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "5")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "8")
    assert (context().rank, context().world_size) == (5, 8)


def test_the_seed_of_the_job_reaches_python_and_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import random, numpy; from zenkei.sdk import seed_everything; seed_everything();"
        "print(random.random(), numpy.random.rand())"
    )
    monkeypatch.setenv(names.SEED, "7")
    runs = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    monkeypatch.setenv(names.SEED, "8")
    runs.add(subprocess.check_output([sys.executable, "-c", code]))
    assert len(runs) == 2
    assert seed_everything(3) == 3
