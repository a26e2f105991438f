"""Where code came from, in what is shown of a job and in its record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.plant import ALICE, BOB, Plant
from zenkei.control.origins import Origins, git_of
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest, GitState
from zenkei.model.errors import NotFound
from zenkei.model.ids import JobId
from zenkei.model.job import CodeRequest, JobSpec
from zenkei.sim.doubles import BlobsDouble

DIFF = "b3:" + "d" * 64
ABSENT = Digest("b3:" + "0" * 64)
GIT = {
    "branch": "main",
    "commit": "c" * 40,
    "diff": DIFF,
    "diff_bytes": 7,
    "diff_cut": False,
    "dirty": True,
    "remote": "https://host/path",
}
STATE = GitState(
    commit="c" * 40,
    branch="main",
    remote="https://host/path",
    dirty=True,
    diff=Digest(DIFF),
    diff_bytes=7,
)


def document(git: object) -> bytes:
    return json.dumps({"zenkei": "source", "version": 1, "git": git, "why": ""}).encode()


class CountedBlobs(BlobsDouble):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []

    def get(self, digest: Digest) -> bytes:
        self.read.append(digest)
        return super().get(digest)


def finished(plant: Plant, source: Digest, array: int | None = None) -> tuple[JobId, ...]:
    spec = JobSpec(name="x", command="x", array=array) if array else JobSpec(name="x", command="x")
    ids = plant.commands.submit(ALICE, spec, source=source)
    plant.settle()
    return ids


def test_a_job_and_its_record_say_what_git_said() -> None:
    plant = Plant()
    (job,) = finished(plant, plant.blobs.put(document(GIT)))
    assert plant.queries.show(ALICE, job).git == STATE
    assert json.loads(plant.queries.record(ALICE, job))["git"] == GIT


def test_jobs_that_end_together_share_one_look_at_the_document() -> None:
    plant = Plant()
    plant.blobs = CountedBlobs()
    plant.restart()
    source = plant.blobs.put(document(GIT))
    ids = finished(plant, source, array=4)
    assert plant.blobs.read.count(source) == 1
    assert all(json.loads(plant.queries.record(ALICE, i))["git"] == GIT for i in ids)


@pytest.mark.parametrize("source", [Digest(""), ABSENT], ids=["none", "gone"])
def test_a_job_is_sealed_and_shown_without_the_document(source: Digest) -> None:
    plant = Plant()
    (job,) = finished(plant, source)
    assert plant.queries.show(ALICE, job).git is None
    assert json.loads(plant.queries.record(ALICE, job))["git"] is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[" * 100_000,
        b"[]",
        b'{"zenkei": "other", "git": {"commit": "x"}}',
        document(None),
        document("x"),
    ],
    ids=["empty", "binary", "deep", "list", "other", "no git", "text"],
)
def test_what_is_no_source_document_says_nothing(content: bytes) -> None:
    assert git_of(content) is None


def test_values_of_other_kinds_are_left_out_one_by_one() -> None:
    odd = {"commit": 1, "branch": "b", "diff": "../x", "diff_bytes": -1, "dirty": "yes"}
    assert git_of(document(odd)) == GitState(branch="b")


def test_a_name_that_is_no_text_is_escaped_and_a_long_one_is_cut() -> None:
    found = git_of(document({"branch": "a\udcff\ud800", "remote": "r" * 100_000}))
    assert found is not None
    assert found.branch == "a\\udcff\\ud800"
    assert len(found.remote) < 10_000


def test_the_document_of_a_real_repository_is_understood(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a.py").write_text("1\n", encoding="utf-8")
    who = ["-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "commit.gpgsign=false"]
    for argv in (
        ["init", "-q", "-b", "trunk"],
        ["add", "a.py"],
        ["commit", "-q", "-m", "m"],
        ["remote", "add", "origin", "https://me:secret@host/path"],
    ):
        subprocess.run(["git", "-C", str(root), *who, *argv], check=True)
    (root / "a.py").write_text("2\n", encoding="utf-8")
    blobs = DirectoryBlobs(tmp_path / "blobs")
    source = DirectoryTrees(blobs, state=tmp_path).snapshot(root, CodeRequest()).source
    found = Origins(blobs).git(source)
    assert found is not None
    assert (found.branch, found.remote, found.dirty) == ("trunk", "https://host/path", True)
    assert len(found.commit) == 40
    assert b"+2" in blobs.get(found.diff)


def test_a_diff_is_given_to_who_may_see_the_job_and_to_nobody_else() -> None:
    plant = Plant()
    kept = plant.blobs.put(b"--- a\n+++ b\n")
    source = plant.blobs.put(document({**GIT, "diff": str(kept)}))
    members = finished(plant, source, array=2)
    assert plant.queries.diff(ALICE, members[1]) == b"--- a\n+++ b\n"
    assert plant.queries.diff(ALICE, JobId(members[0].number)) == b"--- a\n+++ b\n"
    with pytest.raises(NotFound) as hidden:
        plant.queries.diff(BOB, members[0])
    assert hidden.value.code == "no-such-job"
