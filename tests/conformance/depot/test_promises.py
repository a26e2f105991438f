"""What every depot promises, in a directory and behind S3."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zenkei.data.depots.depot import Depot, Stored
from zenkei.data.depots.opening import open_depot
from zenkei.model.errors import InternalError, NotFound

PACK, OTHER, VERSION = "packs/" + "a" * 64, "packs/" + "b" * 64, "versions/" + "c" * 64


def missing(call) -> str:
    with pytest.raises(NotFound) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 4096], ids=["none", "1", "1M"])
def test_what_was_put_is_read_and_fetched(depot: Depot, tmp_path: Path, content: bytes):
    depot.put(PACK, content)
    told: list[int] = []
    assert depot.fetch(PACK, tmp_path / "to", told.append) == len(content)
    assert (tmp_path / "to").read_bytes() == content == depot.read(PACK)
    assert sum(told) == len(content)


@pytest.mark.parametrize("kind_of", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put(depot: Depot, kind_of):
    depot.put(VERSION, kind_of(b"version"))
    assert depot.read(VERSION) == b"version"


@pytest.mark.parametrize(
    ("start", "size", "part"),
    [(0, 4, b"0123"), (3, 4, b"3456"), (8, 9, b"89"), (10, 5, b""), (99, 1, b""), (4, 0, b"")],
)
def test_a_part_is_read(depot: Depot, start: int, size: int, part: bytes):
    depot.put(PACK, b"0123456789")
    assert depot.read(PACK, start, size) == part
    assert depot.read(PACK, start) == b"0123456789"[start:]


def test_what_is_not_there_is_not_found(depot: Depot, tmp_path: Path):
    assert missing(lambda: depot.read(PACK)) == "no-such-object"
    assert missing(lambda: depot.read(PACK, 5, 5)) == "no-such-object"
    assert missing(lambda: depot.fetch(PACK, tmp_path / "to")) == "no-such-object"
    assert depot.stat(PACK) is None
    assert not depot.touch(PACK)
    depot.remove(PACK)


def test_a_fetch_writes_only_new_files(depot: Depot, tmp_path: Path):
    depot.put(PACK, b"content")
    (tmp_path / "to").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        depot.fetch(PACK, tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"mine"


def test_names_are_listed_with_size_and_time(depot: Depot):
    began = depot.now_s()
    for name in (PACK, OTHER, VERSION):
        depot.put(name, b"content")
    found = {stored.name: stored for stored in depot.names("packs/")}
    assert found.keys() == {PACK, OTHER}
    assert found[PACK] == depot.stat(PACK)
    assert found[PACK].size == 7
    assert began - 1 <= found[PACK].modified_s <= depot.now_s() + 1


def test_many_names_are_all_listed(depot: Depot):
    names = {f"intents/{number}" for number in range(1100)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: depot.put(name, b""), names))
    assert {stored.name for stored in depot.names("intents/")} == names


def test_what_is_removed_is_gone_and_removed_again(depot: Depot):
    depot.put(PACK, b"content")
    depot.remove(PACK)
    depot.remove(PACK)
    assert depot.stat(PACK) is None
    assert list(depot.names("packs/")) == []


def test_put_new_leaves_what_is_there(depot: Depot):
    assert depot.put_new("intents/one", b"first")
    assert not depot.put_new("intents/one", b"second")
    assert depot.read("intents/one") == b"first"


def test_of_many_at_once_one_is_first(depot: Depot):
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda n: depot.put_new("intents/one", b"%d" % n), range(16)))
    assert first.count(True) == 1
    assert first[int(depot.read("intents/one"))]


def test_put_writes_anew_as_a_sign_of_life(depot: Depot):
    depot.put("intents/one", b"working")
    depot.put("intents/one", b"sealing")
    assert depot.read("intents/one") == b"sealing"


def test_what_was_listed_and_not_touched_is_removed(depot: Depot):
    depot.put(PACK, b"content")
    (listed,) = depot.names("packs/")
    assert depot.remove_untouched(listed)
    assert depot.stat(PACK) is None
    assert depot.remove_untouched(listed)


def test_what_was_put_again_since_it_was_listed_stays(depot: Depot):
    depot.put(PACK, b"content")
    (now,) = depot.names("packs/")
    listed = Stored(name=PACK, size=now.size, modified_s=now.modified_s - 100)
    assert not depot.remove_untouched(listed)
    assert depot.read(PACK) == b"content"


def test_what_was_touched_since_it_was_listed_stays(depot: Depot, monkeypatch: pytest.MonkeyPatch):
    depot.put(PACK, b"content")
    (listed,) = depot.names("packs/")
    while depot.now_s() < listed.modified_s + 1.1:  # times of S3 are whole seconds
        time.sleep(0.1)
    assert depot.touch(PACK)
    touched = depot.stat(PACK)
    assert touched is not None
    assert touched.modified_s > listed.modified_s
    assert not depot.remove_untouched(listed)
    assert depot.read(PACK) == b"content"
    assert [stored.name for stored in depot.names("packs/")] == [PACK]


def test_a_depot_is_opened_again_by_its_location(depot: Depot):
    depot.put(PACK, b"content")
    again = open_depot(depot.location)
    assert again.location == depot.location
    assert again.read(PACK) == b"content"


def test_its_clock_goes_on(depot: Depot):
    earlier = depot.now_s()
    assert depot.now_s() >= earlier
    assert abs(time.time() - earlier) < 60


@pytest.mark.parametrize(
    "name",
    ["", "x", "packs/x", "packs/../epoch", f"packs/{'A' * 64}", "/etc/passwd", "intents/a/b"],
)
def test_other_names_are_refused(depot: Depot, name: str):
    for call in (depot.read, depot.stat, depot.touch, depot.remove):
        with pytest.raises(InternalError):
            call(name)
    with pytest.raises(InternalError):
        depot.put(name, b"")


def test_what_others_keep_beside_it_is_not_listed(depot: Depot, kind: str, location: str, servers):
    depot.put(PACK, b"content")
    if kind == "directory":
        (Path(location.removeprefix("file:")) / "packs" / ".nfs0001").write_bytes(b"")
    else:
        import obstore

        prefix = location.partition("datasets/")[2].partition("?")[0].replace("%20", " ")
        obstore.put(servers(kind).client(prefix), "packs/other", b"")
    assert [stored.name for stored in depot.names("packs/")] == [PACK]
