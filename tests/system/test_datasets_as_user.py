"""The node's cache and copies once more as an ordinary user; see `tests/testbeds/as_user.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testbeds.as_user import pytest_as_user


@pytest.mark.root
def test_an_ordinary_user_has_a_cache_and_copies(repo: Path, short_tmp: Path):
    words = [
        "tests/unit/data/test_node_cache.py",
        "tests/unit/data/test_node_faults.py",
        "tests/unit/data/test_node_image.py",
        "tests/unit/data/test_node_ladder.py",
        "tests/unit/data/test_node_service.py",
        "-m",
        "not slow",
    ]
    pytest_as_user(repo, short_tmp, words, least=40, timeout_s=115)
