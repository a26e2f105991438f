"""Directories, depots and versions of datasets for tests, committed and exported in process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zenkei.data.versions import container, requests
from zenkei.data.versions.table import PIECE, Kind, VersionTable
from zenkei.model.data import Digest

Tree = Mapping[bytes, bytes | tuple[str, bytes] | None]
"""Contents by path; None: an empty directory; ("link", target)."""


def nothing(what: str, done: int, total: int | None, size: int) -> None:
    """Who does not want to know how far it is."""


def write_tree(root: Path, tree: Tree) -> Path:
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    for name, content in tree.items():
        path = top + b"/" + name
        if content is None:
            os.makedirs(path)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, tuple):
            os.symlink(content[1], path)
            continue
        with open(path, "xb") as file:
            file.write(content)
        os.chmod(path, 0o755 if content.startswith(b"#!") else 0o644)
    return root


def read_tree(root: Path) -> dict[bytes, bytes | tuple[str, bytes] | None]:
    """The reverse of `write_tree`; an executable file must begin like one, and only that."""
    top = os.fsencode(root)
    found: dict[bytes, bytes | tuple[str, bytes] | None] = {}
    for folder, directories, files in os.walk(top):
        for name in [*files, *directories]:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                assert os.stat(path).st_mode & 0o777 == (
                    0o755 if content.startswith(b"#!") else 0o644
                )
                found[key] = content
            elif not os.listdir(path):
                found[key] = None
    return found


def age(root: Path, seconds: float = 3600) -> None:
    """Nothing below was written lately, as far as its own times tell (ctime stays)."""
    then = time.time() - seconds
    for folder, _, files in os.walk(os.fsencode(root)):
        for name in files:
            os.utime(os.path.join(folder, name), (then, then), follow_symlinks=False)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A depot, and a directory whose versions it has."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def depot(self) -> str:
        return f"file:{self.folder / 'depot'}"

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        return requests.answer({"do": do, "depot": self.depot, **more}, nothing)

    def commit(self, tree: Tree | None = None, **more: Any) -> dict[str, Any]:
        if tree is not None:
            write_tree(self.source, tree)
        usual = {"source": str(self.source), "state": str(self.folder / "state"), "jobs": 2}
        return self.ask("commit", **{**usual, **more})

    def export(self, digest: str, to: str = "out", **more: Any) -> Path:
        self.ask("export", digest=digest, to=str(self.folder / to), jobs=2, **more)
        return self.folder / to

    def packs(self) -> list[Path]:
        return sorted((self.folder / "depot" / "packs").iterdir())

    def faults(self, digest: str, *, deep: bool = True) -> list[dict[str, Any]]:
        return list(self.ask("verify", digests=[digest], deep=deep)["damaged"])


def in_process(request: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    """`python -m zenkei.data.versions` with the request; the caller waits for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zenkei.data.versions"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what it said line by line, stderr."""
    out, err = process.communicate(timeout=100)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def table_of(tree: Tree) -> VersionTable:
    """As a commit makes it, in memory: one pack, a place for each file; digests are not real."""
    folders = {b""}
    for path, content in tree.items():
        parts = path.split(b"/") if content is None else path.split(b"/")[:-1]
        folders |= {b"/".join(parts[: at + 1]) for at in range(len(parts))}
    directories = tuple(sorted(folders))
    index = {path: at for at, path in enumerate(directories)}
    rows = sorted(tree, key=lambda path: path.rpartition(b"/")[::2])
    names = [path.rpartition(b"/")[2] for path in rows]
    files = [row for row, path in enumerate(rows) if isinstance(tree[path], bytes)]
    sizes = np.zeros(len(rows), np.uint64)
    digests = np.zeros((len(rows), 32), np.uint8)
    kinds = np.full(len(rows), Kind.LINK, np.uint8)
    modes = np.full(len(rows), 0o777, np.uint16)
    pieces, offset, targets = [], 0, {}
    for row, path in enumerate(rows):
        content = tree[path]
        if content is None:
            kinds[row], modes[row] = Kind.DIRECTORY, 0o755
        elif isinstance(content, tuple):
            targets[row] = content[1]
        else:
            kinds[row], modes[row], sizes[row] = Kind.FILE, 0o644, len(content)
            if content.startswith(b"#!"):
                modes[row] = 0o755
            digests[row] = row % 251 + 1
            if content:
                pieces.append((row, 0, offset, len(content)))
                offset += -(-len(content) // 512) * 512
    assert len(files) == int((kinds == Kind.FILE).sum())
    starts = np.concatenate([[0], np.cumsum([len(name) for name in names])]).astype(np.uint64)
    table = VersionTable(
        digest=Digest(""),
        directories=directories,
        parents=np.array([index[path.rpartition(b"/")[0]] for path in rows], np.uint32),
        name_data=b"".join(names),
        name_starts=starts,
        kinds=kinds,
        modes=modes,
        sizes=sizes,
        digests=digests,
        targets=targets,
        packs=("ab" * 32,) if pieces else (),
        pack_sizes=np.array([offset] if pieces else [], np.uint64),
        pieces=np.array(pieces, PIECE),
    )
    return container.sealed(table)
