"""The short forms once more as an ordinary user: no capability, no writable control group."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process_guard import RUN_DIR
from tests.system.test_supervisor_as_user import UID, as_user, python_for_everybody


@pytest.mark.root
@pytest.mark.timeout(200)
@pytest.mark.parametrize("suite", ["daemon", "agent"])
def test_an_ordinary_user_loses_nothing_either(suite, repo: Path, short_tmp: Path):
    python = python_for_everybody()
    if python is None:
        pytest.skip("no interpreter of this version that another user may start")
    for folder in ("tmp", "home"):
        (short_tmp / folder).mkdir()
        os.chown(short_tmp / folder, UID, UID)
    short_tmp.chmod(0o755)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(short_tmp / "home"),
        "TMPDIR": str(short_tmp / "tmp"),
        "PYTHONPATH": f"{repo}:{repo / 'src'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C",
        "ZENKEI_TEST_RUN": os.environ["ZENKEI_TEST_RUN"],
        "ZENKEI_TEST_KILLS": "15",
        "ZENKEI_TEST_AGENT_KILLS": "20",
        RUN_DIR: str(short_tmp / "tmp"),
    }
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*as_user(), python, *words, f"tests/system/test_faults_{suite}.py"],
        cwd=repo,
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 1
