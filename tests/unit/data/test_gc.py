"""Collection: what is referred to stays, also beside running snapshots of other threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.unit.data.conftest import Write, listing
from zenkei.data import disk
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.digests import digest_of, to_raw
from zenkei.data.gc import collect, collect_checkouts, usage
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, NotFound
from zenkei.model.job import CodeRequest


def age(blobs: DirectoryBlobs) -> None:
    """As if everything stored had not been asked for since 1970."""
    for path in [*blobs.object_paths(), *blobs.packs.iterdir()]:
        with suppress(FileNotFoundError):  # a collector may be at work
            os.utime(path, (0, 0))


def stored(blobs: DirectoryBlobs) -> set[Digest]:
    return {digest for digest, _ in DirectoryBlobs(blobs.root).digests()}


@pytest.fixture
def repository_like(write: Write) -> Path:
    return write({f"f{n}": "x" * n for n in range(20)} | {"large": b"y" * 500_000})


def test_everything_below_a_root_stays_and_the_rest_goes(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write, repository_like: Path,
    tmp_path: Path,
):  # fmt: skip
    all_of_it = CodeRequest()
    kept = trees.snapshot(repository_like, all_of_it)
    gone = trees.snapshot(
        write({"f3": "xxx", "b": "other", "c": "z" * 500_000}, "b"), CodeRequest()
    )
    lone, lost = blobs.put(b"an environment's lock"), blobs.put(b"nobody's")
    age(blobs)
    collected = collect(blobs, [kept.tree, kept.source, lone])
    trees.checkout(kept.tree, tmp_path / "copy")
    assert listing(tmp_path / "copy") == listing(repository_like)
    assert {kept.source, lone} <= stored(blobs)
    assert not {gone.tree, lost, digest_of(b"other"), digest_of(b"z" * 500_000)} & stored(blobs)
    assert collected.contents >= 4
    assert collected.freed_bytes >= 500_000
    assert collect(blobs, [kept.tree, kept.source, lone]).contents == 0


def test_the_diff_of_a_source_document_stays(blobs: DirectoryBlobs):
    diff, other = blobs.put(b"a diff"), blobs.put(b"not mentioned")
    document = blobs.put(b'{"zenkei":"source","version":1,"git":{"diff":"%s"}}' % diff.encode())
    bare = blobs.put(b'{"zenkei":"source","version":1,"git":null,"why":""}\n')
    age(blobs)
    collect(blobs, [document, bare])
    assert stored(blobs) == {diff, document, bare}
    assert other not in stored(blobs)


def test_what_was_stored_or_asked_for_within_the_grace_stays(blobs: DirectoryBlobs):
    digests = blobs.put_many([b"one", b"two"])
    alone = blobs.put(b"alone")
    assert collect(blobs, [], grace_s=3600).contents == 0
    age(blobs)
    blobs.missing([digests[0], alone])
    assert collect(blobs, [], grace_s=3600).contents == 0
    age(blobs)
    blobs.put(b"alone")
    assert collect(blobs, [], grace_s=3600).contents == 2
    assert stored(blobs) == {alone}


def test_a_grace_of_nothing_is_still_one(blobs: DirectoryBlobs):
    blobs.put(b"just now")
    assert collect(blobs, [], grace_s=0).contents == 0


def test_a_pack_is_rewritten_when_most_of_it_is_dead(blobs: DirectoryBlobs):
    digests = blobs.put_many([b"%d" % n * 1000 for n in range(10)])
    age(blobs)
    assert collect(blobs, digests[:6]).contents == 0
    assert collect(blobs, digests[:2]).contents == 8
    assert stored(blobs) == set(digests[:2])
    other = DirectoryBlobs(blobs.root)
    assert [other.get(digest) for digest in digests[:2]] == [b"0" * 1000, b"1" * 1000]


def test_a_reader_that_knew_the_old_pack_finds_the_new_one(blobs: DirectoryBlobs):
    digests = blobs.put_many([b"%d" % n for n in range(10)])
    reader = DirectoryBlobs(blobs.root)
    reader.get(digests[0])
    age(blobs)
    collect(blobs, digests[:1])
    assert reader.get(digests[0]) == b"0"
    assert reader.missing(digests) == set(digests[1:])
    with pytest.raises(NotFound):
        reader.get(digests[5])


def test_a_damaged_root_stops_the_collection(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write
):
    tree = trees.snapshot(write({"a": "x"}), CodeRequest()).tree
    blobs.put(b"unrelated")
    place = blobs.index.find(to_raw(tree))
    assert place is not None
    pack = blobs.packs / place.pack
    content = bytearray(pack.read_bytes())
    content[place.offset + 40] ^= 1
    pack.write_bytes(content)
    age(blobs)
    before = stored(blobs)
    with pytest.raises(InternalError, match=tree):
        collect(blobs, [tree])
    assert stored(blobs) == before - {tree}


def test_a_root_that_is_gone_is_reported_and_does_not_stop_the_rest(blobs: DirectoryBlobs):
    kept = blobs.put(b"kept")
    blobs.put(b"dead")
    age(blobs)
    absent = digest_of(b"absent")
    assert collect(blobs, [absent, kept]).missing == (absent,)
    assert stored(blobs) == {kept}


def test_what_is_asked_for_just_before_its_removal_stays(
    blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch
):
    digests = [*blobs.put_many([b"one", b"two"]), blobs.put(b"alone")]
    age(blobs)
    other, real = DirectoryBlobs(blobs.root), disk.locked

    @contextmanager
    def asked_first(path: Path, *, exclusive: bool) -> Iterator[None]:
        if exclusive:
            assert other.missing(digests) == frozenset()
        with real(path, exclusive=exclusive):
            yield

    monkeypatch.setattr(disk, "locked", asked_first)
    assert collect(blobs, []).contents == 0
    assert stored(blobs) == set(digests)


def test_a_snapshot_taken_beside_a_collector_is_always_whole(
    tmp_path: Path, write: Write, trees: DirectoryTrees, blobs: DirectoryBlobs
):
    """No roots, and everything is old when a snapshot begins: only asking keeps contents alive."""
    root = write({f"f{n}": f"{n}" for n in range(30)} | {"large": b"y" * 300_000})
    stop = threading.Event()
    removed: list[int] = []

    def collector() -> None:
        mine = DirectoryBlobs(blobs.root)
        while not stop.is_set():
            removed.append(collect(mine, [], grace_s=3600).contents)

    sweeper = threading.Thread(target=collector)
    sweeper.start()
    try:
        for turn in range(60):
            age(blobs)
            tree = trees.snapshot(root, CodeRequest()).tree
            trees.checkout(tree, tmp_path / f"out{turn}")
            assert listing(tmp_path / f"out{turn}") == listing(root)
    finally:
        stop.set()
        sweeper.join()
    assert sum(removed) > 0


class TestCheckouts:
    @pytest.fixture
    def code(self, trees: DirectoryTrees, write: Write, tmp_path: Path) -> dict[Digest, Path]:
        places: dict[Digest, Path] = {}
        for name in ("used", "unused"):
            tree = trees.snapshot(write({"a": name}, name), CodeRequest()).tree
            places[tree] = tmp_path / "code" / to_raw(tree).hex()
            trees.checkout(tree, places[tree])
        return places

    def test_trees_that_nothing_needs_go_after_the_grace(
        self, blobs: DirectoryBlobs, code: dict[Digest, Path], tmp_path: Path
    ):
        used, unused = code
        assert collect_checkouts(blobs, tmp_path / "code", [used]) == 0
        for record in (tmp_path / "code").glob("*.made"):
            os.utime(record, (0, 0))
        assert collect_checkouts(blobs, tmp_path / "code", [used]) == 1
        assert code[used].exists()
        assert not code[unused].exists()
        assert len(os.listdir(tmp_path / "code")) == 2

    def test_asking_for_a_tree_renews_it(
        self, trees: DirectoryTrees, blobs: DirectoryBlobs, code: dict[Digest, Path], tmp_path: Path
    ):
        for record in (tmp_path / "code").glob("*.made"):
            os.utime(record, (0, 0))
        for tree, place in code.items():
            trees.checkout(tree, place)
        assert collect_checkouts(blobs, tmp_path / "code", []) == 0

    def test_what_a_crash_left_goes_too_and_nothing_else(
        self, blobs: DirectoryBlobs, code: dict[Digest, Path], tmp_path: Path
    ):
        (tmp_path / "code/.x.making/deep").mkdir(parents=True)
        (tmp_path / "code/.y.condemned").mkdir()
        (tmp_path / "code/mine").mkdir()
        assert collect_checkouts(blobs, tmp_path / "code", code, grace_s=-60) == 2
        assert (tmp_path / "code/mine").exists()
        assert all(place.exists() for place in code.values())


def test_usage_counts_what_there_is(blobs: DirectoryBlobs):
    blobs.put_many([b"x" * 1000] * 3 + [b"y" * 1000])
    blobs.put(b"z" * 1_000_000)
    (blobs.corrupt / "x").write_bytes(b"x" * 10_000)
    used = usage(blobs)
    assert used.contents == 3
    assert used.object_bytes >= 1_000_000 > used.pack_bytes > 2_000
    assert used.corrupt_bytes >= 10_000
    assert used.free_bytes > 0
