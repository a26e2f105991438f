"""A depot in a directory: disks that are full, read-only or foreign; removal at any instant."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.testbeds.small_disk import small_disk
from zenkei.data.depots import directory
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.data.depots.opening import open_depot
from zenkei.model.errors import Unavailable

PACK = "packs/" + "a" * 64
LONG_AGO = (1e9, 1e9)


def refused(call) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        call()
    return caught.value


def old(depot: DirectoryDepot):
    """A pack that nobody touched for long, as a collection has listed it."""
    depot.put(PACK, b"content")
    os.utime(depot.path(PACK), LONG_AGO)
    (listed,) = depot.names("packs/")
    return listed


@pytest.mark.root
def test_a_full_disk_says_so_and_keeps_nothing_half(tmp_path: Path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        depot = DirectoryDepot(disk / "depot")
        assert refused(lambda: depot.put(PACK, bytes(2 << 20))).code == "disk-full"
        assert depot.stat(PACK) is None
        assert list((disk / "depot" / "tmp").iterdir()) == []


@pytest.mark.root
def test_a_full_disk_below_a_fetch_is_named(tmp_path: Path):
    depot = DirectoryDepot(tmp_path / "depot")
    depot.put(PACK, bytes(2 << 20))
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        error = refused(lambda: depot.fetch(PACK, disk / "to"))
        assert error.code == "disk-full"
        assert error.details["path"] == str(disk / "to")


@pytest.mark.root
def test_a_read_only_disk_says_so_and_can_be_read(tmp_path: Path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        depot = DirectoryDepot(disk / "depot")
        listed = old(depot)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        again = open_depot(depot.location)
        assert again.read(PACK) == b"content"
        calls = (
            lambda: again.put(PACK, b"x"),
            lambda: again.touch(PACK),
            lambda: again.remove(PACK),
            lambda: again.remove_untouched(listed),
            again.now_s,
        )
        assert [refused(call).code for call in calls] == ["disk-read-only"] * len(calls)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_foreign_directory_says_so(tmp_path: Path):
    depot = DirectoryDepot(tmp_path / "depot")
    (tmp_path / "depot" / "tmp").chmod(0o500)
    assert refused(lambda: depot.put(PACK, b"x")).code == "depot-refused"


STEPS = ("rename", "open", "fstat", "link", "unlink")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_touched_while_it_is_removed_is_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
):
    """Whoever was told that it is there can rely on it, at whatever step the removal was."""
    depot, other = DirectoryDepot(tmp_path), DirectoryDepot(tmp_path)
    listed = old(depot)
    real, told = getattr(os, step), []

    def meddled(*args, **kwargs):
        monkeypatch.setattr(os, step, real)
        if when == "before":
            told.append(other.touch(PACK))
        try:
            return real(*args, **kwargs)
        finally:
            if when == "after":
                told.append(other.touch(PACK))

    monkeypatch.setattr(os, step, meddled)
    depot.remove_untouched(listed)
    monkeypatch.setattr(os, step, real)
    assert (other.stat(PACK) is not None) == (True in told)
    if True in told:
        assert other.read(PACK) == b"content"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["fstat", "link", "unlink"])
def test_a_collection_killed_at_a_removal_leaves_the_pack_to_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    depot = DirectoryDepot(tmp_path)
    listed = old(depot)
    if step == "link":
        depot.touch(PACK)  # so that it would be put back

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, step, killed)
        with pytest.raises(Killed):
            depot.remove_untouched(listed)
    assert not (tmp_path / PACK).exists()
    assert DirectoryDepot(tmp_path).read(PACK) == b"content"


def test_what_dead_writers_left_is_removed_and_what_was_set_aside_is_back(tmp_path: Path):
    depot = DirectoryDepot(tmp_path)
    depot.put(PACK, b"content")
    aside = f"{directory.ASIDE}-packs-{'a' * 64}-0123456789abcdef"
    os.rename(tmp_path / PACK, tmp_path / "tmp" / aside)
    (tmp_path / "tmp" / "1-left").write_bytes(b"half")
    os.utime(tmp_path / "tmp" / "1-left", LONG_AGO)
    (tmp_path / "tmp" / "2-busy").write_bytes(b"half")
    assert depot.remove_garbage() == 1
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["2-busy"]
    assert depot.read(PACK) == b"content"


def test_a_file_that_no_longer_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    depot = DirectoryDepot(tmp_path)
    depot.put(PACK, b"content")

    def stale(*args, **kwargs):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "pread", stale)
    error = refused(lambda: depot.read(PACK))
    assert error.code == "depot-unavailable"
    assert str(tmp_path) in error.message
