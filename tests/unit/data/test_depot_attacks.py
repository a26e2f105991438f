"""A depot in a directory under attack: crowds, killed processes, lost disks, hostile names."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.small_disk import given_or_small_disk
from zenkei.data.depots import directory
from zenkei.data.depots.depot import Stored
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.model.errors import InternalError, NotFound, Unavailable

PACK, OTHER = "packs/" + "a" * 64, "packs/" + "b" * 64
CONTENT = b"content" * 1000
WRITERS, ROUNDS = 4, 50
WRITES = """
import sys
from pathlib import Path
from zenkei.data.depots.directory import DirectoryDepot
depot = DirectoryDepot(Path(sys.argv[1]))
content = bytes([int(sys.argv[2])]) * (4 << 20)
print("begins", flush=True)
while True:
    depot.put("packs/" + "a" * 64, content)
"""
TAKES_ASIDE = """
import os, sys
from pathlib import Path
from zenkei.data.depots import directory
depot = directory.DirectoryDepot(Path(sys.argv[1]))
rename = os.rename
os.rename = lambda old, new: (rename(old, new), os._exit(9))
(listed,) = depot.names("packs/")
depot.remove_untouched(listed)
"""
USES: dict[str, Callable[[DirectoryDepot, Path], object]] = {
    "put": lambda depot, folder: depot.put(OTHER, CONTENT),
    "put_new": lambda depot, folder: depot.put_new(OTHER, CONTENT),
    "read": lambda depot, folder: depot.read(PACK),
    "fetch": lambda depot, folder: depot.fetch(PACK, folder / "to"),
    "stat": lambda depot, folder: depot.stat(PACK),
    "touch": lambda depot, folder: depot.touch(PACK),
    "names": lambda depot, folder: list(depot.names("packs/")),
    "now_s": lambda depot, folder: depot.now_s(),
    "garbage": lambda depot, folder: depot.remove_garbage(),
}


@pytest.fixture
def depot(tmp_path: Path) -> DirectoryDepot:
    return DirectoryDepot(tmp_path / "depot")


def run(code: str, *words: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def left_in_tmp(depot: DirectoryDepot) -> list[str]:
    return os.listdir(depot.root / "tmp")


def _put_all(root: Path, mine: int, barrier: Any, answers: Any) -> None:
    depot = DirectoryDepot(root)
    for number in range(ROUNDS):
        barrier.wait(30)
        if depot.put_new(f"intents/{number}", b"%d" % mine):
            answers.put((number, mine))
    answers.put(None)


def test_of_processes_that_put_a_new_one_at_once_exactly_one_is_told_so(depot: DirectoryDepot):
    fork = multiprocessing.get_context("fork")
    barrier, answers = fork.Barrier(WRITERS), fork.Queue()
    writers = [
        fork.Process(target=_put_all, args=(depot.root, mine, barrier, answers))
        for mine in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    told: list[tuple[int, int]] = []
    ended = 0
    while ended < WRITERS:
        answer = answers.get(timeout=60)
        ended += answer is None
        told += [answer] if answer else []
    for writer in writers:
        writer.join()
    assert sorted(number for number, _ in told) == list(range(ROUNDS))
    for number, mine in told:
        assert depot.read(f"intents/{number}") == b"%d" % mine
    assert left_in_tmp(depot) == []


def test_a_reader_sees_one_content_or_the_other_while_it_is_written_anew(depot: DirectoryDepot):
    depot.put("epoch", b"a" * 100_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for letter in (b"b", b"a"):
                depot.put("epoch", letter * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {depot.read("epoch") for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert seen <= {b"a" * 100_000, b"b" * 100_000}


def test_a_writer_killed_at_any_time_leaves_a_whole_object_and_garbage_that_is_removed(
    depot: DirectoryDepot,
):
    depot.put(PACK, bytes(4 << 20))
    for number in range(6):
        writer = run(WRITES, depot.root, number)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begins\n"
        time.sleep(0.01 * number)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        content = depot.read(PACK)
        assert content == content[:1] * (4 << 20)
    (depot.root / "tmp" / "1-left").write_bytes(b"half")
    assert depot.remove_garbage() == 0  # it may be somebody's who is writing
    when = time.time() - directory.GARBAGE_AGE_S - 60
    for name in left_in_tmp(depot):
        os.utime(depot.root / "tmp" / name, (when, when))
    assert depot.remove_garbage() >= 1
    assert left_in_tmp(depot) == []
    assert [stored.name for stored in depot.names("packs/")] == [PACK]


@pytest.mark.parametrize("use", ["read", "fetch", "stat", "touch", "garbage"])
def test_what_a_killed_collection_had_taken_aside_is_there_again(
    depot: DirectoryDepot, tmp_path: Path, use: str
):
    depot.put(PACK, CONTENT)
    collection = run(TAKES_ASIDE, depot.root)
    collection.communicate(timeout=60)
    assert collection.returncode == 9
    assert not depot.path(PACK).exists()
    USES[use](depot, tmp_path)
    assert depot.path(PACK).read_bytes() == CONTENT


def test_a_listing_goes_on_while_objects_are_removed(depot: DirectoryDepot):
    names = {f"intents/{number}" for number in range(40)}
    for name in names:
        depot.put(name, b"")
    listing = depot.names("intents/")
    first = next(listing)
    for name in names:
        depot.remove(name)
    assert {first.name, *(stored.name for stored in listing)} <= names


def test_only_the_owner_can_look_in_whatever_the_umask(tmp_path: Path):
    old = os.umask(0)
    try:
        depot = DirectoryDepot(tmp_path / "depot")
        depot.put(PACK, CONTENT)
        depot.fetch(PACK, tmp_path / "to")
    finally:
        os.umask(old)
    made = [depot.root, *depot.root.rglob("*"), tmp_path / "to"]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}


@pytest.mark.root
def test_a_fetch_to_a_full_disk_leaves_no_half_file(depot: DirectoryDepot, tmp_path: Path):
    depot.put(PACK, bytes(4 << 20))
    with given_or_small_disk(tmp_path / "small", 1 << 20) as disk:
        with pytest.raises(Unavailable) as caught:
            depot.fetch(PACK, disk / "to")
        assert caught.value.code == "disk-full"
        assert not (disk / "to").exists()


@pytest.mark.parametrize("use", USES)
def test_a_depot_that_went_away_is_not_taken_for_an_empty_one(
    depot: DirectoryDepot, tmp_path: Path, use: str
):
    """As when its file system was unmounted."""
    depot.put(PACK, CONTENT)
    depot.root.rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable) as caught:
        USES[use](depot, tmp_path)
    assert caught.value.code == "depot-unavailable"
    assert str(depot.root) in caught.value.message
    assert not depot.root.exists()


@pytest.mark.parametrize("what", ["link", "loop", "directory", "pipe"])
def test_what_is_no_file_is_no_object_and_nobody_waits_for_it(
    depot: DirectoryDepot, tmp_path: Path, what: str
):
    (tmp_path / "secret").write_bytes(b"secret")
    path = depot.path(PACK)
    {
        "link": lambda: path.symlink_to(tmp_path / "secret"),
        "loop": lambda: path.symlink_to(path.name),
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }[what]()
    for use in ("read", "fetch"):
        with pytest.raises(NotFound) as caught:
            USES[use](depot, tmp_path)
        assert caught.value.code == "no-such-object"
    assert depot.stat(PACK) is None
    assert not depot.touch(PACK)
    assert list(depot.names("packs/")) == []
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    "name",
    [
        "packs/../../secret", "packs//x", "/etc/passwd", "packs", "packs/" + "a" * 63, "tmp/x",
        "packs/" + "g" * 64, "packs/" + "a" * 64 + "\n", "packs/" + "a" * 64 + "\0", "intents/..\n",
        "intents/.", "intents/..", "intents/" + "i" * 201, "intents/é", "epoch/",
        "versions/" + "A" * 64,
    ],
)  # fmt: skip
def test_a_name_leads_nowhere_else(depot: DirectoryDepot, tmp_path: Path, name: str):
    listed = Stored(name=name, size=1, modified_s=0.0)
    before = sorted(tmp_path.rglob("*"))
    for use in (
        lambda: depot.put(name, b"x"),
        lambda: depot.put_new(name, b"x"),
        lambda: depot.read(name),
        lambda: depot.fetch(name, tmp_path / "to"),
        lambda: depot.stat(name),
        lambda: depot.touch(name),
        lambda: depot.remove(name),
        lambda: depot.remove_untouched(listed),
        lambda: depot.path(name),
    ):
        with pytest.raises(InternalError) as caught:
            use()
        assert caught.value.code == "bad-object-name"
    assert sorted(tmp_path.rglob("*")) == before
