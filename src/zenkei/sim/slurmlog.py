"""Jobs from Slurm's accounting, as `sacct --allocations --parsable2` prints them.

Called by `running`. The columns that count: JobID, User, Account, Partition, Submit, Start, End,
Elapsed, State, ReqTRES, AllocTRES, NNodes, Timelimit; Submit and Elapsed (or Start and End) are
needed. Steps (`42.batch`) and jobs that never ran are left out. Parts are equal shares of what the
whole job was given. What cannot be read raises InvalidInput with its place. Cost: 20 µs a job.
"""

from __future__ import annotations

import gzip
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zenkei.model.errors import NotFound
from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.sim.traces import MOST_GPUS, MOST_NODES, Row, TraceJob, rows_of

_ELAPSED: Final = re.compile(r"(?:(\d{1,6})-)?(\d{1,3}):(\d{2})(?::(\d{2}))?(?:\.\d+)?", re.ASCII)
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[cn]?", re.ASCII)
_UNITS: Final = {"": 20, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
"""Slurm's memory is in MB where no unit stands."""
_NOTHING: Final = frozenset({"", "Unknown", "None", "Partition_Limit", "UNLIMITED", "INVALID"})


def is_slurm_log(path: Path) -> bool:
    """Whether the first line is a header of sacct's. Files that cannot be read are not."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            first = file.readline(65_536)
    except (OSError, EOFError, zlib.error):
        return False
    return first.startswith(b"JobID") and b"|" in first


def read_slurm_log(path: Path, *, queue: str = "", limit: int = 0) -> tuple[TraceJob, ...]:
    """Jobs by submission, of one partition if `queue` names it; the first one comes at 0."""
    jobs = []
    for row in rows_of(path, needed=("JobID", "Submit"), delimiter="|"):
        job = _job(row)
        if job is not None and (not queue or job.queue == queue):
            jobs.append(job)
    if not jobs:
        where = f" in partition `{queue}`" if queue else ""
        raise NotFound(
            "nothing-to-simulate",
            f"no job of `{path}`{where} has run",
            hint="`sacct --allocations --parsable2` with Submit, Elapsed and AllocTRES",
        )
    jobs.sort(key=lambda job: job.submit_us)
    first_us = jobs[0].submit_us
    came = (job._replace(submit_us=job.submit_us - first_us) for job in jobs)
    return tuple(came)[: limit or None]


def _job(row: Row) -> TraceJob | None:
    name = row.text("JobID")
    if "." in name:
        return None
    duration_s = _duration_s(row)
    if not duration_s:
        return None
    nodes = max(1, row.whole("NNodes", 0, MOST_NODES, 1))
    column = "AllocTRES" if row.text("AllocTRES") else "ReqTRES"
    has = _resources(row, column)
    gpus, odd = divmod(has.get("gpu", 0), nodes)
    if gpus > MOST_GPUS:
        row.refuse(column, f"{gpus} GPUs on a node are more than {MOST_GPUS}")
    if odd:
        gpus += 1  # the last node of an uneven gang has fewer
    return TraceJob(
        name=name,
        user=row.text("User"),
        queue=row.text("Partition").split(",")[0] or "default",
        group=row.text("JobName"),
        submit_us=_instant_us(row, "Submit"),
        duration_us=round(duration_s * 1e6),
        nodes=nodes,
        gpu_count=gpus,
        gpu_milli=WHOLE_GPU_MILLI if gpus else 0,
        cpu_milli=1000 * has.get("cpu", 0) // nodes,
        memory_bytes=has.get("mem", 0) // nodes,
        kinds=tuple(kind for kind in (row.text("gpu_type"),) if kind and gpus),
        limit_us=round(_elapsed_s(row, "Timelimit") * 1e6),
        gpus=has.get("gpu", 0) if odd else 0,
    )


def _duration_s(row: Row) -> float:
    """How long it ran; 0: it never did, or still does."""
    if row.text("End") in _NOTHING and "End" in row.places:
        return 0.0
    if row.text("Elapsed"):
        return _elapsed_s(row, "Elapsed")
    if row.text("Start") in _NOTHING:
        return 0.0
    return max(0, _instant_us(row, "End") - _instant_us(row, "Start")) / 1e6


def _elapsed_s(row: Row, column: str) -> float:
    """`[D-]HH:MM:SS` or `MM:SS`; 0 for no limit."""
    text = row.text(column)
    if text in _NOTHING:
        return 0.0
    found = _ELAPSED.fullmatch(text)
    if found is None:
        row.refuse(
            column, f"{column} `{text[:40]}` is not such as 1-02:03:04", "as sacct prints it"
        )
    days, first, second, third = found.groups()
    parts = (int(first), int(second), int(third or 0))
    hours, minutes, seconds = parts if third is not None else (0, parts[0], parts[1])
    return 86_400.0 * int(days or 0) + 3600 * hours + 60 * minutes + seconds


def _instant_us(row: Row, column: str) -> int:
    text = row.text(column)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        why = f"{column} `{text[:40]}` is not such as 2026-01-31T12:00:00"
        row.refuse(column, why, "as sacct prints it")
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)


def _resources(row: Row, column: str) -> dict[str, int]:
    """cpu, mem in bytes, gpu: of the whole job. GPUs by model are counted where no sum stands."""
    found: dict[str, int] = {}
    models = 0
    for part in row.text(column).split(","):
        if not part:
            continue
        name, _, text = part.partition("=")
        amount = _AMOUNT.fullmatch(text)
        if name in ("cpu", "mem") or name.startswith("gres/gpu"):
            if amount is None:
                row.refuse(
                    column, f"`{part[:40]}` is no amount", "such as cpu=8,mem=64G,gres/gpu=4"
                )
            value = float(amount[1])
            if name == "mem":
                found["mem"] = round(value * (1 << _UNITS[amount[2]]))
            elif name == "cpu":
                found["cpu"] = round(value)
            elif name == "gres/gpu":
                found["gpu"] = round(value)
            elif name.startswith("gres/gpu:"):
                models += round(value)
    if "gpu" not in found and models:
        found["gpu"] = models
    return found
