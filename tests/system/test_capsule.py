"""A result goes from one installation to another as one file, and is run again there from it alone.

Two homes with a daemon each; the interpreter of the tests has NumPy.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli_runs import Place, a_place
from tests.system.test_daemon_start import daemon_pid

TRAIN = """\
import os
import numpy as np
from zenkei import sdk
from zenkei.sdk import data
files = data.open("digits").files()
x = np.array([np.frombuffer(files.read(i), np.uint8).mean() for i in range(len(files))])
w = np.random.rand()
for step in range(5):
    w -= 0.1 * (w - x.mean())
    sdk.report(step=step, loss=float((w - x.mean()) ** 2))
np.savez(os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "weights.npz"), w=w)
print("trained on", len(files), "with", os.environ["TOKEN"])
"""
FILES = 1000
SECRET = "s3cr3t-of-ada-0123456789"
KILLS = 3


@pytest.fixture(scope="module")
def first() -> Iterator[Place]:
    with a_place() as found:
        yield found


@pytest.fixture
def second() -> Iterator[Place]:
    """Nothing is there yet."""
    with a_place() as found:
        yield found


@pytest.fixture(scope="module")
def digits(first: Place) -> Path:
    folder = first.work / "digits"
    dice = random.Random(7)
    for number in range(FILES):
        path = folder / str(number % 10) / f"{number:04}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(4096))
    first.ok("dataset", "add", "digits", str(folder))
    return folder


@pytest.fixture(scope="module")
def job(first: Place, digits: Path) -> str:
    first.ok("secret", "set", "TOKEN", given=SECRET + "\n")
    folder = first.work / "train"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    document = {
        "name": "digits",
        "command": [sys.executable, "train.py"],
        "seed": 7,
        "datasets": ["digits"],
        "secrets": ["TOKEN"],
    }
    (folder / "job.yaml").write_text(json.dumps(document))
    first.ok("run", "--no-output", "-f", str(folder / "job.yaml"))
    shutil.rmtree(folder)
    return str(first.ok("show", "-", "--json").json()["id"])


@pytest.fixture(scope="module")
def capsule(first: Place, job: str) -> Path:
    done = first.ok("result", "capsule", job, "-o", "digits.zip")
    assert done.stdout.startswith(f"digits.zip: job {job}, ")
    return first.work / "digits.zip"


def jobs(place: Place) -> list[Any]:
    return list(place.ok("ps", "--all", "--json").json()["jobs"])


def test_a_result_is_verified_by_an_installation_that_had_nothing(
    first: Place, second: Place, job: str, capsule: Path
) -> None:
    again = first.ok("result", "capsule", job, "-o", "again.zip", "--json").json()
    assert (first.work / "again.zip").read_bytes() == capsule.read_bytes()
    done = second.ok("result", "import", str(capsule), "--json").json()
    assert (done["is_new"], done["capsule"], done["missing"]) == (True, again["capsule"], [])
    mine = done["job"]
    second.ok("secret", "set", "TOKEN", given="another one\n")
    verified = second.run("verify", mine, "--json")
    found = verified.json()["verdict"]["comparison"]
    assert (verified.code, found["verdict"], found["points"]) == (0, "identical", 5)
    assert found["files"] == 1
    record = first.ok("result", "record", job).stdout
    assert second.ok("result", "record", mine).stdout == record
    assert f"trained on {FILES} with" in second.ok("logs", mine).stdout
    shown = second.ok("result", "show", mine).stdout
    assert f"/{job}, run by {json.loads(record)['owner']}, ended " in shown
    assert done["came_from"] in second.ok("show", mine).stdout
    assert f"imported from {done['came_from']}" in second.ok("result", "lineage", mine).stdout
    told = second.ok("result", "import", str(capsule)).stdout
    assert told.startswith(f"{capsule} was imported before: it is job {mine}")
    # what was imported can be taken further: here back to where it began
    second.ok("result", "capsule", mine, "-o", str(first.work / "back.zip"))
    back = first.ok("result", "import", "back.zip", "--json").json()
    assert (back["is_new"], back["datasets"]) == (True, {"digits": "digits"})
    assert f"trained on {FILES} with" in first.ok("logs", back["job"]).stdout


def test_no_value_of_a_secret_is_in_a_capsule(capsule: Path) -> None:
    content = capsule.read_bytes()
    assert b"TOKEN" in content
    assert SECRET.encode() not in content


def test_without_data_the_digests_are_named_and_the_same_files_will_do(
    first: Place, second: Place, job: str, digits: Path
) -> None:
    told = first.ok("result", "capsule", job, "-o", "bare.zip", "--without-data")
    assert "zenkei: left out: files of the dataset digits" in told.stderr
    bare = first.work / "bare.zip"
    done = second.ok("result", "import", str(bare))
    digest = first.ok("dataset", "show", "digits", "--json").json()["versions"][0]["digest"]
    assert f"missing data: {digest}" in done.stderr
    refused = second.run("rerun", "1")
    assert (refused.code, "imported without its data" in refused.stderr) == (6, True)
    assert f"data {digest}" in second.ok("result", "show", "1").stdout
    second.ok("dataset", "add", "numbers", str(digits))
    found = second.ok("result", "import", str(bare), "--json").json()
    assert (found["is_new"], found["datasets"]) == (True, {"digits": "numbers"})
    second.ok("secret", "set", "TOKEN", given="x\n")
    assert second.run("verify", found["job"]).stdout.startswith("identical")


def test_a_damaged_capsule_is_refused_and_leaves_nothing(second: Place, capsule: Path) -> None:
    content = capsule.read_bytes()
    place = second.work / "damaged.zip"
    at = content.index(b"trained on")
    for damaged in (content[:-100], content[:at] + b"T" + content[at + 1 :]):
        place.write_bytes(damaged)
        done = second.run("result", "import", str(place))
        assert done.code == 2
        assert "this capsule is refused: " in done.stderr
        assert "hint: " in done.stderr
    assert jobs(second) == []
    assert second.ok("dataset", "ls", "--json").json()["datasets"] == []


@contextmanager
def importing(place: Place, capsule: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "zenkei.cli.entry", "result", "import", str(capsule)],
        cwd=place.work,
        env=place.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def test_an_import_whose_daemon_is_killed_is_finished_by_its_repetition(
    second: Place, capsule: Path
) -> None:
    dice = random.Random(os.getpid())
    for _ in range(KILLS):
        second.ok("up")
        pid = daemon_pid(second.home)
        with importing(second, capsule):
            time.sleep(dice.uniform(0.2, 1.2))
            os.kill(pid, signal.SIGKILL)
        there = jobs(second)
        named = second.ok("dataset", "ls", "--json").json()["datasets"]
        # all of it or nothing: an import that was quicker than the signal counts
        assert len(there) == len(named) <= 1
    done = second.ok("result", "import", str(capsule), "--json").json()
    assert len(jobs(second)) == 1
    sound = second.ok("dataset", "verify", "--json").json()
    assert (sound["versions"], sound["damaged"]) == (1, [])
    assert second.ok("result", "get", done["job"], "weights.npz", "w.npz").code == 0
