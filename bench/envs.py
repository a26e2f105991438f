"""Environments: lock, build, ready; each next to what uv alone or a bare walk needs.

Needs a package index for numpy, scipy and scikit-learn, as this person's settings name it. Floors:
`find -printf` looks at every file once; uv alone makes the same environment with hard links,
without bytecode and without any check. About 1 GB of the temporary directory's disk is used and
given back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from bench.report import Row, median_s
from tests.unit.envs.world import make_wheel
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.envs.builder import UvBuilder
from zenkei.model.data import Digest
from zenkei.model.job import EnvRequest

WISH = EnvRequest(packages=("numpy", "scipy", "scikit-learn"))
UV = str(Path(sys.prefix) / "bin" / "uv")


def rows() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="zenkei-bench-"))
    try:
        return [*_large(folder / "large"), *_science(folder / "science")]
    finally:
        shutil.rmtree(folder)


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="envs", what=what, value=value, unit=unit, bar=bar, note=note)


def _quiet(_line: str) -> None:
    pass


def _builder(home: Path, **environ: str) -> UvBuilder:
    blobs = DirectoryBlobs(home / "blobs")
    return UvBuilder(root=home / "envs", blobs=blobs, environ={**os.environ, **environ})


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _large(home: Path) -> list[Row]:
    """An environment of 10,000 files: 4,990 modules with their bytecode."""
    home.mkdir()
    make_wheel(home / "index", "large", "1.0", modules=4_990)
    builder = _builder(home, UV_FIND_LINKS=str(home / "index"), UV_NO_INDEX="1")
    digest = builder.lock(EnvRequest(packages=("large",)), _quiet)
    tree = builder.realise(digest, _quiet)
    files = sum(len(names) for _, _, names in os.walk(tree))
    ready_s = median_s(lambda: builder.realise(digest, _quiet), runs=9)
    find = ["find", tree, "-printf", "%p %m %s %i %T@ %C@\n"]
    floor_s = median_s(lambda: subprocess.run(find, stdout=subprocess.DEVNULL, check=True), runs=9)
    note = f"{files} files; find: {floor_s * 1000:.0f} ms"
    known_s = median_s(lambda: builder.lock(EnvRequest(packages=("large",)), _quiet), runs=9)
    together_s = _seconds(lambda: _twenty(builder, digest))
    return [
        _row("ready environment of 10,000 files", ready_s * 1000, "ms", "≤ 50 ms", note),
        _row("known lock", known_s * 1000, "ms", "≤ 5 ms"),
        _row("20 ask at once for it, ready", together_s * 1000, "ms", "", "all 20"),
    ]


def _twenty(builder: UvBuilder, digest: Digest) -> None:
    threads = [Thread(target=builder.realise, args=(digest, _quiet)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _science(home: Path) -> list[Row]:
    home.mkdir()
    builder = _builder(home)
    cold_lock_s = _seconds(lambda: builder.lock(WISH, _quiet))
    warm_lock_s = _seconds(lambda: builder.lock(WISH, _quiet, upgrade=True))
    digest = builder.lock(WISH, _quiet)
    cold_s = _seconds(lambda: builder.realise(digest, _quiet))
    builder.gc(set(), older_than_s=0)
    warm_s = _seconds(lambda: builder.realise(digest, _quiet))
    ready_s = median_s(lambda: builder.realise(digest, _quiet), runs=9)
    builder.gc(set(), older_than_s=0)
    together_s = _seconds(lambda: _twenty(builder, digest))
    trees, cache = builder.occupied()
    alone_s = _uv_alone(home)  # last: it changes the cache, which zenkei would notice
    return [
        _row("lock scikit-learn, cold", cold_lock_s, "s"),
        _row("lock scikit-learn again, index asked", warm_lock_s, "s"),
        _row("build scikit-learn, cold", cold_s, "s", "", "download, copy, bytecode, check"),
        _row("build scikit-learn, packages cached", warm_s, "s", "", f"uv alone {alone_s:.2f} s"),
        _row("20 ask at once for it, nothing built", together_s, "s", "", "one build"),
        _row("ready scikit-learn environment", ready_s * 1000, "ms", "≤ 50 ms"),
        _row("disk of the environment", trees / 1e6, "MB", "", f"cache {cache / 1e6:.0f} MB"),
    ]


def _uv_alone(home: Path) -> float:
    """The same lock, the same cache, as a person would do it."""
    lock = home / "lock.txt"
    lock.write_bytes(next((home / "envs" / "locks").iterdir()).read_bytes())
    cache, tree = home / "envs" / "cache" / "uv", home / "alone"
    common = ["--quiet", "--cache-dir", str(cache)]
    base = os.path.realpath(sys.executable)

    def make() -> None:
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run([UV, "venv", *common, "--python", base, str(tree)], check=True)
        python = str(tree / "bin" / "python")
        sync = [UV, "pip", "sync", *common, "--require-hashes", "--python", python, str(lock)]
        subprocess.run(sync, check=True)

    seconds = _seconds(make)
    shutil.rmtree(tree)
    return seconds
