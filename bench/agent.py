"""What the agent costs beside the ranks: processor time of the supervisor, and blocked writers.

Real jobs under a real daemon. `steps`: 4 ranks that compute and print twice a second, as a training
does. `silent`: the same without a word, under a hang watch that is told to be quick: the dearest
case, every look reads all processes. `lines`: one rank that prints 10,000 lines a second and
measures how long each write takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Row
from zenkei.protocol import names, records

FOR_S = 25.0
RANKS = 4
BUSY = """
import sys, time
until, said = time.monotonic() + {for_s}, time.monotonic()
while time.monotonic() < until:
    sum(i * i for i in range(10_000))
    if {says} and time.monotonic() - said > 0.5:
        said = time.monotonic()
        print("step", flush=True)
"""
LINES = """
import json, os, time
begin, longest, sent = time.monotonic(), 0.0, 0
line = b"x" * 79 + b"\\n"
while (now := time.monotonic()) < begin + {for_s}:
    while sent < (now - begin) * 10_000:
        before = time.monotonic()
        os.write(1, line)
        longest = max(longest, time.monotonic() - before)
        sent += 1
    time.sleep(0.001)
with open(os.environ["ZENKEI_OUTPUT_DIR"] + "/told.json", "w") as file:
    json.dump({{"longest_s": longest, "lines": sent}}, file)
"""
QUICK = "hang: {quiet: 3s, startup: 10s, action: warn}\n"


def zenkei(home: Path, *argv: str) -> str:
    environ = {**os.environ, "ZENKEI_HOME": str(home / "home"), "HOME": str(home)}
    command = [sys.executable, "-m", "zenkei.cli.entry", *argv]
    done = subprocess.run(
        command, cwd=home / "work", env=environ, check=True, capture_output=True, text=True
    )
    return done.stdout


def cpu_s(pid: int) -> float:
    """Of a process with one thread; finer than the ticks of its stat."""
    return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[0]) / 1e9


def below_s(pid: int) -> float:
    """Of all children of a process, those that have ended included."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(cpu_s(int(child)) for child in children)


def measure(home: Path, number: int, program: str, ranks: int, more: str = "") -> tuple[float, ...]:
    """Processor seconds of the supervisor and of the ranks, and wall seconds."""
    (home / "work" / "train.py").write_text(program, "utf-8")
    job = f"name: bench\ncommand: [python, train.py]\nresources: {{ranks: {ranks}}}\n{more}"
    (home / "work" / "job.yaml").write_text(job, "utf-8")
    zenkei(home, "run", "-d")
    node = home / "home" / "attempts" / str(number) / "1" / "node-0"
    while not (found := records.read(str(node / names.SPOOL_FILE))):
        time.sleep(0.05)
    supervisor = int(found[0]["pid"])
    time.sleep(2.0)
    begin = (cpu_s(supervisor), below_s(supervisor), time.monotonic())
    time.sleep(FOR_S - 5.0)
    end = (cpu_s(supervisor), below_s(supervisor), time.monotonic())
    zenkei(home, "wait", str(number))
    return tuple(b - a for a, b in zip(begin, end, strict=True))


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="zkb-") as folder:
        home = Path(folder)
        (home / "work").mkdir()
        zenkei(home, "up", "--nodes", "1", "--cpus-per-node", "16", "--memory-per-node", "8GiB")
        try:
            steps = measure(home, 1, BUSY.format(for_s=FOR_S, says=True), RANKS)
            silent = measure(home, 2, BUSY.format(for_s=FOR_S, says=False), RANKS, QUICK)
            lines = measure(home, 3, LINES.format(for_s=FOR_S), 1)
            told = home / "home" / "attempts" / "3" / "1" / "node-0" / "outputs" / "told.json"
            said = json.loads(told.read_text("utf-8"))
        finally:
            zenkei(home, "down", "--jobs", "--yes")
    rate = said["lines"] / FOR_S
    bar = "at most 0.5 % of the ranks'"
    return [
        _share(f"{RANKS} ranks that print steps", steps, bar),
        _share(f"{RANKS} silent ranks, quick hang watch", silent, bar),
        Row(
            bench="agent",
            what=f"agent at {rate:.0f} lines/s",
            value=100 * lines[0] / lines[2],
            unit="% of a core",
            bar="at most 15 %",
        ),
        Row(
            bench="agent",
            what="longest write of a line",
            value=1000 * said["longest_s"],
            unit="ms",
            bar="never blocked",
            note="the machine's own pauses included",
        ),
    ]


def _share(what: str, seconds: tuple[float, ...], bar: str) -> Row:
    share = 100 * seconds[0] / seconds[1]
    note = f"{1000 * seconds[0]:.0f} ms in {seconds[2]:.0f} s"
    return Row(bench="agent", what=what, value=share, unit="% of their CPU", bar=bar, note=note)
