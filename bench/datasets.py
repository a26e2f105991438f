"""Versions of datasets: commit, the next one, diff, verify, export, each beside floor and DVC.

Floors in the same run, on the same disk and in the same state of the page cache: `tar -cf` and
`cp -r` for what is written, `find -printf` for what is only looked at, `cp` for large files. Each
of ours is a process of its own from start to end; its memory is the sum over its processes, shared
pages counted once (PSS), at its highest. `python -m bench.datasets --files 1000000 --large 16` for
other sizes (GiB), `--no-dvc` without the peer, which needs a package index once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.dvc import Dvc
from bench.report import Row, show

FILE_BYTES = 4_096
FOLDER_FILES = 1_000
LARGE_FILE_BYTES = 1 << 30
SETTLED_S = 2.1
"""After that a file's times are believed."""


def rows(files: int = 10_000, large_gib: float = 0.5, *, with_dvc: bool = True) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="zenkei-bench-"))
    try:
        return [
            *_small(folder / "small", files, Dvc() if with_dvc else None),
            *(_large(folder / "large", large_gib) if large_gib else []),
        ]
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, kw_only=True)
class _Ran:
    seconds: float
    memory_bytes: int
    said: dict[str, Any]


def _ask(folder: Path, do: str, **more: Any) -> _Ran:
    """One request in a process of its own."""
    asked = {"do": do, "depot": f"file:{folder / 'depot'}", **more}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "zenkei.data.versions"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = [0]
    watching = threading.Thread(target=_watch, args=(process.pid, peak))
    watching.start()
    out, _ = process.communicate(json.dumps(asked) + "\n")
    seconds = time.perf_counter() - start
    watching.join()
    last = json.loads(out.splitlines()[-1])
    return _Ran(seconds=seconds, memory_bytes=peak[0], said=last["ok"])


def _watch(pid: int, peak: list[int]) -> None:
    """The highest sum that was seen; looking costs it a little."""
    while True:
        try:
            top = psutil.Process(pid)
            together = [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        total = 0
        for process in together:
            try:
                total += process.memory_full_info().pss
            except (psutil.Error, OSError):
                continue
        if not total:
            return
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="datasets", what=what, value=value, unit=unit, bar=bar, note=note)


def _beside(seconds: float, **others: float) -> str:
    """Their seconds, and how often ours goes into them."""
    return ", ".join(
        f"{name.replace('_', ' ')} {other:.2f} s ({other / seconds:.2g} ×)"
        for name, other in others.items()
        if other
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _shell(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _write_files(root: Path, files: int) -> None:
    dice = random.Random(1)
    for number in range(files):
        folder = root / f"part{number // 50_000}" / f"shard{number // FOLDER_FILES}"
        if number % FOLDER_FILES == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:08}.bin").write_bytes(dice.randbytes(FILE_BYTES))
    os.sync()


def _change(root: Path, files: int) -> None:
    """One in a hundred."""
    dice = random.Random(2)
    for number in range(0, files, 100):
        folder = root / f"part{number // 50_000}" / f"shard{number // FOLDER_FILES}"
        (folder / f"{number:08}.bin").write_bytes(dice.randbytes(FILE_BYTES))
    os.sync()


def _small(folder: Path, files: int, dvc: Dvc | None) -> list[Row]:
    data, name = folder / "data", f"{files:,} files"
    _write_files(data, files)
    if dvc:
        dvc(folder, "init", "-q", "--no-scm")
    time.sleep(SETTLED_S)
    commit = {"source": str(data), "state": str(folder / "state")}
    tar = _seconds(lambda: _shell("tar", "-cf", folder / "tar", "-C", data, "."))
    first = _ask(folder, "commit", **commit)
    added = _seconds(lambda: dvc and dvc(folder, "add", "-q", "data"))
    _change(data, files)
    time.sleep(SETTLED_S)
    find = _seconds(lambda: _shell("find", data, "-printf", "%T@ %s %p\\n"))
    second = _ask(folder, "commit", **commit)
    added_again = _seconds(lambda: dvc and dvc(folder, "add", "-q", "data"))
    digests = [first.said["digest"], second.said["digest"]]
    diff = _ask(folder, "diff", a=digests[0], b=digests[1])
    assert diff.said["changed"]["count"] == -(-files // 100)
    verified = _ask(folder, "verify", digests=digests, deep=True)
    assert verified.said["damaged"] == []
    copy = _seconds(lambda: _shell("cp", "-r", data, folder / "copy"))
    shutil.rmtree(folder / "copy")
    export = _ask(folder, "export", digest=digests[1], to=str(folder / "out"))
    shutil.rmtree(data)
    checkout = _seconds(lambda: dvc and dvc(folder, "checkout", "-q"))
    peak = max(ran.memory_bytes for ran in (first, second, diff))
    took = first.seconds
    return [
        _row(
            f"commit, {name}, first", took, "s", "≥ 20 × dvc at 100,000, ≤ 2 × tar at 1,000,000",
            _beside(took, tar=tar, dvc_add=added),
        ),
        _row(
            f"commit, {name}, 1 % changed", second.seconds, "s", "≤ 5 × find",
            _beside(second.seconds, find=find, dvc_add=added_again),
        ),
        _row(f"diff, {name}, 1 % changed", diff.seconds, "s", "< 2 s at 1,000,000"),
        _row(f"verify of both, every byte, {name}", verified.seconds, "s"),
        _row(
            f"export, {name}", export.seconds, "s", "",
            _beside(export.seconds, cp=copy, dvc_checkout=checkout),
        ),
        _row(f"memory, {name}", peak / (1 << 20), "MiB", "< 500 MB at 1,000,000"),
    ]  # fmt: skip


def _large(folder: Path, gib: float) -> list[Row]:
    data = folder / "data"
    data.mkdir(parents=True)
    dice = random.Random(3)
    size = int(gib * (1 << 30))
    for number, start in enumerate(range(0, size, LARGE_FILE_BYTES)):
        with (data / str(number)).open("wb") as file:
            for _ in range(min(LARGE_FILE_BYTES, size - start) >> 20):
                file.write(dice.randbytes(1 << 20))
    os.sync()

    def copied() -> None:
        _shell("cp", "-r", data, folder / "copy")
        _shell("sync", "-f", folder / "copy")

    copy = _seconds(copied)
    shutil.rmtree(folder / "copy")
    ran = _ask(folder, "commit", source=str(data))
    out = _ask(folder, "export", digest=ran.said["digest"], to=str(folder / "out"))
    name = f"{gib:g} GiB in large files"
    return [
        _row(
            f"{what}, {name}", size / done.seconds / 1e6, "MB/s", "≥ 80 % of cp",
            f"cp and sync {size / copy / 1e6:,.0f} MB/s, memory {done.memory_bytes >> 20} MiB",
        )
        for what, done in (("commit", ran), ("export", out))
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.datasets")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--large", type=float, default=0.5, metavar="GIB")
    parser.add_argument("--no-dvc", action="store_true")
    given = parser.parse_args()
    print(show(rows(given.files, given.large, with_dvc=not given.no_dvc)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
