"""Collections of unused content killed at random points in their long form; `make soak`.

ZENKEI_SOAK_DATA_KILLS: how many (100). ZENKEI_TEST_SEED: another world.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.test_long_datasets import KILLS
from tests.system.test_dataset_gc_killed import collections_killed
from tests.system.test_dataset_killed import SEED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_collections_killed_a_hundred_times_lose_nothing(tmp_path: Path):
    assert collections_killed(tmp_path, KILLS * 3 // 2, SEED + 300) >= KILLS
