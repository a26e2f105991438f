"""A disk that fills up while an environment is made: an error that says so, and nothing left."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbeds.small_disk import given_or_small_disk
from tests.unit.envs.world import World, fresh_world
from zenkei.model.errors import Unavailable
from zenkei.model.job import EnvRequest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Its home has 3 MB; the index lies elsewhere."""
    with given_or_small_disk(tmp_path / "small", 3 << 20) as disk:
        yield fresh_world(disk, index=tmp_path / "index")


def fill(file: Path) -> None:
    """To the last byte that the disk has."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as writing:
        while True:
            writing.write(b"x" * 4096)


def test_a_package_that_fits_into_the_cache_but_not_twice(world: World):
    world.wheel("large", body="TEXT = '" + "x" * 2_000_000 + "'\n")
    builder = world.builder()
    digest = builder.lock(EnvRequest(packages=("large",)), world.said.append)
    with pytest.raises(Unavailable) as caught:
        builder.realise(digest, world.said.append)
    assert caught.value.code == "disk-full"
    assert caught.value.hint
    assert world.trees() == []
    assert builder.list() == ()


def test_a_full_disk_while_locking_and_the_next_try_with_space(world: World):
    filling = world.home / "filling"
    builder = world.builder()
    fill(filling)
    with pytest.raises(Unavailable) as caught:
        builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    assert caught.value.code == "disk-full"
    filling.unlink()
    assert world.realised(builder, "apple")[1].is_dir()
    assert list((world.home / "envs" / "work").iterdir()) == []
