"""Capsules: what goes in comes out, the same bytes for the same job, and nothing that is forged."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.capsule_maker import (
    FILES,
    Installation,
    contents_of,
    pin,
    with_dataset,
)
from tests.dataset_trees import write_tree
from zenkei.data.capsules.archive import CRATE, INDEX
from zenkei.data.tree import DirectoryTrees
from zenkei.data.versions import requests
from zenkei.model.errors import Conflict, InvalidInput, Unavailable


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "there")


@pytest.fixture
def capsule(here: Installation, tmp_path: Path) -> Path:
    """With a dataset."""
    return with_dataset(here, tmp_path)


def test_what_one_installation_writes_another_one_has_afterwards(
    here: Installation, there: Installation, capsule: Path, tmp_path: Path
) -> None:
    there.take(capsule)
    job = json.loads(contents_of(capsule)[INDEX])["job"]
    for role in ("spec", "record", "env"):
        assert there.blobs.get(job[role]) == here.blobs.get(job[role])
    for role in ("code", "output", "streams"):
        trees = [DirectoryTrees(one.blobs, state=one.root) for one in (here, there)]
        assert trees[0].manifest(job[role]) == trees[1].manifest(job[role])
    assert there.versions() == here.versions()
    (digest,) = there.versions()
    order = {"do": "verify", "depot": there.request["depot"], "digests": [f"b3:{digest}"]}
    assert requests.answer({**order, "deep": True}, lambda *_: None)["damaged"] == ()
    order = {"do": "export", "depot": there.request["depot"], "digest": f"b3:{digest}"}
    requests.answer({**order, "to": str(tmp_path / "out")}, lambda *_: None)
    assert (tmp_path / "out" / "a" / "8.txt").read_bytes() == FILES[b"a/8.txt"]


def test_the_origin_of_a_job_is_a_tree_with_its_streams(there: Installation, capsule: Path) -> None:
    tree = DirectoryTrees(there.blobs, state=there.root).manifest(there.take(capsule)["origin"])
    assert [entry.path for entry in tree.entries] == ["1/metrics-0/000000", "origin.json"]


def test_the_same_job_gives_the_same_bytes_however_its_data_are_packed(
    here: Installation, there: Installation, tmp_path: Path
) -> None:
    first = with_dataset(here, tmp_path)
    # the same files in another depot, in packs that other files share
    (tmp_path / "files" / "more.txt").write_text("more")
    there.commit(tmp_path / "files", state=str(tmp_path / "state"))
    (tmp_path / "files" / "more.txt").unlink()
    found = there.commit(tmp_path / "files", state=str(tmp_path / "state"))
    again = tmp_path / "again.zip"
    there.write(again, data=[pin(found["digest"], found)])
    assert again.read_bytes() == first.read_bytes()


def test_files_of_other_versions_in_the_same_packs_do_not_travel(
    here: Installation, tmp_path: Path
) -> None:
    folder = write_tree(tmp_path / "files", {**FILES, b"secret.txt": b"nobody may see this"})
    here.commit(folder, state=str(tmp_path / "state"))
    (folder / "secret.txt").unlink()
    found = here.commit(folder, state=str(tmp_path / "state"))
    here.write(tmp_path / "capsule.zip", data=[pin(found["digest"], found)])
    depot = b"".join(p.read_bytes() for p in (here.root / "datasets" / "packs").rglob("*"))
    assert b"nobody may see this" in depot
    assert b"nobody may see this" not in (tmp_path / "capsule.zip").read_bytes()


def test_a_file_that_is_larger_than_a_pack_travels_in_pieces(
    here: Installation, there: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenkei.data.capsules.versions.CUT_BYTES", 1 << 20)
    content = os.urandom((5 << 20) + 3)
    tree = {b"large.bin": content, b"small.bin": content[:9], b"twice.bin": content[:9]}
    found = here.commit(write_tree(tmp_path / "files", tree))
    here.write(tmp_path / "capsule.zip", data=[pin(found["digest"], found)])
    there.take(tmp_path / "capsule.zip")
    order = {"do": "export", "depot": there.request["depot"], "digest": found["digest"]}
    requests.answer({**order, "to": str(tmp_path / "out")}, lambda *_: None)
    assert (tmp_path / "out" / "large.bin").read_bytes() == content
    names = [n for n in contents_of(tmp_path / "capsule.zip") if n.startswith("packs/")]
    assert len(names) == 7


def test_other_programs_read_it(capsule: Path) -> None:
    with zipfile.ZipFile(capsule) as opened:
        assert opened.testzip() is None
        assert json.loads(opened.read(INDEX))["format"] == 1
        crate = json.loads(opened.read(CRATE))
        root = next(one for one in crate["@graph"] if one["@id"] == "./")
        files = {one["@id"]: one["name"] for one in crate["@graph"] if one["@type"] == "File"}
        assert opened.namelist()[-1] == INDEX
        assert {"outputs/w/weights.bin", "outputs/log.txt", "code/train.py"} < set(files.values())
        assert files.keys() <= set(opened.namelist())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    assert (root["name"], root["author"]) == ("digits", {"@id": "#owner"})
    assert root["datePublished"] == "2023-11-14T22:13:22+00:00"


@pytest.mark.skipif(not os.path.exists("/usr/bin/unzip"), reason="unzip is not installed")
def test_unzip_finds_it_sound(capsule: Path) -> None:
    done = subprocess.run(["unzip", "-tq", str(capsule)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_file_that_is_there_is_replaced_only_if_asked(here: Installation, capsule: Path) -> None:
    before = capsule.read_bytes()
    with pytest.raises(Conflict, match="is there already"):
        here.write(capsule)
    assert capsule.read_bytes() == before
    here.write(capsule, overwrite=True)
    assert capsule.read_bytes() != before
    assert sorted(os.listdir(capsule.parent)) == ["capsule.zip", "files", "here"]


def test_a_directory_or_a_device_is_never_replaced(here: Installation, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, what in {"pipe": "no file", "folder": "a directory"}.items():
        with pytest.raises(Conflict, match=f"is {what}: it is not replaced"):
            here.write(tmp_path / name, overwrite=True)
    assert (tmp_path / "pipe").is_fifo()


def test_a_place_that_cannot_be_written_is_named(here: Installation, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be written: No such file"):
        here.write(tmp_path / "nowhere" / "capsule.zip")


def test_damaged_data_are_never_written_into_a_capsule(here: Installation, tmp_path: Path) -> None:
    found = here.commit(write_tree(tmp_path / "files", FILES))
    for pack in (here.root / "datasets" / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes().replace(b"xxxx", b"yyyy"))
    with pytest.raises(Unavailable, match="does not have its digest"):
        here.write(tmp_path / "capsule.zip", data=[pin(found["digest"], found)])
    assert not (tmp_path / "capsule.zip").exists()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []


def test_data_by_reference_do_not_travel(here: Installation, tmp_path: Path) -> None:
    found = here.commit(write_tree(tmp_path / "files", FILES), reference=True)
    with pytest.raises(InvalidInput, match="kept by reference") as told:
        here.write(tmp_path / "capsule.zip", data=[pin(found["digest"], found)])
    assert "--without-data" in told.value.hint
    here.write(tmp_path / "capsule.zip", data=[pin(found["digest"], found, included=False)])


def test_a_second_import_finds_everything_and_changes_nothing(
    there: Installation, capsule: Path
) -> None:
    first = there.take(capsule)
    before = there.contents(), there.versions()
    assert there.take(capsule) == first
    assert (there.contents(), there.versions()) == before
