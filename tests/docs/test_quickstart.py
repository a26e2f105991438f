"""Every command of the quick start is typed here, in order, as a reader would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.pages import blocks
from tests.system.cli_runs import a_place

GUIDE = "docs/guides/quickstart.md"
# the repository is set up and on PATH already, and the demo has a test of its own
GIVEN = ("make ", 'export PATH="$PWD/')


def test_the_quick_start_works_from_its_first_line_to_its_last(tmp_path):
    lines = ["set -eu"]
    for block in blocks("sh"):
        if block.page == GUIDE:
            lines += [line for line in block.text.splitlines() if not line.startswith(GIVEN)]
    with a_place() as place:
        path = f"{Path(sys.executable).parent}:{place.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh"],
            input="\n".join(lines) + "\n",
            cwd=place.work,
            env={**place.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (place.work / "first" / "kept" / "model.txt").read_text() == "weights"
    assert "step 4" in done.stdout
    assert "rank 1 of 2" in done.stdout
    assert "the largest node has 4" in done.stdout
    assert "loss" in done.stdout
