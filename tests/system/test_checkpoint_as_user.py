"""Checkpoints and failing programs once more as an ordinary user; see `tests/testbeds/as_user.py`.

Of the failing programs all run, and those are judged whose cause an ordinary user's supervisor
learns in another way: there is no control group that says who ran out of memory or of processes,
no device, and files that root may open.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testbeds.as_user import pytest_as_user
from tests.testbeds.mpi_envs import KINDS, VARIABLE, mpi_environment

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
DIFFERS = """
    memory shared killed fork permission not-executable threads disk files device told-to time-limit
"""


def test_an_ordinary_users_mpi_training_uses_each_sample_once(repo: Path, short_tmp: Path):
    for kind in KINDS:
        mpi_environment(kind, short_tmp / "mpi")
    given = {VARIABLE: str(short_tmp / "mpi")}
    words = ["tests/system/test_checkpoint_mpi.py"]
    pytest_as_user(repo, short_tmp, words, least=len(KINDS), timeout_s=200, **given)


def test_an_ordinary_users_checkpoints_are_as_safe(repo: Path, short_tmp: Path):
    words = ["-k", "not full_disk", "tests/system/test_checkpoint_hostile.py"]
    pytest_as_user(repo, short_tmp, words, least=10, timeout_s=200)


def test_an_ordinary_users_failures_are_understood(repo: Path, short_tmp: Path):
    words = ["-k", " or ".join(DIFFERS.split()), "tests/system/test_zoo_failures.py"]
    pytest_as_user(repo, short_tmp, words, least=8, timeout_s=200)
