"""Reads workload traces (`jobs*.csv[.gz]` of the shared format) for benchmarks that replay them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import IO, NamedTuple

from zenkei.predict.facts import Facts

FOLDER = Path("../shared/traces")


class TraceJob(NamedTuple):
    """gpus: of each of `parts`; a trace without GPUs counts CPUs instead."""

    facts: Facts
    submit_s: float
    duration_s: float
    parts: int
    gpus: int


def read(path: Path) -> list[TraceJob]:
    """Jobs by submission."""
    with _open(path) as file:
        jobs = [_job(row) for row in csv.DictReader(file)]
    return sorted(jobs, key=lambda job: job.submit_s)


def by_queue(jobs: list[TraceJob]) -> dict[str, list[TraceJob]]:
    queues: dict[str, list[TraceJob]] = {}
    for job in jobs:
        queues.setdefault(job.facts.queue, []).append(job)
    return queues


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open()


def _job(row: dict[str, str]) -> TraceJob:
    parts = int(row["nodes"])
    each = float(row["gpus_per_node"] or 0) or float(row["cpus"] or 0)
    total = float(row.get("num_replicas") or parts * each)
    facts = Facts(
        user=row["user"],
        queue=row["queue"],
        name=row["group"],
        gpus_milli=round(1000 * total),
        submitted_us=round(1e6 * float(row["submit_s"])),
    )
    return TraceJob(facts, float(row["submit_s"]), float(row["duration_s"]), parts, round(each))
