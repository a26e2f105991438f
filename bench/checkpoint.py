"""What a preemption costs beside the checkpoint itself, and what asking costs a program.

Real jobs under a real daemon. A rank takes SAVE_S to save; from the order to stop until the devices
are free (both as the store dates them) that time is the floor. `moved`: from there until the ranks
of the next attempt run, with the checkpoint stored, laid out and verified in between.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Row

SAVE_S = 0.5
RUNS = 5
SIZE = 64 << 20
PROGRAM = """
import os, sys, time
from zenkei.sdk import checkpoint
found = checkpoint.resume()
step = found.step + 1 if found else 1
while True:
    time.sleep(0.005)
    if checkpoint.requested():
        with checkpoint.file(step) as path, open(path, "wb") as file:
            file.write(os.urandom({size}))
            time.sleep({save_s})
"""
ASKING = """
import time
from zenkei.sdk import checkpoint
checkpoint.requested()
begin = time.perf_counter()
for _ in range(1_000_000):
    checkpoint.requested()
print(time.perf_counter() - begin)
"""


class Home:
    """A daemon with two virtual nodes."""

    def __init__(self, folder: Path) -> None:
        self._environ = {**os.environ, "ZENKEI_HOME": str(folder / "home"), "HOME": str(folder)}
        self._work = folder / "work"
        self._work.mkdir()
        self.zenkei("up", "--nodes", "2", "--cpus-per-node", "16", "--memory-per-node", "8GiB")

    def zenkei(self, *argv: str) -> str:
        command = [sys.executable, "-m", "zenkei.cli.entry", *argv]
        done = subprocess.run(
            command,
            cwd=self._work,
            env=self._environ,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def submit(self, *, size: int, nodes: int, ranks: int) -> str:
        text = PROGRAM.format(size=size, save_s=SAVE_S)
        (self._work / "train.py").write_text(text, "utf-8")
        resources = f"{{nodes: {nodes}, ranks: {ranks}}}"
        job = f"name: bench\ncommand: [python, train.py]\nresources: {resources}\n"
        (self._work / "job.yaml").write_text(job + "checkpoint: {signal: none}\n", "utf-8")
        return self.zenkei("submit").strip()

    def events(self, job: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.zenkei("events", "--json", job).splitlines()]

    def until_started(self, job: str, attempt: int) -> None:
        while True:
            begun = [e for e in self.events(job) if e["kind"] == "started"]
            if any(e["body"]["attempt"] == attempt for e in begun):
                return
            time.sleep(0.1)


def preemptions(home: Home, *, size: int, nodes: int, ranks: int) -> tuple[float, float]:
    """Median seconds from order to release beyond SAVE_S, and from release to the next start."""
    job = home.submit(size=size, nodes=nodes, ranks=ranks)
    for attempt in range(1, RUNS + 1):
        home.until_started(job, attempt)
        time.sleep(0.5)
        home.zenkei("preempt", job)
    home.until_started(job, RUNS + 1)
    home.zenkei("cancel", "--grace", "0", job)
    found: dict[tuple[str, int], int] = {}
    for event in home.events(job):
        if event["body"].get("attempt"):
            found.setdefault((event["kind"], event["body"]["attempt"]), event["at_us"])
    stops, moves = [], []
    for attempt in range(1, RUNS + 1):
        released = found["released", attempt]
        stops.append((released - found["stop_ordered", attempt]) / 1e6 - SAVE_S)
        moves.append((found["started", attempt + 1] - released) / 1e6)
    return statistics.median(stops), statistics.median(moves)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="zkb-") as folder:
        home = Home(Path(folder))
        try:
            one = preemptions(home, size=1 << 10, nodes=1, ranks=1)
            gang = preemptions(home, size=1 << 10, nodes=2, ranks=4)
            large = preemptions(home, size=SIZE, nodes=1, ranks=1)
        finally:
            home.zenkei("down", "--jobs", "--yes")
    source = Path(__file__).resolve().parents[1] / "src"
    asking = subprocess.run(
        [sys.executable, "-c", ASKING],
        env={**os.environ, "PYTHONPATH": str(source), "ZENKEI_CHECKPOINT_ASK": "/nonexistent/ask"},
        check=True,
        capture_output=True,
        text=True,
    )
    bar, mib = "at most 1 s", SIZE >> 20
    return [
        _row("preempted to devices free, 1 rank, beyond saving", one[0], "s", bar),
        _row("preempted to devices free, 8 ranks on 2 nodes", gang[0], "s", bar),
        _row(f"preempted to devices free, {mib} MiB", large[0], "s", bar, "writing included"),
        _row("devices free to next start, 1 rank", one[1], "s"),
        _row("devices free to next start, 8 ranks on 2 nodes", gang[1], "s"),
        _row(f"devices free to next start, {mib} MiB", large[1], "s", "", "stored, laid out"),
        _row("one call of checkpoint.requested()", float(asking.stdout), "µs"),
    ]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="checkpoint", what=what, value=value, unit=unit, bar=bar, note=note)
