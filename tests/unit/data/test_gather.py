"""Pieces of a checkpoint become one tree, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.ports.trees import Piece


@pytest.fixture
def trees(tmp_path: Path) -> DirectoryTrees:
    return DirectoryTrees(DirectoryBlobs(tmp_path / "blobs"), state=tmp_path / "state")


def node(tmp_path: Path, number: int, files: dict[str, str]) -> Path:
    place = tmp_path / f"node-{number}"
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def paths(trees: DirectoryTrees, *pieces: Piece) -> list[str]:
    digest, files, _ = trees.gather(pieces)
    found = [entry.path for entry in trees.manifest(digest).entries]
    assert files == len(found)
    return found


def test_shards_of_several_nodes_stand_beside_each_other(trees, tmp_path):
    places = [node(tmp_path, n, {f"step-1/rank-{n}": str(n), "junk": "x"}) for n in (0, 1)]
    pieces = [Piece(node=n, path="step-1", place=place) for n, place in enumerate(places)]
    assert paths(trees, *pieces) == ["step-1/rank-0", "step-1/rank-1"]


def test_a_checkpoint_is_laid_out_as_it_was_saved(trees, tmp_path):
    place = node(tmp_path, 0, {"deep/er/state": "progress", "one": "1"})
    digest, files, size = trees.gather(
        (Piece(node=0, path="deep", place=place), Piece(node=0, path="one", place=place))
    )
    trees.checkout(digest, tmp_path / "resume")
    assert (tmp_path / "resume" / "deep" / "er" / "state").read_text() == "progress"
    assert (files, size) == (2, 9)


def test_the_same_file_of_two_nodes_is_kept_once_another_one_beside_it(trees, tmp_path):
    same = [Piece(node=n, path="m", place=node(tmp_path, n, {"m": "same"})) for n in (0, 1)]
    assert paths(trees, *same) == ["m"]
    other = Piece(node=2, path="m", place=node(tmp_path, 2, {"m": "other"}))
    assert paths(trees, *same, other) == ["m", "node-2/m"]


def test_a_file_where_another_node_has_a_directory_stands_apart(trees, tmp_path):
    first = Piece(node=0, path="x", place=node(tmp_path, 0, {"x/y": "1"}))
    second = Piece(node=1, path="x", place=node(tmp_path, 1, {"x": "2"}))
    assert paths(trees, first, second) == ["node-1/x", "x/y"]
    assert paths(trees, second, first) == ["node-0/x/y", "x"]


@pytest.mark.parametrize("path", ["out", "out/passwd", "in/out"])
def test_links_out_of_the_directory_are_refused(trees, tmp_path, path):
    place = node(tmp_path, 0, {"in/state": "1"})
    (place / "out").symlink_to("/etc")
    (place / "in" / "out").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput):
        trees.gather((Piece(node=0, path=path, place=place),))
    with pytest.raises(InvalidInput, match="points out of"):
        trees.gather((Piece(node=0, path="in", place=place),))


def test_links_that_stay_inside_are_kept(trees, tmp_path):
    place = node(tmp_path, 0, {"step/7/state": "1"})
    (place / "step" / "newest").symlink_to("7")
    digest, _, _ = trees.gather((Piece(node=0, path="step", place=place),))
    trees.checkout(digest, tmp_path / "resume")
    assert (tmp_path / "resume" / "step" / "newest" / "state").read_text() == "1"


def test_what_is_no_file_is_refused_by_name(trees, tmp_path):
    place = node(tmp_path, 0, {"step/state": "1"})
    os.mkfifo(place / "step" / "pipe")
    with pytest.raises(InvalidInput, match="`step/pipe` is a named pipe"):
        trees.gather((Piece(node=0, path="step", place=place),))


def test_a_checkpoint_without_files_is_an_empty_directory(trees, tmp_path):
    digest, files, _ = trees.gather(())
    trees.checkout(digest, tmp_path / "resume")
    assert (files, list((tmp_path / "resume").iterdir())) == (0, [])


def test_damaged_content_is_found_when_it_is_laid_out(trees, tmp_path):
    place = node(tmp_path, 0, {"state": "x" * 300_000})
    digest, _, _ = trees.gather((Piece(node=0, path="state", place=place),))
    [large] = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file() and p.stat().st_size > 2e5]
    large.chmod(0o600)
    large.write_text("y" * 300_000)
    with pytest.raises(InternalError):
        trees.checkout(digest, tmp_path / "resume")
    assert not (tmp_path / "resume").exists()
