"""`zenkei prune`: forget old jobs with their logs and results, then what nothing needs any more."""

from __future__ import annotations

import re
import sys

from zenkei.api import limits
from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client.failure import Failure, usage

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SHOWN = 20


def prune(argv: list[str]) -> int:
    """Says what would go, asks, and does it."""
    parser = Parser("prune", "Forget old jobs, with their logs and results; free what they kept.")
    parser.add_argument(
        "--older-than", default="30d", metavar="TIME", help="since their end; default 30d"
    )
    parser.whole(
        "--keep",
        least=0,
        most=limits.JOBS_KEPT,
        default=0,
        help="keep the newest N jobs in any case",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    wish = {"older_than_s": seconds(args.older_than), "keep": args.keep}
    client = session.open()
    if args.dry_run or not args.yes:
        planned = client.post("/v1/prune", {**wish, "dry_run": True})
        if args.dry_run:
            return _planned(planned, as_json=args.json)
        if not _agreed(planned["jobs"]):
            raise Failure("not-confirmed", "nothing was removed", exit_code=1)
    answer = client.post("/v1/prune", {**wish, "dry_run": False})
    if args.json:
        session.print_json(answer)
        return 0
    freed = render.size(sum(answer["freed_bytes"].values()))
    print(f"{render.count(len(answer['jobs']), 'job')} forgotten, {freed} freed")
    return 0


def seconds(text: str) -> float:
    """`30d`, `12h`, `0`; a plain number is seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s?([smhdw]?)", text.strip())
    if match is None:
        raise usage(f"`{text[:60]}` is not a time", "write 30d, 12h, 90m or 45s")
    return float(match[1]) * UNITS[match[2] or "s"]


def _planned(planned: dict[str, object], *, as_json: bool) -> int:
    if as_json:
        session.print_json(planned)
    else:
        jobs = planned["jobs"]
        assert isinstance(jobs, list)
        print(f"{render.count(len(jobs), 'job')} would be forgotten{_named(jobs)}")
    return 0


def _agreed(jobs: list[str]) -> bool:
    if not sys.stdin.isatty():
        raise usage("prune asks, and there is no terminal to answer from", "--yes or --dry-run")
    what = render.count(len(jobs), "job with its logs and results", "jobs with logs and results")
    print(f"{what} will be forgotten{_named(jobs)}")
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


def _named(jobs: list[str]) -> str:
    if not jobs:
        return ""
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f": {', '.join(jobs[:SHOWN])}{more}"
