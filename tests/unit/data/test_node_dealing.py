"""The node helper deals the files of a version out to a job's parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenkei.data.node.dealing import deal
from zenkei.data.node.request import Request
from zenkei.model.errors import InvalidInput
from zenkei.protocol.dataindex import Row, encode
from zenkei.protocol.dataparts import Parts


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "v.index"
    path.write_bytes(encode(b"v" * 32, [Row(b"%d" % n, bytes([n]) * 32, n) for n in range(1, 11)]))
    return path


def test_parts_are_written_where_the_job_reads_them(index: Path):
    to = index.parent / "digits.rows"
    asked = {"parts": [["train", 0.8], ["val", 0.2]], "seed": 7, "to": str(to)}
    answer = deal(Request(asked), index)
    assert answer["parts"] == {"train": 8, "val": 2}
    parts = Parts.open(answer["rows_path"], answer["rows_digest"])
    assert sorted([*parts.rows["train"], *parts.rows["val"]]) == list(range(10))


@pytest.mark.parametrize(
    "change",
    [
        {"to": "relative"},
        {"parts": []},
        {"parts": None},
        {"parts": [["train", "0.8"]]},
        {"parts": [["train", 0.8], ["train", 0.1]]},
        {"parts": [["train", 1.8]]},
        {"by": "size"},
        {"seed": -1},
    ],
)
def test_what_is_no_split_is_refused_and_nothing_is_written(index: Path, change):
    asked = {"parts": [["train", 0.8]], "to": str(index.parent / "rows"), **change}
    with pytest.raises(InvalidInput) as refused:
        deal(Request(asked), index)
    assert refused.value.code == "bad-request"
    assert [path.name for path in index.parent.iterdir()] == ["v.index"]
