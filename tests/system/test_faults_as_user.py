"""The short forms once more as an ordinary user: no mounts, no capability, no control group.

Of each suite, what an ordinary user may see differently. Left out: of the disk, what is the
daemon's alone (when to start, sealing, laying out code: the same system calls, the same answers);
of the database, locks, versions and copies (SQLite's own, no privilege is involved); of the
environments, what the index answers. Small disks are mounted by root for the user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.testbeds.as_user import UID, pytest_as_user
from tests.testbeds.mpi_envs import KINDS, VARIABLE, mpi_environment
from tests.testbeds.small_disk import GIVEN, small_disk

FAULTS = "tests/system/test_faults_"
pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]


@pytest.mark.parametrize("suite", ["daemon", "agent"])
def test_an_ordinary_user_loses_nothing_either(suite, repo: Path, short_tmp: Path):
    few = {"ZENKEI_TEST_KILLS": "15", "ZENKEI_TEST_AGENT_KILLS": "20"}
    pytest_as_user(repo, short_tmp, [f"{FAULTS}{suite}.py"], least=1, timeout_s=180, **few)


def test_an_ordinary_users_mpi_jobs_end_whatever_is_killed(repo: Path, short_tmp: Path):
    for kind in KINDS:
        mpi_environment(kind, short_tmp / "mpi")
    words = ["-k", "any_instant or one_world or link", f"{FAULTS}mpi.py"]
    given = {VARIABLE: str(short_tmp / "mpi"), "ZENKEI_TEST_MPI_KILLS": "6"}
    words.append("tests/system/test_supervisor_mpi.py")
    pytest_as_user(repo, short_tmp, words, least=6, timeout_s=120, **given)


def test_an_ordinary_users_database_is_kept_too(repo: Path, short_tmp: Path):
    chosen = ["-k", "deleted or may_not_be_written"]
    pytest_as_user(repo, short_tmp, [*chosen, f"{FAULTS}database.py"], least=2, timeout_s=120)


def test_an_ordinary_users_full_disk_is_told_and_waited_for(repo: Path, short_tmp: Path):
    chosen = ["-k", "while_a_job_prints or copied_for_an_attempt or twice or locking"]
    files = [f"{FAULTS}disk.py", "tests/system/test_envs_disk.py"]
    with handed_over(short_tmp / "disk") as where:
        given = {GIVEN: str(where)}
        pytest_as_user(repo, short_tmp, [*chosen, *files], least=4, timeout_s=120, **given)


def test_an_ordinary_users_builders_may_be_killed(repo: Path, short_tmp: Path):
    chosen = ["-k", "killed or dead_builder or must_be_built"]
    pytest_as_user(repo, short_tmp, [*chosen, "tests/system/test_envs.py"], least=3, timeout_s=120)


@contextmanager
def handed_over(where: Path) -> Iterator[Path]:
    """A small disk that is the user's."""
    with small_disk(where, size_bytes=64 << 20):
        os.chown(where, UID, UID)
        yield where
