"""The files that the architecture tests look at: tracked ones, and new ones not ignored."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
SRC = REPO / "src" / "zenkei"


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file of the repository, also the ones not yet committed; ignored ones are not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
    ).stdout
    paths = [REPO / name.decode() for name in listed.split(b"\0") if name]
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def python_files(*folders: str) -> list[Path]:
    """Python files below `folders` (relative to the repository)."""
    roots = [REPO / folder for folder in folders]
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    ]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def short(path: Path) -> str:
    return str(path.relative_to(REPO))
