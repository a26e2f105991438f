"""Jobs per second as real processes: command line, daemon, store, agent, `/bin/true`, result.

One array of no-op jobs on one virtual node with 16 CPUs, from `zenkei run` to its end. Floor: how
many `/bin/true` this machine starts and reaps one after another.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Row

JOBS = 400
RUNS = 3
FLOOR = 200


def zenkei(home: Path, *argv: str) -> None:
    environ = {**os.environ, "ZENKEI_HOME": str(home / "home"), "HOME": str(home)}
    command = [sys.executable, "-m", "zenkei.cli.entry", *argv]
    subprocess.run(command, cwd=home / "work", env=environ, check=True, capture_output=True)


def floor_rate() -> float:
    start = time.perf_counter()
    for _ in range(FLOOR):
        subprocess.run(["/bin/true"], check=True)
    return FLOOR / (time.perf_counter() - start)


def array_rate(home: Path) -> float:
    start = time.perf_counter()
    zenkei(home, "run")
    return JOBS / (time.perf_counter() - start)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="zkb-") as folder:
        home = Path(folder)
        (home / "work").mkdir()
        job = f"version: 1\nname: noop\ncommand: [/bin/true]\narray: {JOBS}\n"
        (home / "work" / "job.yaml").write_text(job, "utf-8")
        zenkei(home, "up", "--nodes", "1", "--cpus-per-node", "16", "--memory-per-node", "8GiB")
        try:
            rates = [array_rate(home) for _ in range(RUNS)]
        finally:
            zenkei(home, "down", "--jobs", "--yes")
    return [
        Row(bench="processes", what="/bin/true, no zenkei", value=floor_rate(), unit="1/s"),
        Row(
            bench="processes",
            what=f"array of {JOBS} /bin/true",
            value=statistics.median(rates),
            unit="jobs/s",
            bar="≥ 100",
        ),
    ]
