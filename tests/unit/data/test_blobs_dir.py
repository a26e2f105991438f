"""The content store in a directory: layout, durability by kill, damage, packs, full disks."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zenkei.data import disk
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.digests import digest_of, to_raw
from zenkei.data.pack import Place
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, NotFound, Unavailable

SMALL = [b"content %d" % number for number in range(100)]


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def flip_a_byte(path: Path, at: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def place_of(blobs: DirectoryBlobs, digest: Digest) -> Place:
    place = blobs.index.find(to_raw(digest))
    assert place is not None
    return place


def test_only_the_owner_can_look_in_whatever_the_umask(tmp_path: Path):
    old = os.umask(0)
    try:
        blobs = DirectoryBlobs(tmp_path / "blobs")
        blobs.put(b"alone")
        blobs.put_many(SMALL)
    finally:
        os.umask(old)
    modes = {
        (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
        for path in [blobs.root, *blobs.root.rglob("*")]
    }
    assert modes == {(True, 0o700), (False, 0o600)}


def test_many_small_contents_share_one_file(blobs: DirectoryBlobs):
    digests = blobs.put_many(SMALL)
    assert len(list(blobs.packs.iterdir())) == 1
    assert list(blobs.object_paths()) == []
    again = DirectoryBlobs(blobs.root)
    assert [again.get(digest) for digest in digests] == SMALL


def test_a_batch_stores_only_what_is_new(blobs: DirectoryBlobs):
    blobs.put(SMALL[0])
    blobs.put_many(SMALL[:50])
    with blobs.batch() as batch:
        for content in SMALL * 2:
            batch.add(content)
        batch.commit()
    assert batch.stored == 50
    assert len(list(blobs.digests())) == 100


def test_a_batch_without_commit_leaves_nothing(blobs: DirectoryBlobs):
    with blobs.batch() as batch:
        batch.add(b"small")
        batch.add(bytes(500_000))
    assert list(blobs.digests()) == []
    assert list(blobs.temporary.iterdir()) == []


def test_the_same_contents_make_the_same_pack(tmp_path: Path):
    names = []
    for number, contents in enumerate((SMALL, SMALL)):
        blobs = DirectoryBlobs(tmp_path / str(number))
        blobs.put_many(contents)
        names.append(os.listdir(blobs.packs))
    assert names[0] == names[1]


def test_packs_are_cut(blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zenkei.data.batch.CUT_BYTES", 10_000)
    digests = blobs.put_many(SMALL)
    assert len(list(blobs.packs.iterdir())) > 3
    assert [DirectoryBlobs(blobs.root).get(digest) for digest in digests] == SMALL


def test_runs_of_zeros_take_no_room(blobs: DirectoryBlobs, tmp_path: Path):
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"in the middle")
    with sparse.open("rb") as file:
        digest, size = blobs.put_file(file)
    stored = blobs.object_path(to_raw(digest))
    assert (size, stored.stat().st_size) == (64 << 20, 64 << 20)
    assert stored.stat().st_blocks * 512 <= 4 << 20
    assert blobs.get(digest) == sparse.read_bytes()


def test_a_damaged_object_is_kept_aside_and_can_be_stored_again(blobs: DirectoryBlobs):
    digest = blobs.put(b"precious")
    flip_a_byte(blobs.object_path(to_raw(digest)))
    with pytest.raises(InternalError, match="no longer has its digest") as caught:
        blobs.get(digest)
    assert Path(str(caught.value.details["kept"])).read_bytes() == b"qrecious"
    with pytest.raises(NotFound):
        blobs.get(digest)
    blobs.put(b"precious")
    assert blobs.get(digest) == b"precious"


def test_a_reader_of_a_damaged_object_is_told_at_the_end(blobs: DirectoryBlobs):
    content = bytes(3 << 20)
    digest = blobs.put(content)
    flip_a_byte(blobs.object_path(to_raw(digest)), at=2 << 20)
    with blobs.open(digest) as reader:
        assert reader.read(1 << 20) == bytes(1 << 20)
        with pytest.raises(InternalError, match=digest):
            reader.read()
    assert not blobs.has(digest)


def test_one_damaged_member_leaves_the_others_of_its_pack(blobs: DirectoryBlobs):
    digests = blobs.put_many(SMALL)
    pack = next(blobs.packs.iterdir())
    before = pack.read_bytes()
    flip_a_byte(pack, at=place_of(blobs, digests[7]).offset)
    with pytest.raises(InternalError, match=digests[7]):
        blobs.get(digests[7])
    fresh = DirectoryBlobs(blobs.root)
    assert fresh.missing(digests) == {digests[7]}
    assert all(fresh.get(d) == c for d, c in zip(digests, SMALL, strict=True) if c != SMALL[7])
    assert [path.stat().st_size for path in blobs.corrupt.iterdir()] == [len(before)]
    blobs.put(SMALL[7])
    assert fresh.get(digests[7]) == SMALL[7]


def test_a_pack_with_a_damaged_index_is_kept_aside_and_breaks_nothing_else(blobs: DirectoryBlobs):
    digests = blobs.put_many(SMALL)
    other = blobs.put(b"other")
    flip_a_byte(next(blobs.packs.iterdir()), at=-60)
    fresh = DirectoryBlobs(blobs.root)
    assert fresh.get(other) == b"other"
    assert fresh.missing(digests) == set(digests)
    assert len(list(fresh.corrupt.iterdir())) == 1
    assert fresh.put_many(SMALL) == digests


def test_what_another_process_stores_and_deletes_is_seen(blobs: DirectoryBlobs):
    other = DirectoryBlobs(blobs.root)
    assert not blobs.has(digest_of(SMALL[0]))
    digests = other.put_many(SMALL)
    assert blobs.missing(digests) == frozenset()
    other.delete(digests[0])
    assert blobs.missing(digests) == {digests[0]}
    assert blobs.get(digests[1]) == SMALL[1]


WRITER = """
import sys
from pathlib import Path
from zenkei.data.blobs_dir import DirectoryBlobs
blobs = DirectoryBlobs(Path(sys.argv[1]))
number = 0
while True:
    contents = [b"%d %d" % (number, i) for i in range(20)] + [b"%d" % number * 100_000]
    for digest in blobs.put_many(contents) + (blobs.put(b"%d" % number),):
        print(digest, flush=True)
    number += 1
"""


def test_a_killed_writer_leaves_whole_contents_and_garbage_that_is_cleaned(tmp_path: Path):
    root = tmp_path / "blobs"
    acknowledged: list[str] = []
    for kill_after in (1, 30, 77):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            acknowledged += [process.stdout.readline().strip() for _ in range(kill_after)]
            process.send_signal(signal.SIGKILL)
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    (root / "tmp" / "left").write_bytes(b"by a writer that died")
    for path in (root / "tmp").iterdir():
        os.utime(path, (0, 0))
    blobs = DirectoryBlobs(root)
    assert os.listdir(root / "tmp") == []
    assert blobs.missing(map(Digest, acknowledged)) == frozenset()
    for digest, size in blobs.digests():
        assert len(blobs.get(digest)) == size


def test_garbage_of_living_writers_and_young_garbage_stays(blobs: DirectoryBlobs):
    living = disk.Temporary(blobs.temporary)
    os.utime(living.path, (0, 0))
    young = blobs.temporary / "young"
    young.touch()
    assert disk.remove_garbage(blobs.temporary) == 0
    os.utime(young, (0, 0))
    assert disk.remove_garbage(blobs.temporary) == 1
    living.discard()
    assert os.listdir(blobs.temporary) == []


def test_processes_may_write_the_same_contents_at_once(tmp_path: Path):
    script = """
import sys
from pathlib import Path
from zenkei.data.blobs_dir import DirectoryBlobs
blobs = DirectoryBlobs(Path(sys.argv[1]))
for turn in range(10):
    blobs.put_many([b"%d %d" % (turn, i) for i in range(50)])
    blobs.put(b"%d" % turn * 200_000)
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "b")]) for _ in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    blobs = DirectoryBlobs(tmp_path / "b")
    assert len(list(blobs.digests())) == 510
    assert all(len(blobs.get(digest)) == size for digest, size in blobs.digests())


def test_asking_for_a_content_makes_it_young_again(blobs: DirectoryBlobs):
    packed, *_ = blobs.put_many(SMALL)
    alone = blobs.put(b"alone")
    files = [blobs.object_path(to_raw(alone)), next(blobs.packs.iterdir())]
    for path in files:
        os.utime(path, (0, 0))
    assert blobs.has(alone)
    assert [path.stat().st_mtime for path in files] == [0, 0]
    assert blobs.missing([alone, packed]) == frozenset()
    assert all(path.stat().st_mtime > time.time() - 60 for path in files)


@pytest.mark.root
class TestDiskFull:
    @pytest.fixture
    def small_disk(self, tmp_path: Path):
        mount = tmp_path / "small"
        mount.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", mount], check=True
        )
        yield mount
        subprocess.run(["umount", mount], check=True)

    @pytest.mark.parametrize("way", ["put", "put_many", "put_file"])
    def test_nothing_half_written_stays_and_the_error_names_the_place(
        self, small_disk: Path, tmp_path: Path, way: str
    ):
        blobs = DirectoryBlobs(small_disk / "blobs")
        kept = blobs.put(b"kept")
        large = tmp_path / "large"
        large.write_bytes(os.urandom(4 << 20))
        many = [large.read_bytes()[i : i + 40_000] for i in range(0, 4 << 20, 40_000)]
        with large.open("rb") as file, pytest.raises(Unavailable) as caught:
            {
                "put": lambda: blobs.put(large.read_bytes()),
                "put_many": lambda: blobs.put_many(many),
                "put_file": lambda: blobs.put_file(file),
            }[way]()
        assert caught.value.code == "disk-full"
        assert str(small_disk) in caught.value.message
        assert "zenkei prune" in caught.value.hint
        assert os.listdir(blobs.temporary) == []
        assert list(blobs.digests()) == [(kept, 4)]
        assert blobs.put(b"room for a little") in dict(blobs.digests())


def test_free_bytes_of_a_place_that_is_not_there_yet(tmp_path: Path):
    assert disk.free_bytes(tmp_path / "not" / "yet") == disk.free_bytes(tmp_path) > 0
