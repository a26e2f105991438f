"""A job is run again from its record alone, and real trainings get the verdict that they deserve.

One daemon, a package index in a folder, and the interpreter of the tests, which has NumPy.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_runs import Done, Place, a_place
from tests.unit.envs.world import make_wheel

TRAIN = """\
import os
import numpy as np
from zenkei import sdk
x = np.random.rand(200, 5)
y = x @ np.arange(5.0) + float(os.environ.get("SHIFT", "0"))
w = np.zeros(5)
for step in range(20):
    error = x @ w - y
    w -= 0.3 * (x.T @ error) / len(y)
    sdk.report(step=step, loss=float((error**2).mean()))
folder = os.environ["ZENKEI_OUTPUT_DIR"]
np.savez(os.path.join(folder, "weights.npz"), w=w)
open(os.path.join(folder, "log.txt"), "w").write("trained\\n")
"""
USES_PACKAGE = "import rate\nfrom zenkei import sdk\nsdk.report(step=0, rate=float(rate.VERSION))\n"
READS = """\
import pathlib
from zenkei import sdk
total = 0
for step, path in enumerate(sorted(pathlib.Path("data").glob("*.txt"))):
    total += int(path.read_text())
    sdk.report(step=step, total=total)
"""
SWEEP = """\
import random
from zenkei import sdk
sdk.seed_everything()
sdk.report(step=0, x=random.random())
"""
MEMORY = "import os\nfrom zenkei import sdk\nsdk.report(step=0, x=int.from_bytes(os.urandom(4)))\n"
NEARLY = """\
import os, random, time
from zenkei import sdk
for step in range(5):
    sdk.report(step=step, loss=1.0 + time.time_ns() % 1000 * 1e-12)
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


@pytest.fixture(scope="module")
def place(index: Path) -> Iterator[Place]:
    with a_place() as found:
        found.environ.update(UV_FIND_LINKS=str(index), UV_NO_INDEX="1")
        yield found


def job(place: Place, name: str, program: str, **keys: object) -> str:
    """Write a job in a folder of its own, run it, and return its id."""
    folder = place.work / name
    folder.mkdir()
    (folder / "train.py").write_text(program)
    command = [sys.executable, "train.py"]
    document = {"name": name, "command": command, "seed": 7, "deterministic": True, **keys}
    document = {key: value for key, value in document.items() if value is not None}
    (folder / "job.yaml").write_text(json.dumps(document))
    place.ok("run", "--no-output", "-f", str(folder / "job.yaml"))
    return str(place.ok("show", "-", "--json").json()["id"])


def verdict(done: Done) -> dict[str, object]:
    found: dict[str, object] = done.json()["verdict"]["comparison"]
    return found


def test_a_real_training_is_identical_although_its_working_tree_is_gone(place: Place) -> None:
    first = job(place, "exact", TRAIN)
    shutil.rmtree(place.work / "exact")
    done = place.run("verify", first)
    assert (done.code, done.stdout.splitlines()[0].split(":")[0]) == (0, "identical")
    assert "1 metric, 20 values; 2 files" in done.stdout
    shown = place.ok("show", first, "--json").json()["verdicts"]
    assert [kept["comparison"]["verdict"] for kept in shown] == ["identical"]
    record = json.loads(place.ok("result", "record", first).stdout)
    assert record["start_hook"]["seeded"] == ["hash", "python", "numpy"]
    assert record["start_hook"]["not_reached"] == []
    assert "numpy" in record["imported"]


def test_a_planted_change_of_the_seed_is_different_from_the_first_step_on(place: Place) -> None:
    first = job(place, "seed-7", TRAIN)
    other = job(place, "seed-8", TRAIN, seed=8)
    done = place.run("verify", first, "--against", other, "--json")
    assert done.code == 1
    found = done.json()["verdict"]["comparison"]
    assert (found["verdict"], found["first"]["name"], found["first"]["step"]) == (
        "different",
        "loss",
        0,
    )
    assert [one["name"] for one in found["others"]] == ["weights.npz"]
    diff = place.ok("diff", first, other, "--json").json()
    assert diff["sections"][0]["subject"] == "seed"
    assert diff["sections"][0]["changes"] == [{"name": "seed", "a": "7", "b": "8"}]


def test_a_changed_line_of_code_is_found_as_a_diff(place: Place) -> None:
    first = job(place, "before", TRAIN)
    other = job(place, "after", TRAIN.replace("0.3 *", "0.31 *"))
    done = place.run("verify", first, "--against", other)
    assert done.code == 1
    # the first loss is that of the same weights: the change shows from the second step on
    assert "first: metric loss at step 1" in done.stdout
    told = place.ok("diff", first, other).stdout
    assert "-    w -= 0.3 * (x.T @ error) / len(y)" in told
    assert "+    w -= 0.31 * (x.T @ error) / len(y)" in told
    assert told.index("code") < told.index("results: different")


def test_a_newer_version_of_a_package_changes_new_jobs_but_not_a_repetition(
    place: Place, index: Path
) -> None:
    make_wheel(index, "rate", "1.0")
    keys = {"command": ["python", "train.py"], "env": {"packages": ["rate"]}}
    first = job(place, "rate-1", USES_PACKAGE, **keys)
    make_wheel(index, "rate", "2.0")
    place.ok("env", "refresh")
    again = place.run("verify", first)
    assert (again.code, again.stdout.split(":")[0]) == (0, "identical")
    newer = job(place, "rate-2", USES_PACKAGE, **keys)
    done = place.run("verify", first, "--against", newer, "--json")
    first_difference = done.json()["verdict"]["comparison"]["first"]
    assert (done.code, first_difference["a"], first_difference["b"]) == (1, "1.0", "2.0")
    sections = place.ok("diff", first, newer, "--json").json()["sections"]
    (packages,) = [s["changes"] for s in sections if s["subject"] == "environment"]
    assert packages == [{"name": "rate", "a": "1.0", "b": "2.0"}]


def test_a_tag_that_moved_changes_new_jobs_but_not_a_repetition(place: Place) -> None:
    data = place.work / "numbers"
    data.mkdir()
    for number in range(20):
        (data / f"{number:02}.txt").write_text(f"{number}\n")
    place.ok("dataset", "add", "numbers", str(data))
    place.ok("dataset", "tag", "numbers@1", "stable")
    keys = {"datasets": [{"name": "numbers", "tag": "stable", "at": "data"}]}
    first = job(place, "data-1", READS, **keys)
    (data / "07.txt").write_text("700\n")
    place.ok("dataset", "commit", "numbers", str(data))
    place.ok("dataset", "tag", "numbers@2", "stable")
    again = place.run("verify", first)
    assert (again.code, again.stdout.split(":")[0]) == (0, "identical")
    newer = job(place, "data-2", READS, **keys)
    done = place.run("verify", first, "--against", newer, "--json")
    told = done.json()["verdict"]["comparison"]["first"]
    assert (done.code, told["step"], told["a"], told["b"]) == (1, 7, "28.0", "721.0")
    sections = place.ok("diff", first, newer, "--json").json()["sections"]
    assert "data" in [section["subject"] for section in sections]


def test_numbers_that_lie_close_are_within_a_tolerance_and_different_without(place: Place) -> None:
    first = job(place, "nearly", NEARLY)
    exact = place.run("verify", first)
    assert exact.code == 1
    assert "--tolerance" in exact.stderr
    other = place.ok("show", "-", "--json").json()["id"]
    near = place.run("verify", first, "--against", other, "--tolerance", "1e-6")
    assert (near.code, near.stdout.split(":")[0]) == (0, "within tolerance")
    ignored = place.run("verify", first, "--against", other, "--ignore", "loss")
    assert (ignored.code, ignored.stdout.split(":")[0]) == (0, "identical")


def test_an_array_is_verified_member_by_member_and_each_keeps_its_own_seed(place: Place) -> None:
    first = job(place, "sweep", SWEEP, seed=None, deterministic=False, array=3)
    array = first.partition(".")[0]
    done = place.run("verify", array)
    again = place.ok("show", "-", "--json").json()["id"]
    assert done.code == 0, done.stdout + done.stderr
    lines = [f"identical: job {again}.{i} against job {array}.{i}" for i in range(3)]
    assert done.stdout.splitlines() == lines
    values = {
        place.ok("metrics", f"{array}.{i}", "--json").json()["series"][0]["last"]["value"]
        for i in range(3)
    }
    assert len(values) == 3


def test_what_no_seed_controls_is_found(place: Place) -> None:
    first = job(place, "entropy", MEMORY)
    assert place.run("verify", first).code == 1


def test_a_repetition_that_cannot_run_has_no_verdict(place: Place) -> None:
    marker = place.work / "only-once"
    program = f"import os\nos.mkdir({str(marker)!r})\n"
    first = job(place, "once", program)
    done = place.run("verify", first)
    assert done.code == 2
    assert "failed: exit code 1" in done.stderr
    unknown = place.run("verify", "99999", "--json")
    assert (unknown.code, unknown.json()["error"]["code"]) == (2, "no-such-job")


def test_a_seed_that_nobody_chose_is_kept_by_the_repetition(place: Place) -> None:
    program = "import os, random\nfrom zenkei import sdk\nsdk.seed_everything()\n"
    program += "sdk.report(step=0, x=random.random())\n"
    first = job(place, "derived", program, seed=None, deterministic=False)
    assert place.run("verify", first).code == 0


def test_the_lineage_of_a_repetition_leads_to_the_first_job(place: Place) -> None:
    first = job(place, "line", TRAIN)
    place.ok("verify", first)
    second = place.ok("show", "-", "--json").json()["id"]
    told = place.ok("result", "lineage", second).stdout
    assert told.startswith(f"result of {second}, 2 files\n")
    assert f"job {first} (line) (repeated by)" in told
    drawing = place.work / "line.svg"
    place.ok("result", "lineage", second, "--svg", str(drawing))
    assert drawing.read_text().startswith("<svg ")
