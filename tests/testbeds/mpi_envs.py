"""Environments with one MPI and mpi4py, from wheels, for tests that start real ranks.

ZENKEI_TEST_MPI: a folder where they are already, made by root for a user who has no package cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.as_user import python_for_everybody
from zenkei.model.data import Digest

VARIABLE = "ZENKEI_TEST_MPI"
KINDS = ("openmpi", "mpich")


class OneEnvironment:
    """A builder that has built everything already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def realise(self, lock: Digest, progress: Any) -> str:
        return str(self.folder)


def mpi_environment(kind: str, parent: Path) -> Path:
    """The one handed down, or a new one in `parent`. Skips the test where there is none to get."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given) / kind
    folder = parent / kind
    python = os.path.realpath(sys.executable)
    if os.geteuid() == 0:
        python = python_for_everybody() or python
    uv = Path(sys.executable).parent / "uv"
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run([uv, "venv", "-q", "-p", python, folder], check=True, env=env)
    install = [str(uv), "pip", "install", "-q", "-p", str(folder / "bin" / "python")]
    done = subprocess.run(
        [*install, "--only-binary", ":all:", kind, "mpi4py"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"{kind} cannot be installed here: {done.stderr[-300:]}")
    return folder
