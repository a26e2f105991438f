"""A fresh world for each test of this room."""

from pathlib import Path

import pytest

from tests.unit.envs.world import World, fresh_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return fresh_world(tmp_path)
