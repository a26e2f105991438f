"""What one installation puts into a capsule another one takes out; a changed byte is noticed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.capsule_maker import Installation, contents_of, pin, with_dataset
from tests.dataset_trees import Tree, nothing, read_tree, write_tree
from tests.effort import tries
from tests.property.test_data_versions import TREES, can_exist
from zenkei.data.capsules.archive import INDEX
from zenkei.data.tree import DirectoryTrees
from zenkei.data.versions import requests
from zenkei.model.errors import ZenkeiError

SLOW = settings(
    max_examples=tries(10),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
FAST = settings(
    max_examples=tries(200),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@SLOW
@given(TREES.filter(can_exist), TREES.filter(can_exist))
def test_export_and_import_are_the_identity(data: Tree, output: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        here, there = Installation(root / "here"), Installation(root / "there")
        found = here.commit(write_tree(root / "data", data), jobs=1)
        trees = DirectoryTrees(here.blobs, state=root / "here")
        sealed, _, _ = trees.seal((write_tree(root / "output", output),))
        job = here.job(output=sealed)
        here.write(root / "one.zip", job, [pin(found["digest"], found)])
        here.write(root / "two.zip", job, [pin(found["digest"], found)])
        assert (root / "one.zip").read_bytes() == (root / "two.zip").read_bytes()
        there.take(root / "one.zip")
        taken = DirectoryTrees(there.blobs, state=root / "there")
        assert taken.manifest(sealed) == trees.manifest(sealed)
        for entry in taken.manifest(sealed).entries:
            if entry.digest:
                assert there.blobs.get(entry.digest) == here.blobs.get(entry.digest)
        order = {"do": "export", "depot": there.request["depot"], "digest": found["digest"]}
        requests.answer({**order, "to": str(root / "out"), "jobs": 1}, nothing)
        assert read_tree(root / "out") == read_tree(root / "data")


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[Path, bytes]]:
    """A folder, and the bytes of a capsule."""
    with tempfile.TemporaryDirectory() as folder:
        path = with_dataset(Installation(Path(folder) / "here"), Path(folder))
        yield Path(folder), path.read_bytes()


@FAST
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.sampled_from(["flip", "cut"]))
@example(0.999, 1, "flip")
@example(0.0, 32, "flip")
def test_any_changed_byte_is_noticed(
    whole: tuple[Path, bytes], place: float, mask: int, what: str
) -> None:
    folder, content = whole
    at = int(place * len(content))
    there = Installation(folder / "there")
    path = folder / "changed.zip"
    changed = bytearray(content)
    if what == "flip":
        changed[at] ^= mask
    else:
        del changed[at : at + mask]
    path.write_bytes(changed)
    with pytest.raises(ZenkeiError):
        there.take(path)
    assert there.versions() == set()


@FAST
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_capsule(whole: tuple[Path, bytes], content: bytes) -> None:
    folder, capsule = whole
    path = folder / "any.zip"
    for changed in (content, capsule[: len(content)] + content, content + capsule[-98:]):
        path.write_bytes(changed)
        with pytest.raises(ZenkeiError):
            Installation(folder / "there").look(path)


def test_the_capsule_that_is_changed_here_is_sound(whole: tuple[Path, bytes]) -> None:
    folder, content = whole
    path = folder / "sound.zip"
    path.write_bytes(content)
    assert INDEX in contents_of(path)
    Installation(folder / "elsewhere").take(path)
    os.unlink(path)
