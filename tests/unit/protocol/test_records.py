"""Records survive torn writes, full files and foreign bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.protocol import launch, records


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = tmp_path / "spool"
    records.make(str(made))
    return str(made)


def journal(path: str) -> records.Journal:
    return records.Journal(path, attempt="7.1/2", node=3)


def kinds(path: str) -> list[str]:
    return [record["kind"] for record in records.read(path)]


def test_what_is_appended_is_read_back_with_sequence_and_attempt(path):
    writer = journal(path)
    writer.append("started", at_us=5)
    writer.append("exited", at_us=6, code=None, detail="ü\n\0")
    writer.close()
    first, second = records.read(path)
    assert (first["seq"], first["attempt"], first["node"]) == (1, "7.1/2", 3)
    assert (second["seq"], second["code"], second["detail"]) == (2, None, "ü\n\0")


def test_a_record_fits_into_the_room_that_was_made(path):
    before = os.stat(path).st_size
    journal(path).append("started", at_us=5)
    assert os.stat(path).st_size == before


@pytest.mark.parametrize("cut", [1, 8, 20, 60])
def test_a_torn_record_is_not_read_and_is_written_over(path, cut):
    writer = journal(path)
    writer.append("claimed", at_us=5)
    line = records.encode({"seq": 2, "kind": "started", "detail": "x" * 200})
    with open(path, "r+b") as file:
        file.seek(len(records.encode(writer.records[0])))
        file.write(line[:-cut])
    assert kinds(path) == ["claimed"]
    journal(path).append("exited", at_us=6)
    assert kinds(path) == ["claimed", "exited"]


@pytest.mark.parametrize("at", [0, 3, 12, 40])
def test_a_flipped_byte_ends_the_reading(path, at):
    writer = journal(path)
    writer.append("claimed", at_us=5)
    writer.append("started", at_us=6)
    offset = len(records.encode(writer.records[0])) + at
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 1]))
    assert kinds(path) == ["claimed"]


def test_a_record_out_of_sequence_ends_the_reading():
    lines = [records.encode({"seq": seq, "kind": "x"}) for seq in (1, 3)]
    assert [record["seq"] for record in records.decode(b"".join(lines))] == [1]


def test_a_reader_gives_each_record_once_and_none_that_is_not_whole(path):
    reader = records.Reader(path)
    assert reader.more() == []
    writer = journal(path)
    writer.append("claimed", at_us=5)
    writer.append("started", at_us=6)
    assert [record["kind"] for record in reader.more()] == ["claimed", "started"]
    assert reader.more() == []
    line = records.encode({"seq": 3, "kind": "saved"})
    size = sum(len(records.encode(record)) for record in writer.records)
    with open(path, "r+b") as file:
        file.seek(size)
        file.write(line[:-5])
        file.flush()
        assert reader.more() == [], "it is torn"
        file.seek(size)
        file.write(line)
    assert [record["kind"] for record in reader.more()] == ["saved"]


def test_a_reader_waits_for_a_file_that_is_not_there_yet(tmp_path):
    reader = records.Reader(str(tmp_path / "spool"))
    assert reader.more() == []
    records.make(str(tmp_path / "spool"))
    journal(str(tmp_path / "spool")).append("claimed", at_us=5)
    assert len(reader.more()) == 1


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_fail(data):
    assert isinstance(records.decode(data), list)


def test_a_file_that_is_not_there_has_no_records(tmp_path):
    assert records.read(str(tmp_path / "none")) == []


def test_a_launch_document_is_read_as_it_was_written():
    document = launch.Launch(
        attempt="1/1",
        node="n1",
        node_rank=0,
        nodes=2,
        tree="t",
        argv=("a", "b c\n"),
        env={"A": "ü"},
        addresses=("127.0.1.1", "127.0.1.2"),
        secrets=(launch.SecretSlot("TOKEN"), launch.SecretSlot("KEY", True)),
    )
    assert launch.load(launch.dump(document)) == document


def test_an_older_readers_unknown_fields_are_ignored_and_missing_ones_have_defaults():
    old = b'{"version":1,"attempt":"1/1","node":"n","node_rank":0,"nodes":1,"tree":"t","argv":["x"]'
    assert launch.load(old + b',"of_tomorrow":1}').ranks == 1


def test_a_document_of_a_newer_version_is_refused():
    with pytest.raises(ValueError, match="version 99"):
        launch.load(b'{"version":99}')
