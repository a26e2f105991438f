"""Folders of forgotten jobs go, whatever their ranks have left in them; those of others stay."""

import os

import pytest

from zenkei.engines.local.folders import LocalFolders
from zenkei.engines.local.layout import Layout
from zenkei.model.ids import AttemptId, JobId

JOB = JobId(7, 2)


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "home")
    made.make()
    return made


def attempt(layout, job=JOB):
    folder = layout.node(AttemptId(job, 1), 0) / "work"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 50_000)
    return folder


def test_a_folder_goes_with_all_its_bytes(layout):
    attempt(layout)
    attempt(layout, JobId(8))
    folders = LocalFolders(layout.home)
    assert folders.jobs() == (JOB, JobId(8))
    assert folders.remove(JOB) >= 50_000
    assert folders.jobs() == (JobId(8),)


def test_an_attempt_that_is_not_retired_is_left_alone(layout):
    folder = attempt(layout)
    layout.active_mark(AttemptId(JOB, 1)).touch()
    assert LocalFolders(layout.home).remove(JOB) == 0
    assert (folder / "file").exists()


def test_links_are_removed_and_not_followed(layout, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    folder = attempt(layout)
    (folder / "link").symlink_to(outside)
    (folder / "up").symlink_to("../../../../../..")
    LocalFolders(layout.home).remove(JOB)
    assert (outside / "precious").exists()
    assert not folder.exists()


def test_what_ranks_have_made_unreadable_goes_too(layout):
    folder = attempt(layout)
    closed = folder / "closed" / "inner"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.chmod(0)
    closed.parent.chmod(0o500)
    folder.chmod(0o500)
    LocalFolders(layout.home).remove(JOB)
    assert not os.path.exists(layout.attempts / str(JOB))


def test_a_job_without_folders_frees_nothing(layout):
    assert LocalFolders(layout.home).remove(JobId(99)) == 0
