"""Versions on a node: mounts, readers, copies and many askers, each beside what costs no zenkei.

Peers: the same files in a plain directory of the same disk, `cp -r`, `dvc checkout` (DVC from the
package index, `--no-dvc` leaves it out). `python -m bench.datasets_node --files 1000000` for other
sizes; `--cold` drops the machine's page cache, as root, which everybody on it feels.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.dvc import Dvc
from bench.report import Row, median_s, show
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.data.node import mounting
from zenkei.data.node.cache import Cache
from zenkei.data.node.image import write_image
from zenkei.data.node.layout import Layout
from zenkei.data.node.request import Request
from zenkei.data.node.service import Node
from zenkei.data.versions import commit

FILE_BYTES = 4_096
ASKERS = 64
NOT_HERE = float("nan")
LARGE_BYTES = 1 << 26
FORK = multiprocessing.get_context("fork")


def rows(
    files: int = 10_000, *, with_dvc: bool = True, cold: bool = False, runs: int = 5
) -> list[Row]:
    with _Setting.made(files) as setting:
        found = [*_mounts(setting), *_askers(setting), *_copies(setting, with_dvc=with_dvc)]
        answer = setting.ask("mount", holder="bench")
        if answer["kind"] == "erofs":
            found += _readers(setting, Path(answer["path"]), cold=cold, runs=runs)
        else:
            found.append(_row("readers of a mount", NOT_HERE, "", note=answer["why"]))
        setting.ask("release", holder="bench")
        return found


class _Setting:
    """A directory, a version of it in a depot, and a node's cache."""

    def __init__(self, folder: Path, files: int) -> None:
        self.folder, self.files = folder, files
        self.plain = folder / "plain"
        _write_files(self.plain, files)
        self.depot = DirectoryDepot(folder / "depot")
        committed = commit.commit(
            commit.Request(depot=self.depot.location, source=self.plain), lambda *_: None
        )
        self.digest = str(committed.digest)
        self.name = f"{files:,} files"

    @classmethod
    @contextmanager
    def made(cls, files: int) -> Iterator[_Setting]:
        folder = Path(tempfile.mkdtemp(prefix="zenkei-bench-"))
        try:
            yield cls(folder, files)
        finally:
            for path in folder.glob("*/mounts/*"):
                if mounting.is_mount(path):
                    mounting.unmount(path)
            shutil.rmtree(folder)

    def ask(self, do: str, cache: str = "cache", **more: Any) -> dict[str, Any]:
        request = Request(self.order(cache, **more))
        return dict(getattr(Node(request, lambda *_: None), do)(request))

    def order(self, cache: str = "cache", **more: Any) -> dict[str, Any]:
        given = {"cache": str(self.folder / cache), "depot": self.depot.location}
        return {**given, "digest": self.digest, **more}


def _write_files(root: Path, files: int) -> None:
    dice = random.Random(1)
    for number in range(files):
        folder = root / f"part{number // 50_000}" / f"shard{number // 1_000}"
        if number % 1_000 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:08}.bin").write_bytes(dice.randbytes(FILE_BYTES))
    with (root / "large.bin").open("wb") as large:
        for _ in range(LARGE_BYTES >> 20):
            large.write(dice.randbytes(1 << 20))


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="datasets_node", what=what, value=value, unit=unit, bar=bar, note=note)


def _mounts(setting: _Setting) -> list[Row]:
    """From the depot, then the image alone, then the kernel's call alone, then a whole process."""
    fetched_s = _seconds(lambda: setting.ask("prefetch"))
    layout = Layout(setting.folder / "cache")
    cache = Cache(layout, None)
    table = cache.table(setting.digest)
    scratch = setting.folder / "image"

    def image() -> None:
        scratch.unlink(missing_ok=True)
        write_image(table, scratch)

    image_ms = median_s(image) * 1e3
    found = [
        _row(f"fetch, verify and prepare, {setting.name}", fetched_s, "s"),
        _row(f"image, {setting.name}", image_ms, "ms", note=f"{scratch.stat().st_size:,} bytes"),
    ]
    at, packs = setting.folder / "at", cache.packs(cache.record(setting.digest))
    at.mkdir()
    times = []
    try:
        for _ in range(20):
            times.append(_seconds(lambda: mounting.mount_image(scratch, packs, at)))
            mounting.unmount(at)
    except mounting.NotMounted as refused:
        return [*found, _row("mount", NOT_HERE, "ms", "< 50 ms", str(refused))]
    note = f"{len(packs)} packs"
    found.append(_row("mount, the kernel", sorted(times)[10] * 1e3, "ms", "< 50 ms", note))
    asked = median_s(lambda: (setting.ask("mount", holder="a"), setting.ask("release", holder="a")))
    found.append(_row("mount and release, in process", asked * 1e3, "ms", "< 50 ms"))
    helper = median_s(lambda: _helper(setting.order(do="mount", holder="b")))
    setting.ask("release", holder="b")
    idle = median_s(lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True))
    note = f"starting Python with NumPy {idle * 1e3:,.0f} ms"
    found.append(_row("mount, a helper process", helper * 1e3, "ms", note=note))
    return found


def _helper(order: dict[str, Any]) -> None:
    subprocess.run(
        [sys.executable, "-m", "zenkei.data.node"],
        input=json.dumps(order).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _asker(setting: _Setting) -> None:
    layout = Layout(setting.folder / "cold")
    layout.make()
    Cache(layout, _Counting(setting.depot.root, setting.folder / "count")).fill(setting.digest)
    os._exit(0)


class _Counting(DirectoryDepot):
    """Each fetch, by whatever process, is a line."""

    def __init__(self, root: Path, log: Path) -> None:
        super().__init__(root)
        self._log = log

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        with self._log.open("a") as file:
            file.write(f"{name}\n")
        return super().fetch(name, to, said)


def _askers(setting: _Setting) -> list[Row]:
    def ask() -> None:
        askers = [FORK.Process(target=_asker, args=(setting,)) for _ in range(ASKERS)]
        for each in askers:
            each.start()
        for each in askers:
            each.join()
            assert each.exitcode == 0

    took_s = _seconds(ask)
    fetched = (setting.folder / "count").read_text().split()
    objects = len(set(fetched))
    note = f"{len(fetched)} fetches of {objects} objects"
    return [_row(f"{ASKERS} askers of a cold version", took_s, "s", "one fetch each", note)]


def _copies(setting: _Setting, *, with_dvc: bool) -> list[Row]:
    """What a job waits for where nothing can be mounted; its packs are on the node."""
    place = setting.folder / "out"
    times: dict[str, list[float]] = {"zenkei": [], "cp": [], "dvc": []}
    work = setting.folder / "work"
    if with_dvc:
        dvc = _dvc_cache(setting, work)
    for number in range(3):
        order: dict[str, Any] = {"holder": f"c{number}", "means": [], "copy_to": str(place)}
        times["zenkei"].append(_seconds(lambda: setting.ask("mount", **order)))  # noqa: B023
        setting.ask("release", holder=f"c{number}")
        shutil.rmtree(place)
        times["cp"].append(_seconds(lambda: _run("cp", "-r", setting.plain, place)))
        shutil.rmtree(place)
        if with_dvc:
            shutil.rmtree(work / "data")
            times["dvc"].append(_seconds(lambda: dvc(work, "checkout", "-q")))
    seconds = {name: sorted(each)[len(each) // 2] for name, each in times.items() if each}
    note = f"cp -r {seconds['cp']:,.2f} s"
    bar = ""
    if with_dvc:
        ratio = seconds["dvc"] / seconds["zenkei"]
        note += f", dvc checkout {seconds['dvc']:,.2f} s: {ratio:,.1f} times as long"
        bar = "20 times dvc"
    return [_row(f"private copy, {setting.name}", seconds["zenkei"], "s", bar, note)]


def _dvc_cache(setting: _Setting, work: Path) -> Dvc:
    dvc = Dvc()
    shutil.copytree(setting.plain, work / "data")
    dvc(work, "init", "--no-scm", "-q")
    dvc(work, "add", "-q", "data")
    return dvc


def _readers(setting: _Setting, mounted: Path, *, cold: bool, runs: int) -> list[Row]:
    """Both in turns, so that a busy machine is busy for both."""
    names = [
        str(path.relative_to(setting.plain))
        for path in sorted(setting.plain.rglob("*.bin"))
        if path.name != "large.bin"
    ]
    shuffled = random.Random(2).sample(names, len(names))
    cases: list[tuple[str, Callable[[Path], None], float, str]] = [
        ("small files in order", lambda at: _read_all(at, names), len(names), "files/s"),
        ("small files at random", lambda at: _read_all(at, shuffled), len(names), "files/s"),
        ("a large file in order", _read_large, LARGE_BYTES / 1e6, "MB/s"),
        ("a large file, 4 KiB at random", _read_pages, 20_000, "reads/s"),
    ]
    found = []
    for what, read, amount, unit in cases:
        for state in ("warm", "cold") if cold else ("warm",):
            times: dict[Path, list[float]] = {mounted: [], setting.plain: []}
            for number in range(runs + 1):
                for at in times if number % 2 else reversed(times):
                    if state == "cold":
                        _drop_caches()
                    times[at].append(_seconds(lambda: read(at)))  # noqa: B023 -- called at once
            ours, plain = (amount / sorted(each[1:])[runs // 2] for each in times.values())
            note = f"plain directory {plain:,.0f} {unit}: {ours / plain:.2f} of it"
            found.append(_row(f"{what}, {state}", ours, unit, "0.9 of plain", note))
    return found


def _read_all(top: Path, names: list[str]) -> None:
    folder = os.open(top, os.O_PATH)
    for name in names:
        descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.read(descriptor, FILE_BYTES + 1)
        os.close(descriptor)
    os.close(folder)


def _read_large(top: Path) -> None:
    buffer = bytearray(1 << 20)
    with (top / "large.bin").open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _read_pages(top: Path) -> None:
    dice = random.Random(3)
    descriptor = os.open(top / "large.bin", os.O_RDONLY)
    for _ in range(20_000):
        os.pread(descriptor, 4096, dice.randrange(LARGE_BYTES // 4096) * 4096)
    os.close(descriptor)


def _drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.datasets_node")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-dvc", action="store_true")
    parser.add_argument("--cold", action="store_true")
    given = parser.parse_args()
    print(show(rows(given.files, with_dvc=not given.no_dvc, cold=given.cold, runs=given.runs)))


if __name__ == "__main__":
    main()
