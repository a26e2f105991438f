"""The demo, from a fresh clone with an empty HOME, as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_make_demo_trains_from_a_fresh_clone_with_an_empty_home(repo: Path) -> None:
    script = repo / "tests/system/fresh_clone.sh"
    done = subprocess.run(
        [str(script), "demo"], capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = re.findall(r"accuracy (0\.\d+) with 4 ranks", done.stdout)
    assert found, done.stdout[-4000:]
    assert float(found[-1]) >= 0.95
    assert "virtual" in done.stdout
    assert re.search(r"16", done.stdout[done.stdout.index("too-large") :])
