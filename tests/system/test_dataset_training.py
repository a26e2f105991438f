"""Real trainings on a dataset of more than 10,000 files, run again from records and judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system.cli_runs import Done, Place, a_place
from tests.system.frameworks import EXAMPLES, changed, shared_environments

FOLDER = EXAMPLES / "datasets"
FILES, SPOILT = 10_782, 20
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        (found.home / "envs").symlink_to(shared_environments())
        yield found


@pytest.fixture(scope="module")
def spoilt(place: Place) -> str:
    """Path of the first file that differs between the two versions; `stable` is on the first."""
    export = run(place, FOLDER / "export.yaml")
    folder = place.work / "digits"
    place.ok("result", "fetch", export, str(folder))
    place.ok("dataset", "add", "digits", str(folder), "--tag", "stable")
    images = sorted((folder / "0").iterdir())[:SPOILT]
    for image in images:
        np.save(image, 16 - np.load(image))
    done = place.ok("dataset", "commit", "digits", str(folder), "--json").json()
    assert (done["number"], done["files"], done["stored_bytes"]) == (2, FILES, SPOILT * 512)
    return f"0/{images[0].name}"


def run(place: Place, file: Path) -> str:
    place.ok("run", "--no-output", "-f", str(file))
    return str(place.ok("show", "-", "--json").json()["id"])


def comparison(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = done.json()["verdict"]["comparison"]
    return found


def datasets(place: Place, job: str) -> list[dict[str, Any]]:
    record = place.ok("result", "record", job, "--json").json()
    found: list[dict[str, Any]] = record["datasets"]
    return found


def test_a_repetition_uses_the_version_that_the_tag_named_then(place: Place, spoilt: str) -> None:
    first = run(place, FOLDER / "numpy.yaml")
    place.ok("dataset", "tag", "digits@2", "stable")
    try:
        again = place.run("verify", first, "--json")
        newer = run(place, FOLDER / "numpy.yaml")
    finally:
        place.ok("dataset", "tag", "digits@1", "stable")
    assert (again.code, comparison(again)["verdict"]) == (0, "identical")
    repeated = str(again.json()["verdict"]["against"])
    assert [datasets(place, job)[0]["number"] for job in (first, repeated, newer)] == [1, 1, 2]
    (pin,) = datasets(place, first)
    assert (pin["name"], pin["at"], pin["files"]) == ("digits", "data/digits", FILES)
    dealt = [datasets(place, job)[0]["rows_digest"] for job in (first, repeated, newer)]
    assert dealt[0].startswith("b2:")
    assert dealt[0] == dealt[1] != dealt[2]
    judged = place.run("verify", first, "--against", newer, "--json")
    assert (judged.code, comparison(judged)["verdict"]) == (1, "different")
    assert comparison(judged)["first"]["name"] == "loss"
    told = place.ok("diff", first, newer).stdout
    assert "digits" in told
    assert place.run("dataset", "diff", "digits@1", "digits@2").stdout.startswith(f"~ {spoilt}")


def test_another_seed_is_different_from_the_first_step_on(place: Place, spoilt: str) -> None:
    first = run(place, FOLDER / "numpy.yaml")
    other = run(place, changed(FOLDER / "numpy.yaml", place.work, seed=8))
    found = comparison(place.run("verify", first, "--against", other, "--json"))
    assert (found["verdict"], found["first"]["name"], found["first"]["step"]) == (
        "different",
        "loss",
        0,
    )


def test_a_training_with_pytorch_is_identical(place: Place, spoilt: str) -> None:
    done = place.run("verify", run(place, FOLDER / "torch.yaml"), "--json")
    found = comparison(done)
    assert (done.code, found["verdict"], found["points"]) == (0, "identical", 270)


def test_two_ranks_that_add_their_gradients_are_within_a_tolerance(
    place: Place, spoilt: str
) -> None:
    first = run(place, FOLDER / "ranks.yaml")
    done = place.run("verify", first, "--tolerance", "1e-4", "--json")
    assert done.code == 0, done.stdout
    assert comparison(done)["verdict"] in ("identical", "within_tolerance")
    assert comparison(done)["metrics"] == 2


def test_a_job_can_neither_change_its_data_nor_find_where_they_are_kept(
    place: Place, spoilt: str
) -> None:
    program = f"""
    cd data/digits
    echo x > {spoilt} || echo refused >> ../../outputs/said
    rm {spoilt} || echo refused >> ../../outputs/said
    touch new || echo refused >> ../../outputs/said
    ls {place.home}/data-cache {place.home}/datasets >> ../../outputs/said || true
    cd ../..; umount data/digits {place.home}/data-cache 2>&1 || echo refused >> outputs/said
    find data/digits -type f | wc -l >> outputs/said
    """
    place.write("attack.yaml", f"command: |\n{program}\ndatasets: [digits]\ncode: false\n")
    job = run(place, place.work / "attack.yaml")
    place.ok("result", "fetch", job, str(place.work / "said"))
    said = (place.work / "said" / "said").read_text().splitlines()
    where = [f"{place.home}/data-cache:", "", f"{place.home}/datasets:"]
    assert said == ["refused"] * 3 + where + ["refused", str(FILES)]
    assert place.run("dataset", "verify").code == 0


def test_a_program_that_writes_into_a_dataset_is_told_so_and_not_tried_again(
    place: Place, spoilt: str
) -> None:
    command = f"echo x > data/digits/{spoilt}"
    place.write("writes.yaml", f"command: {command}\ndatasets: [digits]\ncode: false\nretry: 3\n")
    assert place.run("run", "--no-output", "-f", str(place.work / "writes.yaml")).code != 0
    shown = place.ok("show", "-", "--json").json()
    assert (len(shown["attempts"]), shown["cause"]["symptom"]) == (1, "dataset_written")
