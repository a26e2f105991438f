"""A result into a person's directory: nothing is overwritten unasked, nothing written elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.data.conftest import Write, listing
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.export import export
from zenkei.data.manifest import canonical, parse
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Entry, EntryKind, Manifest
from zenkei.model.errors import Conflict


@pytest.fixture
def result(trees: DirectoryTrees, write: Write) -> Manifest:
    root = write({"a": "new a", "d/b": "new b", "l": Path("a"), "e/": ""}, at="outputs")
    return trees.manifest(trees.seal((root,))[0])


def test_into_a_new_or_an_empty_directory(blobs: DirectoryBlobs, result: Manifest, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for name in ("new/deep", "empty"):
        export(blobs, result, tmp_path / name)
        assert listing(tmp_path / name) == listing(tmp_path / "outputs")


def test_beside_other_files(blobs: DirectoryBlobs, result: Manifest, write: Write):
    to = write({"other": "mine", "d/c": "mine"}, at="to")
    export(blobs, result, to)
    assert (to / "other").read_text() == (to / "d/c").read_text() == "mine"
    assert (to / "d/b").read_text() == "new b"


def test_a_file_in_the_way_is_named_and_nothing_is_written(
    blobs: DirectoryBlobs, result: Manifest, write: Write
):
    to = write({"d/b": "mine"}, at="to")
    with pytest.raises(Conflict, match="`d/b` cannot be written"):
        export(blobs, result, to)
    assert listing(to) == {"d/b": ("0o644", b"mine")}
    assert not list(to.parent.glob(".to.*"))


def test_files_are_replaced_when_that_is_said(
    blobs: DirectoryBlobs, result: Manifest, write: Write
):
    to = write({"d/b": "mine", "l": Path("/etc/passwd"), "other": "mine"}, at="to")
    export(blobs, result, to, overwrite=True)
    assert (to / "d/b").read_text() == "new b"
    assert os.readlink(to / "l") == "a"
    assert (to / "other").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_the_target_does_not_lead_elsewhere(
    blobs: DirectoryBlobs, result: Manifest, write: Write, overwrite: bool
):
    elsewhere = write({"b": "precious"}, at="elsewhere")
    to = write({"d": elsewhere}, at="to")
    with pytest.raises(Conflict, match="`d/b`"):
        export(blobs, result, to, overwrite=overwrite)
    assert listing(elsewhere) == {"b": ("0o644", b"precious")}


def test_a_directory_is_never_replaced_by_a_file(
    blobs: DirectoryBlobs, result: Manifest, write: Write
):
    to = write({"a/precious": "x"}, at="to")
    with pytest.raises(Conflict, match="`a`"):
        export(blobs, result, to, overwrite=True)
    assert (to / "a/precious").exists()


@pytest.mark.parametrize("name", ["file", "dangling"])
def test_a_target_that_is_no_directory(
    blobs: DirectoryBlobs, result: Manifest, write: Write, name: str
):
    root = write({"file": "mine", "dangling": Path("nowhere")}, at="to")
    with pytest.raises(Conflict, match=name):
        export(blobs, result, root / name, overwrite=True)
    assert (root / "file").read_text() == "mine"


def test_links_out_of_the_result_are_left_out_and_named(blobs: DirectoryBlobs, tmp_path: Path):
    links = [("abs", "/etc"), ("up", "../x"), ("fine", "abs")]
    entries = [Entry(path=p, kind=EntryKind.LINK, target=t) for p, t in links]
    left_out = export(blobs, parse(canonical(entries)), tmp_path / "to")
    assert [out.path for out in left_out] == ["abs", "fine", "up"]
    assert listing(tmp_path / "to") == {".": "empty"}
