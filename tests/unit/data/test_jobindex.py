"""The index that a version's table gives, beside the plain one of `protocol.dataindex`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zenkei.data.depots.opening import open_depot
from zenkei.data.versions import commit, container, jobindex
from zenkei.data.versions.table import PIECE, Kind, VersionTable
from zenkei.model.data import Digest
from zenkei.model.dataset import Split
from zenkei.protocol import dataindex, dataparts, splits
from zenkei.protocol.dataindex import Index, Row
from zenkei.protocol.dataparts import Parts
from zenkei.sdk import data

ROWS = [
    Row(b"README", b"0" * 32, 7),
    Row(b"run", b"1" * 32, 9, is_program=True),
    Row(b"a/latest", kind=dataindex.LINK),
    Row(b"a/none", kind=dataindex.EMPTY_DIRECTORY),
    *(Row(b"a/b/%d" % number, bytes([number]) * 32, 1 << number) for number in range(3, 8)),
    *(Row(b"c/%d" % number, bytes([number]) * 32, number) for number in range(3, 8)),
]


def mode(row: Row) -> int:
    if row.kind == dataindex.FILE:
        return 0o755 if row.is_program else 0o644
    return 0o777 if row.kind == dataindex.LINK else 0o755


def table(rows: list[Row]) -> VersionTable:
    """rows: in the order of a version."""
    folders = tuple(sorted({b"", b"a", *(row.path.rpartition(b"/")[0] for row in rows)}))
    names = [row.path.rpartition(b"/")[2] for row in rows]
    return VersionTable(
        digest=Digest("b3:" + "5a" * 32),
        directories=folders,
        parents=np.array([folders.index(r.path.rpartition(b"/")[0]) for r in rows], np.uint32),
        name_data=b"".join(names),
        name_starts=np.cumsum([0, *map(len, names)], dtype=np.uint64),
        kinds=np.array([row.kind for row in rows], np.uint8),
        modes=np.array([mode(row) for row in rows], np.uint16),
        sizes=np.array([row.size for row in rows], np.uint64),
        digests=np.array([list(row.digest) for row in rows], np.uint8).reshape(len(rows), 32),
        targets={number: b"x" for number, row in enumerate(rows) if row.kind == Kind.LINK},
        packs=(),
        pack_sizes=np.zeros(0, np.uint64),
        pieces=np.zeros(0, PIECE),
    )


@pytest.fixture
def index(tmp_path: Path) -> Path:
    target = tmp_path / "v.index"
    jobindex.write(table(ROWS), target)
    return target


def test_it_says_what_the_plain_one_says(index: Path):
    found = Index.open(str(index))
    found.verify()
    assert [found[row] for row in range(len(found))] == ROWS
    plain = Index(dataindex.encode(bytes([0x5A]) * 32, ROWS))
    assert found.sizes._replace(names_bytes=0) == plain.sizes._replace(names_bytes=0)
    assert found.groups() == plain.groups()


def test_it_appears_whole_beside_nothing_else_and_all_may_read_it(index: Path):
    jobindex.write(table(ROWS), index)
    assert [path.name for path in index.parent.iterdir()] == ["v.index"]
    assert index.stat().st_mode & 0o777 == 0o444


def test_a_version_without_rows_has_an_index(tmp_path: Path):
    jobindex.write(table([]), tmp_path / "none")
    found = Index.open(str(tmp_path / "none"))
    found.verify()
    assert (len(found), list(found.files())) == (0, [])
    split = Split(parts=(("train", 1.0),))
    assert jobindex.parts_digest(tmp_path / "none", split)[1] == {"train": 0}


@pytest.mark.parametrize("by", ["file", "group"])
def test_parts_are_rows_of_files_as_plain_python_reckons_them(index: Path, by: str):
    split = Split(parts=(("train", 0.5), ("val", 0.3)), seed=7, by=by)
    target = index.parent / "v.rows"
    digest, counts = jobindex.write_parts(index, split, target)
    assert (digest, counts) == jobindex.parts_digest(index, split)
    assert digest == dataparts.digest_of(target.read_bytes())
    plain = splits.Split(split.parts, split.seed, split.by)
    rows = Index.open(str(index))
    files = rows.files()
    expected = [[files[place] for place in part] for part in splits.divide(rows.words(by), plain)]
    parts = Parts.open(str(target))
    assert [list(part) for part in parts.rows.values()] == expected
    assert counts == {name: len(part) for name, part in parts.rows.items()}
    assert all(ROWS[row].kind == dataindex.FILE for part in expected for row in part)


@pytest.mark.parametrize("by", ["file", "group"])
def test_a_directory_by_hand_has_the_rows_and_parts_of_its_version(tmp_path: Path, by: str):
    source = tmp_path / "digits"
    for number in range(30):
        path = source / f"c-{number % 4}" / f"{number % 7}.d" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number % 25}")
    (source / "c-0" / "run").write_text("x")
    (source / "c-0" / "run").chmod(0o755)
    (source / "c" / "none").mkdir(parents=True)
    (source / "c-1" / "latest").symlink_to("0.d")
    (source / "README").touch()
    (tmp_path / "depot").mkdir()
    request = commit.Request(depot=str(tmp_path / "depot"), source=source, jobs=1)
    done = commit.commit(request, lambda *_told: None)
    depot = open_depot(str(tmp_path / "depot"))
    stored = container.read(depot.read(f"versions/{done.digest.removeprefix('b3:')}"))
    jobindex.write(stored, tmp_path / "index")
    made = Index.open(str(tmp_path / "index"))
    split = {"train": 0.7, "val": 0.3}
    by_hand = data.open("digits", path=source, split=split, seed=7, by=by)
    assert [made[row] for row in range(len(made))] == [
        by_hand.index[row] for row in range(len(made))
    ]
    assert made.groups()[0] == by_hand.index.groups()[0]
    wanted = Split(parts=tuple(split.items()), seed=7, by=by)
    jobindex.write_parts(tmp_path / "index", wanted, tmp_path / "rows")
    parts = Parts.open(str(tmp_path / "rows")).rows
    assert {name: list(rows) for name, rows in parts.items()} == {
        name: list(by_hand.files(name).rows) for name in by_hand.parts
    }
