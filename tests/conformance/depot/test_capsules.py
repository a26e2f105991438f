"""Datasets leave any store with a capsule and come into any other, as the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.capsule_maker import FILES, ORIGIN, Installation, pin
from tests.dataset_trees import read_tree, write_tree


def done(module: str, order: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: clients of a bucket do not survive a fork."""
    process = subprocess.run(
        [sys.executable, "-P", "-m", f"zenkei.data.{module}"],
        input=json.dumps(order).encode() + b"\n",
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])["ok"]
    return found


def move(here: Installation, there: Installation, folder: Path) -> None:
    """`files` of the folder become a dataset, go through a capsule, are exported to `out`."""
    files = write_tree(folder / "files", FILES)
    order: dict[str, Any] = {"do": "commit", "depot": here.request["depot"], "source": str(files)}
    found = done("versions", order)
    capsule = folder / "capsule.zip"
    order = {"do": "write", **here.request, "to": str(capsule), "job": here.job()}
    written = done("capsules", {**order, "data": [pin(found["digest"], found)]})
    order = {"do": "take", **there.request, "path": str(capsule), "origin": ORIGIN}
    done("capsules", {**order, "capsule": written["capsule"]})
    order = {"do": "export", "depot": there.request["depot"], "to": str(folder / "out")}
    done("versions", {**order, "digest": found["digest"]})


def test_a_dataset_goes_from_here_to_a_directory(location: str, tmp_path: Path) -> None:
    here, there = Installation(tmp_path / "here", location), Installation(tmp_path / "there")
    move(here, there, tmp_path)
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "files")


def test_a_dataset_comes_from_a_directory_to_here(location: str, tmp_path: Path) -> None:
    here, there = Installation(tmp_path / "here"), Installation(tmp_path / "there", location)
    move(here, there, tmp_path)
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "files")
