"""The files that a job reads its datasets by, as somebody without zenkei would read them."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from array import array

import numpy as np
import pytest

from zenkei.protocol import dataindex, dataparts, datasets, splits
from zenkei.protocol.dataindex import Index, Row
from zenkei.protocol.dataparts import Parts
from zenkei.protocol.datasets import Given
from zenkei.protocol.splits import Shuffle, Split

VERSION = bytes(range(32))
ROWS = [
    Row(b"b/2.npy", b"2" * 32, 20),
    Row(b"a/x/1.npy", b"1" * 32, 10, is_program=True),
    Row(b"README", b"0" * 32, 7),
    Row(b"a/latest", kind=dataindex.LINK),
    Row(b"\xff", bytes(32), 3),
]
SPLIT = Split((("train", 0.5), ("日", 0.25)), seed=-7, by="group")


@pytest.fixture
def index(tmp_path):
    path = tmp_path / "v.index"
    path.write_bytes(dataindex.encode(VERSION, ROWS))
    return path


def test_rows_are_read_by_struct_alone(index):
    data = index.read_bytes()
    head = struct.unpack_from("<8sII5Q32s32sII", data)
    rows, directories, names, files, size = head[3:8]
    assert head[:3] == (b"zk-index", 1, 0)
    assert (rows, directories, files, size, head[8]) == (5, 4, 4, 40, VERSION)
    assert head[9] == hashlib.blake2b(data[128:], digest_size=32).digest()
    assert head[11] == zlib.crc32(data[:124])
    assert len(data) == 128 + 64 * rows + 16 * directories + names
    digest, size, at, length, folder, kind, program = struct.unpack_from("<32sQQIIBB", data, 128)
    names_at = 128 + 64 * rows + 16 * directories
    assert (digest, size, kind, program) == (b"0" * 32, 7, 0, 0)
    assert data[names_at + at : names_at + at + length] == b"README"
    assert struct.unpack_from("<QI", data, 128 + 64 * rows + 16 * folder)[1] == 0


def test_rows_are_read_by_a_memory_map_of_numpy(index):
    kind = np.dtype({"names": ["size"], "formats": ["<u8"], "offsets": [32], "itemsize": 64})
    assert np.memmap(index, kind, "r", 128, (5,))["size"].tolist() == [7, 3, 0, 10, 20]


def test_rows_are_in_the_order_of_directories_and_names(index):
    found = Index.open(str(index))
    paths = [found.path(row) for row in range(len(found))]
    assert paths == [b"README", b"\xff", b"a/latest", b"a/x/1.npy", b"b/2.npy"]
    assert list(found.files()) == [0, 1, 3, 4]
    assert found[3] == ROWS[1]
    assert found.digest == f"b3:{VERSION.hex()}"


def test_a_file_at_the_top_is_in_no_group_and_one_without_digest_goes_by_its_path(index):
    found = Index.open(str(index))
    zero = int.from_bytes(b"0" * 8, "little")
    unread = splits.group_word(b"\xff")
    one, two = (int.from_bytes(byte * 8, "little") for byte in (b"1", b"2"))
    assert found.words("file") == [zero, unread, one, two]
    assert found.words("group") == [zero, unread, *map(splits.group_word, (b"a", b"b"))]
    assert found.groups() == ([b"a", b"b"], [-1, -1, 0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:100], "100 bytes is cut off"),
        (lambda data: data[:-1], "should have"),
        (lambda data: data + b"x", "should have"),
        (lambda data: b"zk-parts" + data[8:], "does not begin"),
        (lambda data: data[:8] + struct.pack("<I", 2) + data[12:], "version 2, known is 1"),
        (lambda data: data[:16] + struct.pack("<Q", 1 << 60) + data[24:], "header .* is damaged"),
    ],
)
def test_what_is_no_index_is_refused_when_it_is_opened(index, change, message):
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(ValueError, match=message):
        Index.open(str(index))


def test_a_place_outside_is_refused_when_it_is_used_and_all_of_it_by_verify(index):
    data = bytearray(index.read_bytes())
    struct.pack_into("<Q", data, 128 + 40, 1 << 40)
    struct.pack_into("<I", data, 128 + 64 + 52, 9)
    found = Index(bytes(data))
    with pytest.raises(ValueError, match="name lies outside"):
        found.path(0)
    with pytest.raises(ValueError, match="no directory 9"):
        found.path(1)
    with pytest.raises(IndexError, match="row 5 of 5"):
        found.path(5)
    with pytest.raises(ValueError, match="not what was written"):
        found.verify()


def test_the_parts_come_back_and_their_digest_never_changes(tmp_path):
    content = dataparts.encode(VERSION, SPLIT, [array("I", [0, 3]), array("I")])
    path = tmp_path / "v.rows"
    path.write_bytes(content)
    digest = dataparts.digest_of(content)
    assert digest == "b2:dd596164bb58d8a64a58624befdae68da491878da8f91de8736edaa18f0da0fb"
    parts = Parts.open(str(path), digest)
    assert (parts.digest, parts.split) == (VERSION, SPLIT)
    assert {name: list(rows) for name, rows in parts.rows.items()} == {"train": [0, 3], "日": []}
    with pytest.raises(ValueError, match="not those of the record"):
        Parts.open(str(path), "b2:" + "0" * 64)


@pytest.mark.parametrize("size", [0, 10, 71, 200, -1, 1])
def test_parts_that_are_cut_off_or_too_long_are_refused(size):
    content = dataparts.encode(VERSION, SPLIT, [array("I", [0, 3]), array("I", [1])])
    with pytest.raises(ValueError, match="cut off"):
        Parts(content + b"x" if size == 1 else content[:size])


def test_what_a_job_is_told_comes_back_and_strange_keys_are_ignored():
    told = (
        Given(name="a", digest="b3:1", path="/d/a", number=3, at="a", split=SPLIT),
        Given(name="b", digest="b3:2", path="/d/b", shuffle=Shuffle(7, 1)),
    )
    document = json.loads(datasets.dump(told))
    assert document["datasets"][1]["split"] is None
    document["datasets"][0]["new"] = document["new"] = 1
    assert datasets.load(json.dumps(document).encode()) == told
    sparse = {"version": 1, "datasets": [{"name": "a", "digest": "b3:1", "path": "/d"}]}
    assert datasets.load(json.dumps(sparse).encode()) == (Given("a", "b3:1", "/d"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "datasets": []}',
        '{"version": 1, "datasets": [1]}',
        '{"version": 1, "datasets": [{"name": "a"}]}',
        '{"version": 1, "datasets": [{"name": 1, "digest": "", "path": ""}]}',
        '{"version": 1, "datasets": [{"name": "a", "digest": "", "path": "", "split": {}}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_list_of_datasets_is_refused(text):
    with pytest.raises(ValueError, match=r"dataset|Expecting"):
        datasets.load(text.encode())
