"""The same tests once more as an ordinary user: no capability, no writable control group.

Started by root only; elsewhere the tests themselves ran as an ordinary user. The user is a number
without a name, made for the test by setpriv.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process_guard import RUN_DIR

UID = 54321
SUITES = ("orders", "trees", "limits", "output")
# of each suite, what an ordinary user sees differently; the rest costs time and shows nothing new
CHOSEN = """
    test_escapees test_what_a_rank_leaves test_a_leftover test_a_fork_bomb test_killing
    test_no_report_is_lost test_a_stop_order_that_overtakes test_after_a_reboot
    test_the_time_limit test_a_tree_beyond test_an_unfinished_line test_secrets test_code_is
"""
# starts itself once more: setpriv itself may still reach what its children may not
PROBE = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"


def python_for_everybody() -> str | None:
    """An interpreter of this version that any user may start."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        probe = [*as_user(), path, "-c", PROBE]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return path
    return None


def as_user() -> list[str]:
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]


@pytest.mark.root
@pytest.mark.parametrize("suite", SUITES)
def test_an_ordinary_user_gets_the_same(suite, repo: Path, short_tmp: Path):
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
        "PYTHONPATH": f"{repo / 'src'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C",
        "ZENKEI_TEST_RUN": os.environ["ZENKEI_TEST_RUN"],
        RUN_DIR: str(short_tmp / "tmp"),
    }
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", " or ".join(CHOSEN.split())]
    done = subprocess.run(
        [*as_user(), python, *words, f"tests/system/test_supervisor_{suite}.py"],
        cwd=repo,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 2
