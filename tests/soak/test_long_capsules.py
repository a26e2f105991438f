"""Capsules whose writing and taking is killed at random points, in their long form; `make soak`.

ZENKEI_SOAK_DATA_KILLS: of each (100). ZENKEI_TEST_SEED: another world.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.test_long_datasets import KILLS
from tests.system.test_capsule_killed import takes_killed, writes_killed
from tests.system.test_dataset_killed import SEED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_capsules_killed_a_hundred_times_are_whole_or_absent(tmp_path: Path):
    assert writes_killed(tmp_path, KILLS * 3 // 2, SEED + 400) >= KILLS


def test_imports_killed_a_hundred_times_damage_nothing(tmp_path: Path):
    assert takes_killed(tmp_path, KILLS * 3 // 2, SEED + 500) >= KILLS
