"""Large objects to and from buckets, touches that copy nothing, who is first without conditions."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError

from tests.testbeds.buckets import Bucket
from zenkei.data.depots import s3
from zenkei.data.depots.opening import open_depot
from zenkei.data.depots.s3 import S3Depot
from zenkei.model.errors import InvalidInput, Unavailable

PACK = "packs/" + "a" * 64
PART = 64 << 10
MIB = 1 << 20


@pytest.fixture(params=["rclone", "moto"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def location(kind: str, servers: Callable[[str], Bucket], credentials: None) -> str:
    return servers(kind).new_location()


@pytest.fixture
def depot(location: str) -> S3Depot:
    return S3Depot(location)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", PART)


@pytest.mark.parametrize("size", [PART, PART + 1, 2 * PART, 7 * PART - 1])
def test_an_object_of_many_parts_is_fetched_whole(
    depot: S3Depot, small_parts: None, tmp_path: Path, size: int
):
    content = os.urandom(size)
    depot.put(PACK, content)
    told: list[int] = []
    assert depot.fetch(PACK, tmp_path / "to", told.append) == size == sum(told)
    assert (tmp_path / "to").read_bytes() == content


def test_of_a_fetch_that_breaks_off_no_file_stays(
    depot: S3Depot, small_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    depot.put(PACK, bytes(9 * PART))
    calls: list[int] = []

    def broken(store, path, *, start, length):
        calls.append(start)
        if len(calls) > 3:
            raise GenericError("HTTP error: connection closed before message completed")
        return bytes(length)

    monkeypatch.setattr(obstore, "get_range", broken)
    with pytest.raises(Unavailable) as caught:
        depot.fetch(PACK, tmp_path / "to")
    assert caught.value.code == "depot-unavailable"
    assert not (tmp_path / "to").exists()


def test_a_store_without_ranges_is_read_as_well(
    depot: S3Depot, small_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = os.urandom(3 * PART)
    depot.put(PACK, content)

    def whole(*args, **more):
        raise GenericError("NotPartial: range request not supported")

    monkeypatch.setattr(obstore, "get_range", whole)
    told: list[int] = []
    assert depot.fetch(PACK, tmp_path / "to", told.append) == sum(told) == len(content)
    assert (tmp_path / "to").read_bytes() == content
    assert depot.read(PACK, 5, PART) == content[5 : 5 + PART]


def test_a_large_object_is_put_in_parts(depot: S3Depot, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3, "MULTIPART_BYTES", 40 * MIB)  # parts of stores have 5 MiB at least
    content = os.urandom(MIB) * 41
    depot.put(PACK, content)
    assert depot.read(PACK) == content


def test_a_touch_copies_nothing_and_is_seen_in_stat_and_in_lists(depot: S3Depot):
    depot.put(PACK, b"content")
    before = depot.stat(PACK)
    assert before is not None
    written = obstore.head(depot._small, PACK)
    while depot.now_s() < before.modified_s + 1.1:  # its times are whole seconds
        time.sleep(0.05)
    assert depot.touch(PACK)
    assert obstore.head(depot._small, PACK) == written
    sizes = {meta["path"]: meta["size"] for meta in depot._listed("")}
    assert sum(sizes.values()) == len(b"content") + sizes["epoch"]
    after = depot.stat(PACK)
    assert after is not None
    assert after.modified_s > before.modified_s
    assert list(depot.names("packs/")) == [after]


def test_marks_stay_as_long_as_what_they_mark(depot: S3Depot, monkeypatch: pytest.MonkeyPatch):
    depot.put(PACK, b"content")
    depot.touch(PACK)
    monkeypatch.setattr(s3, "GARBAGE_AGE_S", -5.0)
    assert depot.remove_garbage() == 0
    obstore.delete(depot._small, PACK)  # as by a collection that died within a removal
    assert depot.remove_garbage() == 1
    assert list(depot._listed("touched/")) == []


def test_of_several_clients_one_is_first_and_leaves_no_claim(location: str):
    depots = [S3Depot(location) for _ in range(4)]
    together = threading.Barrier(len(depots))

    def put(number: int, name: str) -> bool:
        together.wait(30)
        return depots[number].put_new(name, b"%d" % number)

    for turn in range(3):
        name = f"intents/{turn}"
        with ThreadPoolExecutor(len(depots)) as pool:
            told = list(pool.map(put, range(len(depots)), [name] * len(depots)))
        assert told.count(True) == 1
        assert told[int(depots[0].read(name))]
    assert list(depots[0]._listed("claims/")) == []


def test_the_claim_of_a_client_that_died_keeps_nobody_out(
    depot: S3Depot, monkeypatch: pytest.MonkeyPatch
):
    obstore.put(depot._small, "claims/intents/one/dead", b"")
    monkeypatch.setattr(s3, "CLAIM_S", 2.5)
    assert depot.put_new("intents/one", b"mine")
    monkeypatch.setattr(s3, "GARBAGE_AGE_S", -5.0)
    depot.remove_garbage()
    assert list(depot._listed("claims/")) == []


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/..",
        "s3://bucket/.",
        "s3://bucket/x?endpoint=http://host/?hidden=1",
        "s3://bucket/x?endpoint=http://host/%23hidden",
        "s3://bucket/x?path_style=hidden",
        "s3://bucket/x?endpoint=http://host&access_key_id=hidden",
    ],
)
def test_more_locations_that_mean_nothing(location: str):
    with pytest.raises(InvalidInput) as caught:
        open_depot(location)
    assert caught.value.code == "bad-depot-location"
    assert "hidden" not in f"{caught.value}{caught.value.message}{caught.value.hint}"


def test_how_a_bucket_is_addressed_is_part_of_the_location_where_it_is_not_usual(credentials):
    usual = open_depot("s3://bucket/x?endpoint=http://host")
    assert open_depot("s3://bucket/x?endpoint=http://host&path_style=1").location == usual.location
    other = open_depot("s3://bucket/x?endpoint=http://host&path_style=0")
    assert other.location != usual.location
    assert open_depot(other.location).location == other.location
