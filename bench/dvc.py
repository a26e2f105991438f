"""DVC, the peer of the dataset benchmarks: installed once, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "dvc>=3.60"


class Dvc:
    """Its command. Silent: it asks and reports nothing over the network."""

    def __init__(self) -> None:
        self._place = Path(tempfile.gettempdir()) / f"zenkei-bench-{os.getuid()}" / "dvc"
        if not (self._place / "bin" / "dvc").exists():
            python = self._place / "bin" / "python"
            uv = Path(sys.executable).parent / "uv"
            _run(uv, "venv", "-q", self._place)
            _run(uv, "pip", "install", "-q", "--python", python, VERSION)

    def __call__(self, folder: Path, *words: str) -> None:
        environ = os.environ | {
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        }
        _run(self._place / "bin" / "dvc", *words, cwd=folder, env=environ)


def _run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=cwd, env=env)
