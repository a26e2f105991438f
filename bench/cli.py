"""The command line as a person feels it, next to the floor: `python -c "import argparse, json"`.

One warm daemon in a fresh home; every figure is the median of whole processes. `run` is timed to
the first line of its output. Also what the daemon costs while nobody asks: CPU in percent of a core
over IDLE_S seconds, and memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.report import Row, median_s

RUNS = 15
IDLE_S = 20.0
JOBS, LINES = 10_000, 50
FLOOR = [sys.executable, "-c", "import argparse, json"]
ZENKEI = [str(Path(sys.prefix) / "bin" / "zenkei")]


def rows() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="zenkei-bench-"))
    work = folder / "work"
    work.mkdir()
    os.environ["ZENKEI_HOME"] = str(folder / "home")
    try:
        return _measure(work)
    finally:
        _call([*ZENKEI, "down", "--jobs", "--yes"], work)
        del os.environ["ZENKEI_HOME"]
        shutil.rmtree(folder)


def _call(argv: list[str], work: Path) -> None:
    subprocess.run(argv, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _measure(work: Path) -> list[Row]:
    found = [_row("start of the daemon", _seconds(work, "ps"), "s")]
    for _ in range(10):
        _call([*ZENKEI, "submit", "--", "true"], work)
    _call([*ZENKEI, "wait", "10"], work)
    found.append(_row("floor: import argparse, json", _floor(work), "s"))
    for what, argv in {
        "version": ["version"],
        "ps, 10 jobs": ["ps", "--all"],
        "one TAB of completion": ["_complete", "show", ""],
    }.items():
        floor = _floor(work)
        seconds = median_s(lambda argv=argv: _call([*ZENKEI, *argv], work), RUNS)  # type: ignore[misc]
        found.append(_row(what, seconds / floor, "× floor", "≤ 5", f"{seconds:.3f} s"))
    floor = _floor(work)
    seconds = _first_line(work)
    found.append(_row("run echo, first line", seconds, "s", "≤ 0.15"))
    found.append(_row("run echo, first line", seconds / floor, "× floor", "≤ 6"))
    return [*found, *_idle(), *_many(work)]


def _many(work: Path) -> list[Row]:
    """A list with 10,000 jobs in the store: of a few arrays, as lines and one by one."""
    for _ in range(LINES):
        array = ["--array", str(JOBS // LINES)]
        _call([*ZENKEI, "submit", "--hold", *array, "--", "true"], work)
    lines = median_s(lambda: _call([*ZENKEI, "ps"], work), RUNS)
    rows = median_s(lambda: _call([*ZENKEI, "ps", "--members", "-n", str(JOBS)], work), RUNS)
    return [
        _row(f"ps, {JOBS} jobs", lines, "s", "≤ 0.3"),
        _row(f"ps of all members, {JOBS} jobs", rows, "s", "≤ 0.5"),
    ]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="cli", what=what, value=value, unit=unit, bar=bar, note=note)


def _seconds(work: Path, *argv: str) -> float:
    start = time.perf_counter()
    _call([*ZENKEI, *argv], work)
    return time.perf_counter() - start


def _floor(work: Path) -> float:
    return median_s(lambda: _call(FLOOR, work), RUNS)


def _first_line(work: Path) -> float:
    """Seconds from the start of the process to its first line of output."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        with subprocess.Popen(
            [*ZENKEI, "run", "--", "echo", "hi"],
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            times.append(time.perf_counter() - start)
            assert line == b"hi\n", line
    return statistics.median(times[1:])


def _idle() -> list[Row]:
    """The daemon while nobody asks."""
    import json

    lock = Path(os.environ["ZENKEI_HOME"]) / "state.lock"
    process = psutil.Process(int(json.loads(lock.read_text())["pid"]))
    time.sleep(1.0)
    before = process.cpu_times()
    time.sleep(IDLE_S)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    memory = process.memory_info().rss
    return [
        _row("idle daemon", 100 * used_s / IDLE_S, "% of a core", "< 1"),
        _row("idle daemon, memory", memory / (1 << 20), "MiB", "< 250"),
    ]
