"""Tests once more as an ordinary user: no mounts, no writable control group, no capability.

Called by root's tests, which start pytest on other files under a uid that is made for them by
setpriv (a number without a name); where the whole run is an ordinary user's, nothing is left to do.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process_guard import RUN_DIR, RUN_ID

UID = 50_000 + os.getpid() % 10_000
"""One for each process that runs tests: what one user leaves behind is told from another's."""
# starts itself once more: setpriv itself may still reach what its children may not
PROBE = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"


def as_user() -> list[str]:
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]


@functools.cache
def python_for_everybody() -> str | None:
    """An interpreter of this version that any user may start."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        probe = [*as_user(), path, "-c", PROBE]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return path
    return None


def pytest_as_user(
    repo: Path, folder: Path, words: list[str], *, least: int, timeout_s: float, **environ: str
) -> None:
    """Run pytest with `words` as the user; all must pass, and `least` of them must have run.

    folder: empty, the user's home and temporary files go there.
    """
    python = python_for_everybody()
    if python is None:
        pytest.skip("no interpreter of this version that another user may start")
    for name in ("tmp", "home"):
        (folder / name).mkdir()
        os.chown(folder / name, UID, UID)
    (folder / "tools").mkdir()
    # beside the interpreter of this run, which is not the user's
    (folder / "tools" / "uv").symlink_to(Path(sys.executable).parent / "uv")
    folder.chmod(0o755)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    env = {
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{folder / 'tools'}",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": f"{repo}:{repo / 'src'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C",
        RUN_ID: os.environ[RUN_ID],
        RUN_DIR: str(folder / "tmp"),
        **environ,
    }
    done = subprocess.run(
        [*as_user(), python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=repo,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.findall(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[0]) >= least, done.stdout
