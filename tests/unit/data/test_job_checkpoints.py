"""Each job's checkpoints have a store of their own, in which nothing outlives its use."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenkei.data.gc import tree_bytes
from zenkei.data.job_checkpoints import JobCheckpoints
from zenkei.model.errors import NotFound
from zenkei.model.ids import JobId
from zenkei.ports.trees import Piece

JOB, OTHER = JobId(1), JobId(2, 7)
LARGE = 300_000


@pytest.fixture
def checkpoints(tmp_path: Path) -> JobCheckpoints:
    return JobCheckpoints(lambda job: tmp_path / str(job) / "kept")


def save(checkpoints: JobCheckpoints, job: JobId, place: Path, name: str, text: str):
    (place / name).mkdir(parents=True, exist_ok=True)
    (place / name / "state").write_text(text)
    (place / name / "same").write_text("s" * LARGE)
    digest, _, _ = checkpoints.trees(job).gather((Piece(node=0, path=name, place=place),))
    return digest


def test_what_no_kept_checkpoint_refers_to_is_removed_at_once(checkpoints, tmp_path):
    first, second = (
        save(checkpoints, JOB, tmp_path / "node", f"step-{n}", str(n) * LARGE) for n in (1, 2)
    )
    before = tree_bytes(tmp_path / "1")
    assert checkpoints.sweep(JOB, frozenset({second})) >= LARGE
    assert tree_bytes(tmp_path / "1") <= before - LARGE
    checkpoints.trees(JOB).checkout(second, tmp_path / "resume")
    assert (tmp_path / "resume" / "step-2" / "same").read_text() == "s" * LARGE
    with pytest.raises(NotFound):
        checkpoints.trees(JOB).checkout(first, tmp_path / "other")


def test_jobs_do_not_see_each_others_checkpoints(checkpoints, tmp_path):
    mine = save(checkpoints, JOB, tmp_path / "node", "step-1", "mine")
    checkpoints.sweep(OTHER, frozenset())
    with pytest.raises(NotFound):
        checkpoints.trees(OTHER).checkout(mine, tmp_path / "resume")
    checkpoints.trees(JOB).checkout(mine, tmp_path / "resume")
