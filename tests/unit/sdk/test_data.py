"""Datasets as a program in a job opens and reads them, and as one that runs by hand."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from tests.architecture.test_old_python import old_python, ship
from zenkei.data.versions import jobindex
from zenkei.model import dataset
from zenkei.protocol import datasets, names, splits
from zenkei.protocol.dataindex import EMPTY_DIRECTORY, LINK, Row, encode
from zenkei.protocol.datasets import Given
from zenkei.protocol.splits import Shuffle, Split
from zenkei.sdk import data

SPLIT = Split((("train", 0.75), ("val", 0.25)), seed=7)
# what one interpreter says of the split, the order and the bytes
SAYS = """
import hashlib, sys
from zenkei.sdk import data
if sys.argv[1:]:
    import numpy
digits = data.open("digits")
train = digits.files("train")
print(list(train), [len(digits.files(part)) for part in digits.parts], len(digits))
print(list(train.shuffled(3, 1)), list(data.Sampler(train, seed=5, rank=1, world_size=2)))
print(hashlib.sha256(b"".join(train.read(place) for place in range(len(train)))).hexdigest())
print("numpy" in sys.modules, file=sys.stderr)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """20 files in three groups, one at the top, two of them with the same content."""
    root = tmp_path / "mounted"
    for number in range(20):
        path = root / f"class-{number % 3}" / f"{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"sample {min(number, 18)}")
    (root / "README").write_text("read me")
    (root / "latest").symlink_to("class-0")
    (root / "empty").mkdir()
    return root


@pytest.fixture
def index(tree: Path) -> Path:
    """What the node helper writes for this tree."""
    rows = [Row(b"latest", kind=LINK), Row(b"empty", kind=EMPTY_DIRECTORY)]
    for path in tree.rglob("*.txt"):
        content = path.read_bytes()
        inner = os.fsencode(path.relative_to(tree))
        rows.append(Row(inner, blake3(content).digest(), len(content)))
    rows.append(Row(b"README", blake3(b"read me").digest(), 7))
    target = tree.parent / "v.index"
    target.write_bytes(encode(b"v" * 32, rows))
    return target


@pytest.fixture
def job(tree: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the program datasets like `digits`, with some fields replaced."""
    plain = Given(
        name="digits",
        number=3,
        digest="b3:" + (b"v" * 32).hex(),
        at="data/digits",
        path=str(tree),
        index_path=str(index),
    )

    def give(*changes: dict[str, Any]) -> None:
        document = tree.parent / names.DATASETS_FILE
        document.write_bytes(datasets.dump(tuple(plain._replace(**one) for one in changes)))
        monkeypatch.setenv(names.DATASETS, str(document))

    return give


def run(python: str, folder: Path, *argv: str) -> tuple[str, str]:
    ship(folder)
    done = subprocess.run(
        [python, "-B", "-c", SAYS, *argv],
        env={"PYTHONPATH": str(folder), names.DATASETS: os.environ[names.DATASETS]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.strip()


def test_files_are_listed_in_order_and_read(job, tree):
    job({})
    digits = data.open("digits")
    files = digits.files()
    assert (digits.path, digits.number, len(digits), len(files)) == (str(tree), 3, 21, 21)
    assert files[0] == "README"
    assert list(files[1:3]) == ["class-0/00.txt", "class-0/03.txt"]
    assert (files[-1], files.path(-1)) == ("class-2/17.txt", f"{tree}/class-2/17.txt")
    assert digits.read(1) == digits.read("class-0/00.txt") == files.read(1) == b"sample 0"
    assert files.digest(0) == f"b3:{blake3(b'read me').hexdigest()}"
    assert (files.size(0), files.group(0), files.group(1)) == (7, "", "class-0")


def test_parts_share_all_files_and_no_content(job):
    job({"split": SPLIT})
    digits = data.open("digits@3")
    train, val = (digits.files(part) for part in digits.parts)
    assert sorted([*train, *val]) == sorted(digits.files())
    assert (len(val), len(train)) == (5, 16)
    read = [{part.read(place) for place in range(len(part))} for part in (train, val)]
    assert not read[0] & read[1]
    with pytest.raises(LookupError, match="no part `test`; there is train, val"):
        digits.files("test")


def test_groups_stay_together(job):
    job({"split": Split((("a", 0.5), ("b", 0.5)), seed=1, by="group")})
    digits = data.open("digits")
    groups = [{file.partition("/")[0] for file in digits.files(part)} for part in digits.parts]
    assert not groups[0] & groups[1]
    assert [len(found) for found in groups] == [2, 2]


def test_parts_that_were_written_for_the_job_are_those_it_would_reckon(job, index):
    job({"split": SPLIT})
    reckoned = [list(data.open("digits").files(part)) for part in ("train", "val")]
    wanted = dataset.Split(parts=SPLIT.parts, seed=SPLIT.seed, by=SPLIT.by)
    digest, _ = jobindex.write_parts(index, wanted, index.parent / "v.rows")
    rows = {"rows_path": str(index.parent / "v.rows"), "rows_digest": digest}
    job({"split": SPLIT, **rows})
    assert [list(data.open("digits").files(part)) for part in ("train", "val")] == reckoned
    job({"split": SPLIT._replace(seed=8), **rows})
    with pytest.raises(ValueError, match="another version or split"):
        data.open("digits").files("train")


def test_the_job_files_shuffle_is_the_order_unless_it_is_not_wanted(job):
    job({"split": SPLIT, "shuffle": Shuffle(3, 1)})
    digits = data.open("digits")
    plain = digits.files("train", shuffle=False)
    order = splits.order(len(plain), 3, 1)
    assert list(digits.files("train")) == [plain[place] for place in order] != list(plain)
    assert list(plain) == sorted(plain)


def test_columns_are_those_of_the_rows(job):
    job({"split": SPLIT})
    val = data.open("digits").files().shuffled(1)
    columns = val.arrays()
    assert columns["size"].tolist() == [val.size(place) for place in range(len(val))]
    assert [bytes(one).hex() for one in columns["digest"]] == [
        val.digest(place)[3:] for place in range(len(val))
    ]
    names_of = [val.groups[number] if number >= 0 else "" for number in columns["group"]]
    assert names_of == [val.group(place) for place in range(len(val))]
    assert val.groups == ["class-0", "class-1", "class-2"]


def test_arrays_are_mapped_and_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    files = data.open("x", path=tmp_path).files()
    assert isinstance(files.array(0), np.memmap)
    assert files.array(0).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"allow_pickle|Python objects"):
        files.array(1)


def test_a_file_that_is_not_as_long_as_its_version_says_is_refused(job, tree):
    job({})
    files = data.open("digits").files()
    for text in ("", "sample 00"):
        (tree / "class-0" / "00.txt").write_text(text)
        with pytest.raises(OSError, match="is not 8 bytes"):
            files.read(1)


@pytest.mark.parametrize("numpy", [[], ["numpy"]], ids=["plain", "numpy"])
def test_python_38_and_numpy_say_the_same(job, tmp_path, numpy):
    job({"split": SPLIT})
    said, has_numpy = run(sys.executable, tmp_path / "own", *numpy)
    assert has_numpy == str(bool(numpy))
    train = data.open("digits").files("train")
    assert said.splitlines()[0] == f"{list(train)} [16, 5] 21"
    python = old_python()
    if python is None:
        pytest.skip("no Python 3.8 on this machine (set ZENKEI_TEST_PYTHON38)")
    assert run(python, tmp_path / "old")[0] == said


def test_they_travel_to_other_processes_without_their_maps(job):
    job({"split": SPLIT})
    val = data.open("digits").files("val").shuffled(2)
    content = pickle.dumps(val)
    assert len(content) < 1500
    there = pickle.loads(content)
    assert list(there) == list(val)
    assert there.read(0) == val.read(0)


def test_a_name_that_is_not_there_or_stands_for_two_says_what_helps(job, monkeypatch):
    job({}, {"number": 4, "at": "data/newer"})
    assert data.open("digits@4").number == data.open("data/newer").number == 4
    with pytest.raises(LookupError, match="more than once; open one of `digits@3`, `data/digits`"):
        data.open("digits")
    with pytest.raises(LookupError, match="no dataset `digit`; it has digits"):
        data.open("digit")
    monkeypatch.delenv(names.DATASETS)
    with pytest.raises(LookupError, match="under `datasets` in the job file, or give its dir"):
        data.open("digits")


def test_without_an_index_a_job_goes_by_paths_and_reads_no_content(job, tree):
    job({"split": SPLIT, "index_path": ""})
    digits = data.open("digits")
    assert {digits.files().digest(place) for place in range(21)} == {""}
    words = [splits.group_word(path.encode()) for path in digits.files()]
    expected = [[digits.files()[place] for place in part] for part in splits.divide(words, SPLIT)]
    assert [list(digits.files(part)) for part in digits.parts] == expected


def test_an_index_of_another_version_is_refused(job):
    job({"digest": "b3:" + "0" * 64})
    with pytest.raises(ValueError, match="is the index of b3:76"):
        data.open("digits").files()


def test_by_hand_the_files_and_the_split_are_those_of_the_job(job, tree, monkeypatch):
    job({"split": SPLIT})
    in_job = data.open("digits", path="nowhere", split={"a": 1.0}, seed=1)
    parts = [list(in_job.files(part)) for part in ("train", "val")]
    monkeypatch.delenv(names.DATASETS)
    monkeypatch.chdir(tree.parent)
    by_hand = data.open("digits", path="mounted", split={"train": 0.75, "val": 0.25}, seed=7)
    assert [list(by_hand.files(part)) for part in by_hand.parts] == parts
    assert list(by_hand.files()) == list(in_job.files())
    (tree / "new").write_text("too late")
    assert list(pickle.loads(pickle.dumps(by_hand.files("val")))) == parts[1]


def test_a_split_of_the_program_counts_where_the_job_file_has_none(job):
    job({})
    digits = data.open("digits", split={"train": 0.75, "val": 0.25}, seed=7)
    assert len(digits.files("val")) == 5
    with pytest.raises(ValueError, match="1 together"):
        data.open("digits", split={"train": 0.75, "val": 0.5})


def test_by_hand_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"`digits`: .* is no directory"):
        data.open("digits", path=tmp_path / "x")
