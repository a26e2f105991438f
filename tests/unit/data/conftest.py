"""A store, its trees, and directories written from a dictionary."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees

Write = Callable[..., Path]


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "home" / "blobs")


@pytest.fixture
def trees(blobs: DirectoryBlobs) -> DirectoryTrees:
    return DirectoryTrees(blobs, state=blobs.root)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write({"a/b.py": "text", "link": Path("a"), "empty/": ""}, at="work") -> its directory."""

    def write_tree(files: dict[str, str | bytes | Path], at: str = "work") -> Path:
        root = tmp_path / at
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write_tree


def listing(root: Path) -> dict[str, object]:
    """What stands below `root`: mode and bytes of files, targets of links, empty directories."""
    found: dict[str, object] = {}
    for folder, names, files in os.walk(os.fsencode(root)):
        for name in files + [n for n in names if os.path.islink(os.path.join(folder, n))]:
            path = os.path.join(folder, name)
            key = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            else:
                with open(path, "rb") as file:
                    found[key] = (oct(os.stat(path).st_mode & 0o777), file.read())
        if not os.listdir(folder):
            found[os.fsdecode(os.path.relpath(folder, os.fsencode(root)))] = "empty"
    return found
