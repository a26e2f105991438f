"""Checkpoints as a program saves and finds them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from zenkei.protocol import checkpoint as wire
from zenkei.protocol import names
from zenkei.sdk import checkpoint, checkpoint_chainer
from zenkei.sdk.checkpoint import _Keeper


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The attempt's directory; the program is rank 3 of a job."""
    monkeypatch.setattr("zenkei.sdk.checkpoint._keeper", _Keeper())
    monkeypatch.setattr("zenkei.sdk.checkpoint.LOOK_EVERY_S", 0.0)
    (tmp_path / "markers").mkdir()
    for name, value in {
        names.JOB: "42",
        names.RANK: "3",
        names.CHECKPOINT_DIR: str(tmp_path / "checkpoints"),
        names.CHECKPOINT_MARKER: str(tmp_path / "markers" / "0"),
        names.CHECKPOINT_ASK: str(tmp_path / "ask"),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def told(job: Path, rank: int = 3) -> list[wire.Mark]:
    path = job / "markers" / str(rank)
    marks, complaints, rest = wire.decode(path.read_bytes() if path.exists() else b"")
    assert (complaints, rest) == ([], b"")
    return marks


def test_a_file_is_told_when_it_is_whole_and_has_its_name(job: Path) -> None:
    with checkpoint.file(120) as path:
        Path(path).write_text("progress")
        assert told(job) == []
        assert not (job / "checkpoints" / "step-120" / "state").exists()
    assert told(job) == [wire.Mark(120, "step-120")]
    assert [p.name for p in (job / "checkpoints" / "step-120").iterdir()] == ["state"]


def test_a_save_that_fails_leaves_nothing_and_tells_nothing(job: Path) -> None:
    def save_half() -> None:
        with checkpoint.file(120) as path:
            Path(path).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        save_half()
    assert told(job) == []
    assert list((job / "checkpoints" / "step-120").iterdir()) == []


def test_ranks_of_one_step_share_its_directory(job: Path, monkeypatch) -> None:
    monkeypatch.setenv(names.WORLD_SIZE, "4")
    with checkpoint.folder(7) as path:
        (Path(path) / "shard").write_text("3")
    monkeypatch.setenv(names.RANK, "2")
    with checkpoint.folder(7) as path:
        (Path(path) / "shard").write_text("2")
    found = sorted(p.name for p in (job / "checkpoints" / "step-7").iterdir())
    assert found == ["rank-2", "rank-3"]
    assert told(job, 2) == told(job, 3) == [wire.Mark(7, "step-7")]


def test_it_is_asked_until_it_has_saved_and_again_when_it_is_asked_anew(job: Path) -> None:
    assert not checkpoint.requested()
    (job / "ask").write_text("{}")
    assert checkpoint.requested()
    assert checkpoint.due()
    checkpoint.saved(1)
    assert not checkpoint.requested()
    (job / "ask.new").write_text("{}")
    os.replace(job / "ask.new", job / "ask")
    assert checkpoint.requested()
    (job / "ask").unlink()
    assert not checkpoint.requested()


def test_a_path_somewhere_else_or_that_is_not_there_is_refused(job: Path) -> None:
    outside = job / "elsewhere"
    outside.write_text("x")
    for path in ("../elsewhere", str(outside), "nothing", ".", "/etc/passwd"):
        with pytest.raises(ValueError, match="checkpoint"):
            checkpoint.saved(1, path)
    with pytest.raises(ValueError, match="step -1"):
        checkpoint.saved(-1)
    assert told(job) == []


def test_where_to_go_on_is_found_and_told_once(job: Path, monkeypatch) -> None:
    assert checkpoint.resume() is None
    folder = job / "resume" / "step-120"
    folder.mkdir(parents=True)
    (folder / "state").write_text("progress")
    monkeypatch.setenv(names.RESUME_STEP, "120")
    monkeypatch.setenv(names.RESUME_PATH, f"{job}/resume/step-120")
    found = checkpoint.resume()
    assert found == checkpoint.resume() == (120, str(folder / "state"), str(folder))
    assert Path(checkpoint.find()).read_text() == "progress"
    assert told(job) == [wire.Mark(120, resumed=True)]
    with pytest.raises(FileNotFoundError, match="no `other`"):
        checkpoint.find("other")


def test_who_wrote_under_another_name_goes_on_from_the_whole_directory(
    job: Path, monkeypatch
) -> None:
    folder = job / "resume" / "step-7"
    folder.mkdir(parents=True)
    (folder / "model.bin").touch()
    monkeypatch.setenv(names.RESUME_STEP, "7")
    monkeypatch.setenv(names.RESUME_PATH, str(folder))
    assert checkpoint.resume() == (7, str(folder), str(folder))


def test_the_interval_is_what_the_job_file_says_or_what_a_checkpoint_is_worth(
    job: Path, monkeypatch
) -> None:
    keeper = _Keeper()
    assert keeper.interval_s(None) == checkpoint.FIRST_S
    keeper.begin()
    keeper._began -= 8.0
    keeper.saved(1, "")
    monkeypatch.setenv(names.FAILURES_PER_DAY, "4")
    assert keeper.interval_s(None) == pytest.approx((2 * 8 * 21600) ** 0.5, rel=0.01)
    monkeypatch.setenv(names.CHECKPOINT_EVERY_S, "90")
    assert keeper.interval_s(None) == 90
    assert keeper.interval_s(5.0) == 5


def test_the_worth_grows_with_the_cost_and_falls_with_failures_within_bounds() -> None:
    assert checkpoint.worth_s(40, 0.1) == pytest.approx(2 * checkpoint.worth_s(10, 0.1))
    assert checkpoint.worth_s(10, 0.4) == pytest.approx(checkpoint.worth_s(10, 0.1) / 2)
    assert checkpoint.worth_s(0, 1) == checkpoint.LEAST_S
    assert checkpoint.worth_s(1e6, 1e-9) == checkpoint.MOST_S


def test_outside_a_job_nothing_is_asked_and_nothing_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("zenkei.sdk.checkpoint._keeper", _Keeper())
    monkeypatch.chdir(tmp_path)
    assert not checkpoint.due()
    assert checkpoint.resume() is None
    with checkpoint.file(3) as path:
        Path(path).write_text("kept by hand")
    assert (tmp_path / "checkpoints" / "step-3" / "state").read_text() == "kept by hand"
    assert checkpoint.saved(4) is False


def test_several_ranks_need_somebody_to_ask(job: Path, monkeypatch) -> None:
    class Comm:
        def allreduce(self, value: int) -> int:
            return value + 1

    assert checkpoint.all_agree(True)
    assert checkpoint.all_agree(False, Comm())
    monkeypatch.setenv(names.WORLD_SIZE, "2")
    with pytest.raises(RuntimeError, match="mpi4py"):
        checkpoint.all_agree(True)


def test_a_full_disk_ends_no_training(job: Path, capsys) -> None:
    (job / "markers").rmdir()
    assert checkpoint.saved(1) is False
    assert "cannot be told" in capsys.readouterr().err


def test_marks_are_read_as_they_were_written_and_nonsense_is_named() -> None:
    good = wire.encode(wire.Mark(5, "a/b")) + wire.encode(wire.Mark(5, resumed=True))
    bad = [
        b"nonsense",
        b"[]",
        json.dumps({"saved": 1, "resumed": 2}).encode(),
        json.dumps({"saved": "1"}).encode(),
        json.dumps({"saved": True}).encode(),
        json.dumps({"saved": -1}).encode(),
        json.dumps({"saved": 1 << 60}).encode(),
        json.dumps({"saved": 1, "path": "/etc/passwd"}).encode(),
        json.dumps({"saved": 1, "path": "../x"}).encode(),
        json.dumps({"saved": 1, "path": "a//b"}).encode(),
        json.dumps({"saved": 1, "path": "a\n"}).encode(),
        json.dumps({"saved": 1, "path": 7}).encode(),
        b"[" * 2000,
        b"x" * 5000,
        b"\xff\xfe",
    ]
    marks, complaints, rest = wire.decode(good + b"\n".join(bad) + b"\n" + b'{"saved": 9')
    assert marks == [wire.Mark(5, "a/b"), wire.Mark(5, "", resumed=True)]
    assert len(complaints) == len(bad)
    assert rest == b'{"saved": 9'


def test_a_chainer_trainer_is_not_saved_before_its_optimizer_has_a_state() -> None:
    asked: list[int] = []

    class Comm:
        def allreduce(self, flag: int) -> int:
            asked.append(flag)
            return 0

    save = checkpoint_chainer.extension(Comm())
    for iteration in (1, 2):
        save(SimpleNamespace(updater=SimpleNamespace(iteration=iteration)))
    assert len(asked) == 1
    assert save.priority == checkpoint_chainer.LAST  # type: ignore[attr-defined]
