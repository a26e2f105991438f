"""Datasets through a real PyTorch: workers that are forked and spawned, ranks that come and go."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.frameworks import EXAMPLES, environment
from zenkei.protocol import datasets, names, splits
from zenkei.protocol.dataindex import Row, encode
from zenkei.sdk import data

PROGRAM = Path(__file__).with_name("data_reading.py")
SRC = PROGRAM.parents[2] / "src"
FILES = 41
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose job has a dataset of numbers, half of them in `train`."""
    rows = []
    for number in range(FILES):
        path = tmp_path / "mounted" / f"{number % 5}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
        digest = hashlib.sha256(b"%d" % number).digest()
        rows.append(Row(f"{number % 5}/{number}.txt".encode(), digest, path.stat().st_size))
    (tmp_path / "index").write_bytes(encode(b"v" * 32, rows))
    given = datasets.Given(
        name="digits",
        digest="b3:" + (b"v" * 32).hex(),
        path=str(tmp_path / "mounted"),
        index_path=str(tmp_path / "index"),
        split=splits.Split((("train", 0.6), ("val", 0.4)), seed=7),
    )
    (tmp_path / names.DATASETS_FILE).write_bytes(datasets.dump((given,)))
    monkeypatch.setenv(names.DATASETS, str(tmp_path / names.DATASETS_FILE))
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    return tmp_path


@pytest.fixture(scope="module")
def python() -> str:
    return f"{environment(EXAMPLES / 'torch-ddp/job.yaml').folder}/bin/python"


def start(python: str, job: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, str(PROGRAM), *map(str, words)],
        cwd=job,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(process: subprocess.Popen[str]) -> Any:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    return json.loads(out)


def numbers() -> list[int]:
    """Those of `train`, in the order of its files."""
    train = data.open("digits").files("train")
    return [int(train.read(place)) for place in range(len(train))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_each_file_once_an_epoch_in_another_order(job, python, method):
    train = numbers()
    found = said(start(python, job, "workers", method))
    orders = [splits.order(len(train), 5, epoch) for epoch in (0, 1)]
    assert found == [[train[place] for place in order] for order in orders]


def test_ranks_that_end_in_the_middle_leave_the_rest_to_any_number_of_others(job, python):
    train = numbers()
    two = [start(python, job, "rank", own, 2, 4) for own in range(2)]
    done = sorted(number for process in two for number in said(process))
    rest = said(start(python, job, "rank", 0, 1, 1000))
    assert len(done) == 2 * 4 * 2
    assert sorted(done + rest) == sorted(train)
