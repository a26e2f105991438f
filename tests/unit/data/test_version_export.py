"""Exports are whole, verified and replace nothing unasked; diff, list and verify tell the truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.dataset_trees import Place, read_tree
from zenkei.model.errors import Conflict, InvalidInput, NotFound, Unavailable

TREE = {b"a": b"1", b"d/b": b"22", b"d/e/c": b"#!3", b"d/l": ("link", b"e/c"), b"f/empty": None}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(folder=tmp_path)


@pytest.fixture
def digest(place: Place) -> str:
    return str(place.commit(TREE)["digest"])


def flip(file: Path, at: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def no_remains(place: Place) -> bool:
    return not [name for name in os.listdir(place.folder) if name.endswith(".exporting")]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["d/e"], {b"d/e/c"}),
        (["d"], {b"d/b", b"d/e/c", b"d/l"}),
        (["a", "d/b"], {b"a", b"d/b"}),
        (["f/empty"], {b"f/empty"}),
        (["d/l"], {b"d/l"}),
    ],
)
def test_only_what_is_asked_for_is_exported(place: Place, digest: str, only: Any, expected: Any):
    assert read_tree(place.export(digest, only=only)) == {path: TREE[path] for path in expected}


@pytest.mark.parametrize("only", ["d/nothing", "dd", "a/b", "../source"])
def test_a_path_that_is_not_there_is_told(place: Place, digest: str, only: str):
    with pytest.raises(NotFound) as caught:
        place.export(digest, only=[only])
    assert caught.value.code == "no-such-path"


def test_an_empty_directory_is_filled_and_one_with_something_in_it_is_left_alone(
    place: Place, digest: str
):
    (place.folder / "out").mkdir()
    assert read_tree(place.export(digest)) == TREE
    (place.folder / "out" / "a").write_bytes(b"mine")
    with pytest.raises(Conflict):
        place.export(digest)
    assert (place.folder / "out" / "a").read_bytes() == b"mine"


def test_asked_to_overwrite_it_replaces_files_and_leaves_others(place: Place, digest: str):
    out = place.folder / "out"
    (out / "d").mkdir(parents=True)
    (out / "a").write_bytes(b"mine")
    (out / "d" / "other").write_bytes(b"mine too")
    place.export(digest, overwrite=True)
    assert read_tree(out) == {**TREE, b"d/other": b"mine too"}
    assert no_remains(place)


def test_a_link_in_the_way_of_an_export_is_not_followed(place: Place, digest: str):
    out, outside = place.folder / "out", place.folder / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "d").symlink_to(outside)
    with pytest.raises(Conflict):
        place.export(digest, overwrite=True)
    assert os.listdir(outside) == []


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damaged_content_is_never_exported(place: Place, digest: str, harm: str):
    (pack,) = place.packs()
    if harm == "flip":
        flip(pack)
    elif harm == "cut":
        pack.write_bytes(pack.read_bytes()[:100])
    else:
        pack.unlink()
    with pytest.raises((Unavailable, NotFound)) as caught:
        place.export(digest)
    assert caught.value.code in {"content-damaged", "no-such-object"}
    assert not (place.folder / "out").exists()
    assert no_remains(place)


def test_a_damaged_version_is_not_read(place: Place, digest: str):
    (file,) = (place.folder / "depot" / "versions").iterdir()
    flip(file, 200)
    with pytest.raises(InvalidInput):
        place.export(digest)


def test_a_version_under_another_name_is_not_taken_for_it(place: Place, digest: str):
    (file,) = (place.folder / "depot" / "versions").iterdir()
    file.rename(file.with_name("0" * 64))
    with pytest.raises(Unavailable):
        place.export("b3:" + "0" * 64)
    with pytest.raises(NotFound):
        place.export(digest)


def test_what_an_export_left_that_was_killed_goes_with_the_next(place: Place, digest: str):
    (place.folder / ".out.abc.exporting").mkdir()
    place.export(digest)
    assert no_remains(place)


@pytest.mark.parametrize("deep", [True, False])
def test_nothing_is_wrong_with_a_fresh_version(place: Place, digest: str, deep: bool):
    assert place.faults(digest, deep=deep) == []


def test_a_missing_pack_is_named_with_its_files(place: Place, digest: str):
    (pack,) = place.packs()
    pack.unlink()
    for deep in (False, True):
        (fault,) = place.faults(digest, deep=deep)
        assert fault["object"] == f"packs/{pack.name}"
        assert fault["why"] == "it is missing"
        assert set(fault["files"]) == {"a", "d/b", "d/e/c"}


def test_a_flipped_bit_is_found_and_only_the_file_that_it_is_in_is_named(place: Place, digest: str):
    (pack,) = place.packs()
    flip(pack, 512)
    (fault,) = place.faults(digest)
    assert (len(fault["files"]), fault["count"]) == (1, 1)
    assert place.faults(digest, deep=False) == []


def test_a_truncated_pack_is_found_without_reading(place: Place, digest: str):
    (pack,) = place.packs()
    pack.write_bytes(pack.read_bytes()[:-512])
    (fault,) = place.faults(digest, deep=False)
    assert "bytes instead of" in fault["why"]


def test_a_damaged_or_missing_version_is_named(place: Place, digest: str):
    (file,) = (place.folder / "depot" / "versions").iterdir()
    flip(file, 100)
    (fault,) = place.faults(digest)
    assert fault["object"] == f"versions/{digest[3:]}"
    file.unlink()
    (fault,) = place.faults(digest)
    assert fault["why"] == "it is missing"


def test_a_difference_names_paths_and_bytes(place: Place, digest: str):
    (place.source / "a").write_bytes(b"other")
    (place.source / "d" / "b").unlink()
    (place.source / "d" / "l").unlink()
    (place.source / "d" / "l").symlink_to("e")
    (place.source / "new").write_bytes(b"1234")
    other = place.commit()["digest"]
    found = place.ask("diff", a=digest, b=other)
    assert [row["path"] for row in found["added"]["rows"]] == ["new"]
    assert found["added"]["size_bytes"] == 4
    assert [row["path"] for row in found["removed"]["rows"]] == ["d/b"]
    assert [row["to"]["path"] for row in found["changed"]["rows"]] == ["a", "d/l"]
    assert place.ask("diff", a=digest, b=digest)["changed"]["count"] == 0
    limited = place.ask("diff", a=digest, b=other, limit=1)
    assert (limited["changed"]["count"], len(limited["changed"]["rows"])) == (2, 1)


def test_a_list_comes_in_pages(place: Place, digest: str):
    paths: list[str] = []
    after = None
    while True:
        page = place.ask("list", digest=digest, limit=2, after=after)
        paths += [row["path"] for row in page["rows"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(paths) == ["a", "d/b", "d/e/c", "d/l", "f/empty"]
    below = place.ask("list", digest=digest, under="d")
    assert [row["path"] for row in below["rows"]] == ["d/b", "d/l", "d/e/c"]
