"""What only a depot behind S3 can get wrong: addresses, credentials, stores that do not answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import obstore
import pytest

from tests.dataset_trees import read_tree, write_tree
from tests.testbeds.buckets import CREDENTIALS, PASSWORD
from zenkei.data.depots import s3
from zenkei.data.depots.opening import open_depot
from zenkei.model.errors import InvalidInput, Unavailable

PACK = "packs/" + "a" * 64


@pytest.fixture(params=["rclone", "moto"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(call) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        call()
    return caught.value


def test_other_credentials_are_refused_and_not_repeated(servers, credentials, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret-than-that")
    depot = open_depot(servers("rclone").new_location())
    calls = (
        lambda: depot.put(PACK, b"x"),
        lambda: depot.put_new(PACK, b"x"),
        lambda: depot.read(PACK),
        lambda: depot.stat(PACK),
        lambda: depot.touch(PACK),
        lambda: list(depot.names("packs/")),
        lambda: depot.remove(PACK),
        depot.now_s,
    )
    errors = [refused(call) for call in calls]
    assert [error.code for error in errors] == ["depot-refused"] * len(calls)
    assert not [e for e in errors if "another-secret" in f"{e}{e.message}{e.hint}{e.details}"]


def test_a_bucket_that_is_not_there_is_named(servers, credentials):
    location = servers("rclone").new_location().replace("s3://datasets", "s3://other")
    error = refused(lambda: open_depot(location).put(PACK, b"x"))
    assert error.code == "depot-unavailable"
    assert "s3://other" in error.message


def test_a_store_that_does_not_answer_is_given_up(credentials, monkeypatch):
    monkeypatch.setattr(s3, "ANSWER_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        depot = open_depot(f"s3://datasets?endpoint=http://127.0.0.1:{port}")
        assert refused(lambda: depot.stat(PACK)).code == "depot-unavailable"
    assert "no connection" in refused(lambda: depot.stat(PACK)).message


@pytest.mark.parametrize(
    "location",
    [
        "s3://",
        "s3://Bucket/x",
        "s3://user:hidden@bucket/x",
        "s3://bucket/x?endpoint=http://user:hidden@host",
        "s3://bucket/x?secret_access_key=hidden",
        "s3://bucket/x?endpoint=file:///hidden",
        "s3://bucket/../hidden",
        "s3://bucket/a//hidden",
        "s3://bucket/%00hidden",
        "s3://bucket/x?endpoint=http://host:hidden",
        "s3://bucket/x?region=a%20hidden",
        "relative/hidden",
        "http://user:hidden@host/",
    ],
)
def test_locations_that_mean_nothing_are_refused(location: str):
    with pytest.raises(InvalidInput) as caught:
        open_depot(location)
    assert caught.value.code == "bad-depot-location"
    if "@" in location or "key" in location:
        assert "hidden" not in caught.value.message


def test_one_place_has_one_location(credentials):
    one = open_depot("s3://bucket/a b/?region=r1&endpoint=https://host:9000")
    other = open_depot("s3://bucket/a%20b?endpoint=https%3A%2F%2Fhost%3A9000&region=r1")
    assert one.location == other.location
    assert open_depot(one.location).location == one.location


def test_a_touch_leaves_nothing_behind(servers, kind: str, credentials, monkeypatch):
    monkeypatch.setattr(s3, "YOUNG_S", -1.0)
    depot = s3.S3Depot(servers(kind).new_location())
    depot.put(PACK, b"content")
    assert depot.touch(PACK)
    assert {meta["path"] for meta in depot._listed("")} == {PACK, "epoch"}


def test_what_a_killed_touch_left_is_removed_once_it_is_old(
    servers, kind: str, credentials, monkeypatch
):
    depot = s3.S3Depot(servers(kind).new_location())
    obstore.put(depot._small, f"{s3.ASIDE}/left", b"content")
    assert depot.remove_garbage() == 0
    monkeypatch.setattr(s3, "GARBAGE_AGE_S", -5.0)
    assert depot.remove_garbage() == 1
    assert list(depot._listed(s3.ASIDE)) == []


def test_a_directory_is_committed_exported_and_collected_there(
    servers, kind: str, credentials, tmp_path: Path
):
    """In processes as in production, with credentials in their environment only."""
    location = servers(kind).new_location()
    tree = {b"a/%d" % n: b"content %d" % n * n for n in range(300)}
    write_tree(tmp_path / "source", tree)

    def ask(**request):
        request["depot"] = location
        done = subprocess.run(
            [sys.executable, "-m", "zenkei.data.versions"],
            input=json.dumps(request) + "\n",
            env={**os.environ, **CREDENTIALS},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert PASSWORD not in done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])["ok"]

    usual = {"source": str(tmp_path / "source"), "state": str(tmp_path / "state"), "jobs": 2}
    digest = ask(do="commit", **usual)["digest"]
    assert ask(do="commit", **usual)["stored_bytes"] == 0
    ask(do="export", digest=digest, to=str(tmp_path / "out"), jobs=2)
    assert read_tree(tmp_path / "out") == tree
    assert ask(do="verify", digests=[digest], deep=True)["damaged"] == []
    assert ask(do="gc", keep=[digest], grace_s=0)["packs"] == 0
    swept = ask(do="gc", keep=[], grace_s=-5)
    assert swept["versions"] == 1
    assert swept["packs"] >= 1
    assert list(open_depot(location).names("packs/")) == []
