"""The simulator finds planted defects: each in a copy of the source, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.effort import tries
from tests.mutants.catalogue import MUTANTS, Mutant

REPO = Path(__file__).parents[2]
WORLDS = 60
"""As many are looked at before a defect counts as not found; those without one: as many are not."""


def hunt(source: Path, worlds: int) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": f"{source}:{REPO}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "tests.mutants.hunt", str(worlds)],
        cwd=source,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def copied(to: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "src" / "zenkei", to / "zenkei", ignore=ignore)
    return to


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_simulator_finds_a_planted_defect(mutant: Mutant, tmp_path: Path) -> None:
    source = copied(tmp_path)
    path = source / "zenkei" / mutant.file
    text = path.read_text("utf-8")
    assert text.count(mutant.before) == 1, f"{mutant.file} has changed: move the mutant with it"
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
    done = hunt(source, WORLDS)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-2000:]}"
    assert "world" in done.stdout


def test_without_a_defect_nothing_is_found(tmp_path: Path) -> None:
    done = hunt(copied(tmp_path), tries(12, least=4))
    assert done.returncode == 1, f"{done.stdout}{done.stderr[-2000:]}"
    assert "nothing was found" in done.stdout
