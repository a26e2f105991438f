"""Commits and exports of datasets killed at random points in their long form; `make soak`.

ZENKEI_SOAK_DATA_KILLS: of each (100). ZENKEI_TEST_SEED: another world.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.test_dataset_killed import SEED, commits_killed, exports_killed

KILLS = int(os.environ.get("ZENKEI_SOAK_DATA_KILLS", "100"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_commits_killed_a_hundred_times_damage_nothing(tmp_path: Path):
    assert commits_killed(tmp_path, KILLS * 3 // 2, SEED + 100) >= KILLS


def test_exports_killed_a_hundred_times_are_whole_or_absent(tmp_path: Path):
    assert exports_killed(tmp_path, KILLS * 3 // 2, SEED + 200) >= KILLS
