"""`zenkei du`: what lies below the home, by kind and by job. Needs no daemon."""

from __future__ import annotations

import os
import shutil
from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client import places
from zenkei.client.failure import Failure

KINDS = {
    # name of the entry in the home: (kind, what it is)
    "attempts": ("attempts", "logs, metrics and working directories of attempts"),
    "blobs": ("content", "code, results and locks, each content once"),
    "code": ("code", "code laid out for jobs"),
    "datasets": ("datasets", "content of datasets, packed"),
    "data-cache": ("data cache", "datasets as the jobs of this machine read them"),
    "scans": ("datasets", ""),
    "envs": ("environments", "environments, and what builds reuse"),
    "backups": ("backups", "copies of the database"),
    "db.sqlite3": ("database", "jobs and events"),
    "db.sqlite3-wal": ("database", ""),
    "db.sqlite3-shm": ("database", ""),
}
OTHER = ("other", "the daemon's log, secrets, settings")
TOP = 10


def du(argv: list[str]) -> int:
    """Bytes on disk: a file that is linked twice counts once."""
    parser = Parser("du", "What zenkei keeps on this disk, by kind and by job.")
    parser.whole("--top", least=0, most=10**6, default=TOP, help=f"largest N jobs; default {TOP}")
    args = parser.parse_args(argv)
    found = measured(places.home(os.environ), args.top)
    if args.json:
        session.print_json(found)
        return 0
    rows = [[kind["kind"], render.size(kind["bytes"]), kind["about"]] for kind in found["kinds"]]
    print(render.table(("KIND", "SIZE", ""), rows, right={1}, cut=True))
    if found["jobs"]:
        jobs = [[job["job"], render.size(job["bytes"])] for job in found["jobs"]]
        print()
        print(render.table(("JOB", "SIZE"), jobs, right={1}))
    disk = f"{render.size(found['free_bytes'])} of {render.size(found['total_bytes'])} are free"
    print(f"\n{render.size(found['bytes'])} in {render.clean(found['home'])}; {disk}")
    return 0


def measured(home: str, top: int) -> dict[str, Any]:
    """Raises Failure if there is no home yet."""
    seen: set[tuple[int, int]] = set()
    about = {kind: text for kind, text in [*KINDS.values(), OTHER] if text}
    sums = dict.fromkeys(about, 0)
    jobs: dict[str, int] = {}
    try:
        entries = sorted(os.scandir(home), key=lambda entry: entry.name)
        disk = shutil.disk_usage(home)
    except FileNotFoundError:
        raise Failure(
            "no-home-yet",
            f"there is nothing at {home} yet",
            hint="`zenkei run` makes it",
            exit_code=4,
        ) from None
    for entry in entries:
        kind, _about = KINDS.get(entry.name, OTHER)
        if entry.name == "attempts" and entry.is_dir(follow_symlinks=False):
            for job in os.scandir(entry.path):
                size = size_of(job.path, seen)
                sums[kind] += size
                if job.name[:1].isdigit():
                    jobs[job.name] = size
        else:
            sums[kind] += size_of(entry.path, seen)
    largest = sorted(jobs.items(), key=lambda item: (-item[1], item[0]))[: max(0, top)]
    return {
        "home": home,
        "bytes": sum(sums.values()),
        "kinds": [{"kind": k, "bytes": s, "about": about[k]} for k, s in sums.items()],
        "jobs": [{"job": job, "bytes": size} for job, size in largest],
        "free_bytes": disk.free,
        "total_bytes": disk.total,
    }


def size_of(path: str, seen: set[tuple[int, int]]) -> int:
    """Bytes that a file or a tree occupies. No link is followed; what vanishes counts nothing.

    Nor does what is mounted there: a dataset that is shown lies in the cache once.
    """
    total, waiting, device = 0, [path], -1
    while waiting:
        place = waiting.pop()
        try:
            info = os.lstat(place)
            device = info.st_dev if device < 0 else device
            if info.st_dev != device:
                continue
            if info.st_nlink > 1 and (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
            if os.path.isdir(place) and not os.path.islink(place):
                waiting += [entry.path for entry in os.scandir(place)]
        except OSError:
            continue
    return total
