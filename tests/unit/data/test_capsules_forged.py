"""Forged capsules: whatever is wrong with one, it is refused and nothing of it is stored."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from tests.capsule_maker import (
    FILES,
    Contents,
    Installation,
    contents_of,
    forged,
    relisted,
    with_dataset,
    with_index,
)
from tests.dataset_trees import nothing, write_tree
from tests.unit.data.dataset_maker import Link, version
from zenkei.data.capsules import archive, taking
from zenkei.data.capsules.archive import INDEX, ArchiveWriter
from zenkei.data.manifest import HEADER
from zenkei.data.versions import container
from zenkei.data.versions.table import VersionTable
from zenkei.model.errors import Conflict, InvalidInput, NotAvailable, NotFound, Unavailable


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


def refuses(there: Installation, path: Path, why: str) -> None:
    """Nothing is written, whichever of the two it is that notices."""
    with pytest.raises(InvalidInput, match=why):
        there.take(path)
    assert there.versions() == set()
    assert there.contents() == set()


NAMES = [
    "../evil",
    "/etc/passwd",
    "blobs/../../evil",
    "C:\\evil",
    "blobs\\evil",
    "blobs/" + "a" * 63 + "\0",
    "blobs/" + "A" * 64,
    "blobs/" + "a" * 65,
    "versions/.",
    "evil.txt",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_not_one_of_a_few_is_refused(
    there: Installation, capsule: Path, name: str
) -> None:
    forged(capsule, {name: b"evil", **contents_of(capsule)})
    refuses(there, capsule, "is no name of an entry")


def test_a_link_or_a_device_is_refused(there: Installation, capsule: Path) -> None:
    contents = contents_of(capsule)
    for mode in (0o120777, 0o060644, 0o020644, 0o040755, 0o104755):

        def central(entry: archive.Entry, mode: int = mode) -> bytes:
            line = bytearray(archive._central(entry))
            line[38:42] = (mode << 16).to_bytes(4, "little")
            return bytes(line)

        refuses(there, forged(capsule, contents, central=central), "is no plain file")


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (10, b"\x08\x00", "is compressed"),
        (8, b"\x01\x00", "is not written as zenkei writes it"),
        (8, b"\x08\x00", "is not written as zenkei writes it"),
        (20, b"\x01\x00\x00\x00", "is not written as zenkei writes it"),
        (34, b"\x01\x00", "is not written as zenkei writes it"),
        (42, b"\x00\x00\x00\x00", "is not written as zenkei writes it"),
    ],
    ids=["deflated", "encrypted", "descriptor", "two-sizes", "second-disk", "two-offsets"],
)
def test_what_could_be_read_in_two_ways_is_refused(
    there: Installation, capsule: Path, place: int, value: bytes, why: str
) -> None:
    def central(entry: archive.Entry) -> bytes:
        line = bytearray(archive._central(entry))
        line[place : place + len(value)] = value
        return bytes(line)

    refuses(there, forged(capsule, contents_of(capsule), central=central), why)


def test_a_header_that_contradicts_the_directory_is_refused(
    there: Installation, capsule: Path
) -> None:
    contents = contents_of(capsule)

    def local(entry: archive.Entry) -> bytes:
        return archive._local(entry).replace(b"capsule.json", b"Capsule.json")

    refuses(there, forged(capsule, contents, local=local), "is not what the directory says")


def test_an_entry_that_stands_twice_is_refused(there: Installation, tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    name = "blobs/" + "a" * 64
    with path.open("wb") as file:
        writer = ArchiveWriter(file)
        writer.add_bytes(name, b"one")
        writer.entries["again"] = writer.entries.pop(name)
        writer.add_bytes(name, b"two")
        first = writer.entries.pop("again")
        writer.entries = {"0": first, "1": writer.entries[name]}
        writer.finish()
    refuses(there, path, "stands in it twice")


def test_a_hole_junk_and_a_comment_are_refused(there: Installation, capsule: Path) -> None:
    whole = capsule.read_bytes()
    for changed, why in (
        (b"junk" + whole, "its end is not as zenkei writes it"),
        (whole + b"junk", "its end is not as zenkei writes it"),
        (whole[:-2] + b"\x04\x00note", "its end is not as zenkei writes it"),
        (whole[:-1], "its end is not as zenkei writes it"),
        (whole[: len(whole) // 2], "its end is not as zenkei writes it"),
        (b"", "it is no zip"),
    ):
        capsule.write_bytes(changed)
        refuses(there, capsule, why)


def test_room_between_entries_and_behind_the_last_one_is_refused(
    there: Installation, capsule: Path
) -> None:
    contents = contents_of(capsule)
    for at, why in ((0, "does not begin where"), (3, "does not begin"), (-1, "no entry names")):
        refuses(there, with_gap(capsule, contents, at), why)


def test_an_entry_inside_of_another_one_is_refused(there: Installation, capsule: Path) -> None:
    outer, inner = "blobs/" + "a" * 64, "blobs/" + "b" * 64
    hidden = archive._local(archive.Entry(inner, 4, zlib.crc32(b"evil"), 0)) + b"evil"
    place = archive.Entry(outer, 0, 0, 0).body

    def central(entry: archive.Entry) -> bytes:
        at = place if entry.name == inner else entry.at
        return archive._central(replace(entry, at=at))

    forged(capsule, {outer: hidden, inner: b"evil"}, central=central)
    refuses(there, capsule, "does not begin where the entry before it ends")


def with_gap(path: Path, contents: Contents, before: int) -> Path:
    """Something that no entry names, before the entry with this number; -1: behind the last."""
    written, entries = bytearray(), []
    for number, (name, content) in enumerate(contents.items()):
        if number == before:
            written += b"evil"
        entry = archive.Entry(name, len(content), zlib.crc32(content), len(written))
        entries.append(entry)
        written += archive._local(entry) + content
    if before < 0:
        written += b"evil"
    lines = b"".join(archive._central(entry) for entry in entries)
    path.write_bytes(written + lines + archive._tail(len(entries), len(written), len(lines)))
    return path


def test_sizes_beyond_the_file_are_refused(there: Installation, capsule: Path) -> None:
    def central(entry: archive.Entry) -> bytes:
        return archive._central(archive.Entry(entry.name, 1 << 62, entry.crc, entry.at))

    contents = contents_of(capsule)
    refuses(there, forged(capsule, contents, central=central), "longer than the file")
    tail = archive._tail(1 << 40, 0, 1 << 50)
    refuses(there, forged(capsule, contents, tail=tail), "its end is not as")


def test_a_usual_zip_of_the_same_content_is_refused(there: Installation, capsule: Path) -> None:
    contents = contents_of(capsule)
    with zipfile.ZipFile(capsule, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)
    refuses(there, capsule, "not written by zenkei")


def test_a_pipe_is_no_capsule_and_keeps_nobody_waiting(there: Installation, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refuses(there, tmp_path / "pipe", "no regular file")
    with pytest.raises(NotFound, match="cannot be read"):
        there.take(tmp_path / "nowhere.zip")


def blob(contents: Contents, holding: bytes) -> str:
    return next(n for n, c in contents.items() if n.startswith("blobs/") and holding in c)


def test_the_list_and_the_file_must_name_the_same(there: Installation, capsule: Path) -> None:
    contents = contents_of(capsule)
    document = json.loads(contents[INDEX])
    name = blob(contents, b"trained")
    without = {key: value for key, value in contents.items() if key != name}
    refuses(there, forged(capsule, without), "is in its list and missing")
    shorter = [row for row in document["entries"] if row[0] != name]
    refuses(there, forged(capsule, with_index(contents, entries=shorter)), "is not in its list")
    longer = {**contents, name: contents[name] + b"!"}
    refuses(there, forged(capsule, longer), "has another size than its list says")
    twice = [*document["entries"], document["entries"][0]]
    refuses(there, forged(capsule, with_index(contents, entries=twice)), "twice in its list")
    odd = [["../x", 1, "b3:" + "0" * 64], *document["entries"]]
    refuses(there, forged(capsule, with_index(contents, entries=odd)), "in its list and missing")
    for bad in (None, [1], [["x", -1, "y"]], {"a": 1}):
        with pytest.raises(InvalidInput, match="list"):
            there.take(forged(capsule, with_index(contents, entries=bad)))


def test_what_nobody_needs_and_what_is_lacking_is_refused(
    there: Installation, capsule: Path
) -> None:
    contents = contents_of(capsule)
    stray = {"blobs/" + _hex(b"stray"): b"stray", **contents}
    refuses(there, forged(capsule, relisted(stray)), "nothing needs")
    lacking = {n: c for n, c in contents.items() if n != blob(contents, b"trained")}
    refuses(there, forged(capsule, relisted(lacking)), "which its job needs, is missing")
    # who only knows a digest does not get what it names
    named = relisted(contents, code="b3:" + "c" * 64)
    refuses(there, forged(capsule, named), "is missing")


def test_a_content_that_is_another_one_is_never_stored(there: Installation, capsule: Path) -> None:
    contents = contents_of(capsule)
    name = blob(contents, b"trained")
    changed = {**contents, name: contents[name].replace(b"trained", b"tr@ined")}
    with pytest.raises(InvalidInput, match="does not have its digest"):
        there.take(forged(capsule, changed))
    assert there.versions() == set()
    assert f"b3:{name[6:]}" not in there.contents()


def test_a_pack_that_is_another_one_is_never_stored(there: Installation, capsule: Path) -> None:
    contents = contents_of(capsule)
    name = next(n for n in contents if n.startswith("packs/"))
    for old, new in ((b"xxxx", b"yyyy"), (b"\0\0\0\0", b"evil")):  # files, and room between them
        changed = {**contents, name: contents[name].replace(old, new, 1)}
        assert changed != contents
        with pytest.raises(InvalidInput, match="does not have its digest"):
            there.take(forged(capsule, changed))
        assert there.versions() == set()


def test_a_version_whose_packs_hold_other_files_is_refused(
    here: Installation, there: Installation, capsule: Path, tmp_path: Path
) -> None:
    """A sound name of a pack does not prove that a file in it is what it is said to be."""
    contents = contents_of(capsule)
    (pack,) = [n for n in contents if n.startswith("packs/")]
    (version,) = [n for n in contents if n.startswith("versions/")]
    false = contents[pack].replace(b"x", b"y")
    name = blake3(false).hexdigest()
    table = replace(container.read(contents[version]), packs=(name,))
    rest = {n: c for n, c in contents.items() if n not in (pack, version)}
    changed = {**rest, f"packs/{name}": false, version: container.write(table, packed=False)}
    with pytest.raises(InvalidInput, match=r"`a/1.txt` does not have its digest"):
        there.take(forged(capsule, relisted(changed)))
    assert there.versions() == set()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('["file","../evil",420,8,"{0}"]', "not one inside a tree"),
        ('["file","/etc/evil",420,8,"{0}"]', "not one inside a tree"),
        ('["file","a\\u0000b",420,8,"{0}"]', "not one inside a tree"),
        ('["file","evil",2541,8,"{0}"]', "mode, size or digest"),
        ('["device","sda",0,0,"{0}"]', "neither file nor link nor directory"),
        ('["link","evil","../../etc"]', "leads out of the tree"),
        ('["link","evil","/etc"]', "leads out of the tree"),
        ('["file","train.py",420,8,"{1}"]', "has another size than its manifest says"),
    ],
)
def test_hostile_manifests_of_code_are_refused(
    there: Installation, capsule: Path, row: str, why: str
) -> None:
    contents = contents_of(capsule)
    for number, holding in enumerate((b"trained", b"print(1)")):
        row = row.replace(f"{{{number}}}", f"b3:{blob(contents, holding)[6:]}")
    manifest = HEADER + row.encode() + b"\n"
    name = "blobs/" + _hex(manifest)
    old = json.loads(contents[INDEX])["job"]["code"]
    rest = {n: c for n, c in contents.items() if n != f"blobs/{old[3:]}"}
    changed = relisted({name: manifest, **rest}, code=f"b3:{name[6:]}")
    refuses(there, forged(capsule, changed), why)


def with_version(capsule: Path, table: VersionTable, packs: Contents) -> Contents:
    """With this dataset instead of its own."""
    contents = contents_of(capsule)
    rest = {n: c for n, c in contents.items() if not n.startswith(("packs/", "versions/"))}
    rest |= {f"packs/{name}": content for name, content in packs.items()}
    rest |= {f"versions/{table.digest[3:]}": container.write(table, packed=False)}
    document = json.loads(contents[INDEX])
    document["data"][0]["digest"] = table.digest
    return relisted({**rest, INDEX: json.dumps(document).encode()})


HOSTILE_PATHS: list[tuple[bytes, bytes | Link]] = [
    (b"../evil", b"x"),
    (b"a/../../evil", b"x"),
    (b"evil", Link(b"../../etc/passwd")),
    (b"evil", Link(b"/etc/passwd")),
]


def test_a_hostile_version_of_a_dataset_is_refused(there: Installation, capsule: Path) -> None:
    hostile = [version({path: content}) for path, content in HOSTILE_PATHS]
    absolute, packs = version({b"d/evil": b"x"})
    hostile.append((container.sealed(replace(absolute, directories=(b"", b"/etc"))), packs))
    for table, packs in hostile:
        changed = with_version(capsule, table, packs)
        refuses(there, forged(capsule, changed), "this version of a dataset is refused")


def test_pieces_that_do_not_lie_in_order_are_refused(there: Installation, capsule: Path) -> None:
    """In the order of packs they are the file, in the order of the file they are not."""
    content = b"a" * 1024 + b"b" * 1024
    table, packs = version({b"large": content}, piece_bytes=1024)
    turned = table.pieces[::-1].copy()
    table = replace(table, pieces=turned)
    refuses(there, forged(capsule, with_version(capsule, table, packs)), "do not lie in order")


def test_an_empty_file_with_the_digest_of_another_one_is_refused(
    there: Installation, capsule: Path
) -> None:
    table, packs = version({b"empty": b""})
    false = container.sealed(replace(table, digests=np.full((1, 32), 7, np.uint8)))
    refuses(there, forged(capsule, with_version(capsule, false, packs)), "an empty file")


def test_what_was_kept_of_attempts_has_names_of_one_form(
    here: Installation, there: Installation, tmp_path: Path
) -> None:
    for name in ("origin.json", "origin.json/0", "1/metrics-0", "x/metrics-0/000000"):
        job = here.job(streams=here.tree({name: b"{}"}))
        here.write(tmp_path / "odd.zip", job, overwrite=True)
        refuses(there, tmp_path / "odd.zip", "has a name that cannot be")


def test_a_version_by_reference_names_no_files_of_this_machine(
    here: Installation, there: Installation, capsule: Path, tmp_path: Path
) -> None:
    """It would let its importer read whatever the daemon can read."""
    found = here.commit(write_tree(tmp_path / "mine", FILES), reference=True)
    (place,) = (here.root / "datasets" / "versions").rglob(found["digest"][3:])
    changed = with_version(capsule, container.read(place.read_bytes()), {})
    refuses(there, forged(capsule, changed), "by reference")


def test_a_bomb_in_a_version_is_refused(there: Installation, capsule: Path) -> None:
    """A few kilobytes of zlib that say they are gigabytes of columns."""
    table, packs = version({b"%05d" % number: b"x" for number in range(3000)})
    changed = with_version(capsule, table, packs)
    changed[f"versions/{table.digest[3:]}"] = container.write(table, packed=True)
    changed = relisted(changed)
    refuses(there, forged(capsule, changed), "larger than what is allowed")


def test_a_newer_format_is_told_apart_from_a_forged_one(there: Installation, capsule: Path) -> None:
    forged(capsule, with_index(contents_of(capsule), format=2))
    with pytest.raises(NotAvailable, match="has format 2, 1 is understood"):
        there.take(capsule)


def test_a_capsule_that_has_no_room_is_refused_before_it_is_read(
    there: Installation, capsule: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenkei.data.disk.free_bytes", lambda path: 1000)
    with pytest.raises(Unavailable, match="1,000 are free"):
        there.look(capsule)
    assert there.contents() == set()


def test_a_file_that_is_exchanged_between_the_looks_is_refused(
    here: Installation, there: Installation, capsule: Path
) -> None:
    seen = there.look(capsule)["capsule"]
    here.write(capsule, overwrite=True)
    order = {**there.request, "path": str(capsule), "capsule": seen, "origin": "{}"}
    with pytest.raises(Conflict, match="became another one"):
        taking.take(order, nothing)
    assert there.contents() == set()


def _hex(content: bytes) -> str:
    return blake3(content).hexdigest()
