"""`zenkei cancel --queue Q` and the like: many jobs at once, after a count and a question.

Called by `cancel` if no job is named. What is cancelled is what the question named: jobs that were
submitted after it are left alone.
"""

from __future__ import annotations

import sys
from typing import Any

from zenkei.cli import session
from zenkei.cli.render import STATES, clean, count
from zenkei.client.failure import Failure, usage

SHOWN = 20
FILTERS = {
    # flag: help
    "user": "all jobs of this person",
    "queue": "all jobs of this queue",
    "project": "all jobs of this project",
    "name": "all jobs of this name",
    "state": "all jobs in these states: pending,running,…",
}
Json = dict[str, Any]


def cancel_many(args: Any) -> int:
    """Nothing that fits is no error: then nothing is left to cancel."""
    wish: Json = {name: value for name in FILTERS if (value := getattr(args, name))}
    if args.grace is not None:
        wish["grace_s"] = args.grace
    client = session.open()
    newest = 0
    if args.dry_run or not args.yes:
        planned = client.post("/v1/cancel", {**wish, "dry_run": True})
        if args.dry_run or not planned["jobs"]:
            return _show(planned, f"{_jobs(planned)} would be cancelled", as_json=args.json)
        _ask(planned)
        newest = int(planned["newest"])
    done = client.post("/v1/cancel", {**wish, "newest": newest})
    stopping = done["states"].get("stopping", 0)
    said = f"{_jobs(done)} cancelled"
    said += f", {count(stopping, 'of them is', 'of them are')} being stopped" if stopping else ""
    return _show(done, said, as_json=args.json)


def _show(answer: Json, said: str, *, as_json: bool) -> int:
    if as_json:
        session.print_json(answer)
        return 0
    print(said if answer["jobs"] else "no jobs that fit")
    if answer["others"]:
        print(f"{count(answer['others'], 'job')} of others left alone")
    return 0


def _ask(planned: Json) -> None:
    if not sys.stdin.isatty():
        hint = "--yes, or --dry-run to see which"
        raise usage("cancel asks, and there is no terminal to answer from", hint)
    states = [f"{n} {name}" for name in STATES if (n := planned["states"].get(name))]
    print(f"{_jobs(planned)} will be cancelled ({', '.join(states)}): {_named(planned['jobs'])}")
    if input("go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failure("not-confirmed", "nothing was cancelled", exit_code=1)


def _jobs(answer: Json) -> str:
    return count(len(answer["jobs"]), "job")


def _named(jobs: list[str]) -> str:
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return clean(", ".join(jobs[:SHOWN])) + more
