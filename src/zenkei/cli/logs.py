"""`zenkei logs`: what a job wrote; with -f as it writes it, across attempts.

Of an array, what its members wrote: one after the other, with -f merged as it is written.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.following import Follower, follow
from zenkei.cli.render import now_us
from zenkei.client.client import segment
from zenkei.client.failure import usage

_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(argv: list[str]) -> int:
    """Exit code 0, whatever the job's own is (`wait` tells that)."""
    parser = Parser("logs", "Output of a job, or of all members of an array.")
    parser.jobs(many=False)
    parser.add_argument("-f", "--follow", action="store_true", help="stay until the job is over")
    parser.whole(
        "-n", "--tail", least=0, most=limits.LINES, default=-1, help="last N lines (of each member)"
    )
    parser.add_argument("--since", default="", metavar="TIME", help="such as 10m, 2h, 1d")
    parser.add_argument("-r", "--rank", default="", metavar="N,…", help="only these ranks")
    parser.whole("--attempt", least=1, most=limits.ATTEMPT, default=0, help="only this attempt")
    parser.add_argument("--raw", action="store_true", help="exact bytes, no marks")
    args = parser.parse_args(argv)
    client = session.open()
    path = f"/v1/jobs/{segment(args.job)}/logs"
    query: dict[str, Any] = {
        "attempt": args.attempt,
        "rank": _ranks(args.rank),
        "since_us": _since_us(args.since),
        "tail": args.tail,
    }
    if args.raw:
        return _raw(client, path, query, args)
    follower = Follower(as_json=args.json, quiet=True)
    try:
        follow(client, follower, None, path, follow=args.follow, **query)
    except KeyboardInterrupt:
        return 0
    return 0


def _raw(client: session.Session, path: str, query: dict[str, Any], args: Any) -> int:
    if args.follow or args.json or args.tail >= 0:
        raise usage("--raw goes with --attempt, --rank and --since only")
    for piece in client.fetch(path, raw=True, **query):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def _ranks(text: str) -> str:
    if re.fullmatch(r"(\d{1,9}(,\d{1,9})*)?", text) is None:
        raise usage(f"--rank {text[:60]}: not numbers of ranks", "such as 0 or 0,3,4")
    return text


def _since_us(text: str) -> int:
    if not text:
        return 0
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise usage(f"--since {text}: not a time", "such as 90s, 10m, 2h, 1d")
    return max(0, now_us() - int(match[1]) * _SPAN_S[match[2]] * 1_000_000)
