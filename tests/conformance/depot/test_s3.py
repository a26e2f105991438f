"""What only a depot behind S3 can get wrong: addresses, credentials, stores that do not answer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.dataset_trees import ended, in_process, write_tree
from tests.testbeds.buckets import PASSWORD
from zenkei.data.depots import s3
from zenkei.data.depots.opening import open_depot
from zenkei.model.errors import InvalidInput, Unavailable

WRONG = "another-secret-than-that"
PACK = "packs/" + "a" * 64


@pytest.fixture(params=["rclone", "moto"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(call) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        call()
    return caught.value


def test_other_credentials_are_refused_and_not_repeated(servers, credentials, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
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
    assert not [e for e in errors if WRONG in f"{e}{e.message}{e.hint}{e.details}"]


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


def test_what_touches_leave_behind_goes_with_the_object(
    servers, kind: str, credentials, monkeypatch
):
    """Nothing of theirs is left but what the depot itself needs for its clock."""
    monkeypatch.setattr(s3, "GARBAGE_AGE_S", -5.0)
    depot = s3.S3Depot(servers(kind).new_location())
    depot.put(PACK, b"content")
    assert depot.touch(PACK)
    depot.remove(PACK)
    assert not depot.touch(PACK)
    depot.remove_garbage()
    assert {meta["path"] for meta in depot._listed("")} <= {"epoch"}


def test_credentials_are_in_no_answer_and_no_file_of_a_commit(
    servers, credentials, monkeypatch, tmp_path: Path
):
    source, state = write_tree(tmp_path / "source", {b"a": b"content"}), tmp_path / "state"
    request = {
        "do": "commit",
        "depot": servers("rclone").new_location(),
        "source": str(source),
        "state": str(state),
    }
    code, said, err = ended(in_process(request))
    assert code == 0, said
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    code, refusal, more = ended(in_process(request))
    assert (code, refusal[-1]["error"]["code"]) == (1, "depot-refused")
    kept = state.read_bytes().decode("latin-1")
    for secret in (PASSWORD, WRONG):
        assert secret not in f"{said}{err}{refusal}{more}{kept}"
