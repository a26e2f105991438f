"""`zenkei metrics JOB`: the latest values that a job's program has reported, by rank."""

from __future__ import annotations

import sys
from typing import Any

from zenkei.api import limits
from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client.client import segment

HEAD = ("RANK", "NAME", "STEP", "LATEST", "LEAST", "MOST", "POINTS", "AT")
Json = dict[str, Any]


def metrics(argv: list[str]) -> int:
    """A table of latest values; --json has points for a chart too, if --points asks for them."""
    parser = Parser("metrics", "Latest values that a job has reported (zenkei.sdk.report).")
    parser.jobs(many=False)
    parser.add_argument("--name", default="", metavar="NAME", help="only this metric")
    parser.whole("--rank", least=0, most=limits.RANK, help="only this rank")
    parser.whole("--attempt", least=1, most=limits.ATTEMPT, default=0, help="default: the last")
    parser.whole(
        "--points",
        least=0,
        most=limits.POINTS,
        default=0,
        help="with --json: about N points of each",
    )
    args = parser.parse_args(argv)
    answer = session.open().get(
        f"/v1/jobs/{segment(args.job)}/metrics",
        name=args.name,
        rank=args.rank,
        attempt=args.attempt,
        points=args.points,
    )
    if args.json:
        session.print_json(answer)
        return 0
    rows = [_row(series) for series in answer["series"]]
    if rows:
        print(render.table(HEAD, rows, right={0, 2, 3, 4, 5, 6}))
    else:
        words = f"attempt {answer['attempt']} has reported nothing (yet)"
        print(f"zenkei: {words}", file=sys.stderr)
    return 0


def _row(series: Json) -> list[str]:
    last = series["last"]
    return [
        str(series["rank"]),
        series["name"],
        "-" if last["step"] is None else str(last["step"]),
        _number(last["value"]),
        _number(series["least"]),
        _number(series["most"]),
        str(series["count"]),
        render.clock(last["at_us"]),
    ]


def _number(value: float | str | None) -> str:
    """`nan` and `inf` travel as texts, since JSON has none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.6g}"
