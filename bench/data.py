"""The content store, code trees and results, each next to what the same machine does without them.

Floors: `find -printf` for a warm snapshot (it looks at every file once), `git add` for a cold one,
`cp -r` for a checkout, `cp` and fsync for sealing, a file and an fsync each for small contents.
Several gigabytes of the temporary directory's disk are used and given back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

from bench.report import Row, median_s
from zenkei.data import stat_cache
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.scan import Limits
from zenkei.data.tree import DirectoryTrees
from zenkei.model.job import CodeRequest

FILE_BYTES = 2_000
RESULT_BYTES = 1 << 30
EVERYTHING = CodeRequest()


def rows() -> list[Row]:
    with _folder() as folder:
        return [
            *_trees(folder, 1_000, runs=5, bars=("", "≤ 30 ms")),
            *_trees(folder, 100_000, runs=1, bars=("", "")),
            *_small_contents(folder),
            *_result(folder),
        ]


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="zenkei-bench-"))
    racy_ns = stat_cache.RACY_NS
    stat_cache.RACY_NS = -(10**15)  # type: ignore[misc]  # as if the files had been there for longer than two seconds
    try:
        yield folder
    finally:
        stat_cache.RACY_NS = racy_ns  # type: ignore[misc]
        shutil.rmtree(folder)


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="data", what=what, value=value, unit=unit, bar=bar, note=note)


def _write_files(root: Path, files: int) -> None:
    rng = Random(1)
    for number in range(files):
        folder = root / f"d{number // 10_000}" / f"e{number // 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number}.py").write_bytes(rng.randbytes(FILE_BYTES))


def _shell(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _trees(folder: Path, files: int, *, runs: int, bars: tuple[str, str]) -> list[Row]:
    home, work = folder / f"home{files}", folder / f"work{files}"
    _write_files(work, files)
    os.sync()
    number = count()

    def fresh() -> DirectoryTrees:
        place = home / str(next(number))
        limits = Limits(files=10**7, size_bytes=1 << 40)
        return DirectoryTrees(DirectoryBlobs(place / "blobs"), state=place, limits=limits)

    trees = fresh()
    tree = trees.snapshot(work, EVERYTHING).tree

    def again() -> None:  # a daemon that has just started
        same = DirectoryTrees(DirectoryBlobs(home / "0/blobs"), state=home / "0")
        assert same.snapshot(work, EVERYTHING).tree == tree

    def git_add() -> None:
        place = folder / f"git{files}-{next(number)}"
        _shell("git", "init", "-q", "--bare", place)
        _shell("git", "-C", work, f"--git-dir={place}", f"--work-tree={work}", "add", "-A")

    def measured(call: Callable[[], object], warmup: int = 0) -> float:
        return median_s(call, runs=runs, warmup=warmup) * 1e3

    warm = measured(lambda: trees.snapshot(work, EVERYTHING), warmup=1)
    name = f"{files:,} files"
    listing = measured(lambda: _shell("find", work, "-printf", "%s %T@ %C@ %i\\n"))
    made = iter(lambda: home / f"out{next(number)}", None)
    cold = measured(lambda: fresh().snapshot(work, EVERYTHING))
    git = measured(git_add)
    checkout = measured(lambda: trees.checkout(tree, next(made)))
    again_ms = measured(lambda: trees.checkout(tree, home / "kept"), warmup=1)
    copy = measured(lambda: _shell("cp", "-r", work, next(made)))
    return [
        _row(f"snapshot, {name}, first", cold, "ms", bars[0], f"git add {git:,.0f} ms"),
        _row(f"snapshot, {name}, unchanged", warm, "ms", bars[1], f"find {listing:,.0f} ms"),
        _row(f"snapshot, {name}, unchanged, new process", measured(again), "ms"),
        _row(f"checkout, {name}", checkout, "ms", "", f"cp -r {copy:,.0f} ms"),
        _row(f"checkout, {name}, already there", again_ms, "ms"),
    ]


def _small_contents(folder: Path) -> list[Row]:
    contents = [b"%d" % n + Random(n).randbytes(1_000) for n in range(10_000)]
    blobs = DirectoryBlobs(folder / "small")
    start = time.perf_counter()
    blobs.put_many(contents)
    together = len(contents) / (time.perf_counter() - start)
    start = time.perf_counter()
    for content in contents[:500]:
        blobs.put(content + b"alone")
    alone = 500 / (time.perf_counter() - start)
    start = time.perf_counter()
    for number in range(500):
        with (folder / f"file{number}").open("wb") as file:
            file.write(contents[number])
            file.flush()
            os.fsync(file.fileno())
    floor = 500 / (time.perf_counter() - start)
    note = f"a file and an fsync each {floor:,.0f}/s"
    return [
        _row("put of 10,000 small contents together", together, "contents/s", "", note),
        _row("put of small contents one by one", alone, "contents/s", "", note),
    ]


def _result(folder: Path) -> list[Row]:
    outputs = folder / "outputs"
    outputs.mkdir()
    rng = Random(1)
    with (outputs / "model").open("wb") as file:
        for _ in range(RESULT_BYTES >> 20):
            file.write(rng.randbytes(1 << 20))
    os.sync()
    trees = DirectoryTrees(DirectoryBlobs(folder / "results"), state=folder)
    seal = median_s(lambda: trees.seal((outputs,)), runs=1, warmup=0)
    copied = folder / "copied"

    def copy() -> None:
        _shell("cp", outputs / "model", copied)
        with copied.open("rb") as file:
            os.fsync(file.fileno())

    floor = median_s(copy, runs=1, warmup=0)
    return [_row("seal of 1 GiB", seal, "s", "", f"cp and fsync {floor:.2f} s")]
