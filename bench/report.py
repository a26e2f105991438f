"""Rows of figures, how they are timed, and how they are shown. Used by every benchmark here.

A figure is the median of several runs on a machine that others may use too; where a floor or a peer
can be measured it is measured in the same run, and the ratio is what counts.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """bar: what the figure must reach, in words; empty if there is none."""

    bench: str
    what: str
    value: float
    unit: str
    bar: str = ""
    note: str = ""


def median_s(call: Callable[[], object], runs: int = 5, warmup: int = 1) -> float:
    """Median wall seconds of `call`."""
    for _ in range(warmup):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> dict[str, object]:
    """Where the figures were measured."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": model or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "load": os.getloadavg()[0],
    }


def show(rows: list[Row]) -> str:
    """A table for people."""
    head = ("bench", "what", "value", "unit", "bar", "note")
    cells = [head] + [(r.bench, r.what, f"{r.value:,.4g}", r.unit, r.bar, r.note) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            text.rjust(w) if i == 2 else text.ljust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def write(rows: list[Row], path: Path) -> None:
    """The same as JSON, with the machine."""
    document = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
