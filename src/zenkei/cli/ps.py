"""`zenkei ps`: the jobs that are not over, or all of them; members of an array are one line."""

from __future__ import annotations

from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import now_us, paint, span, table

ACTIVE = "held,preparing,pending,starting,running,stopping"
FIRST = ("running", "stopping", "starting", "pending", "preparing", "held", "failed", "cancelled")
MOST_REASON = 60
Row = dict[str, Any]


def ps(argv: list[str]) -> int:
    """Newest first. --json: rows as the API has them, members one by one."""
    parser = Parser("ps", "List jobs, newest first.")
    parser.add_argument("-a", "--all", action="store_true", help="also those that are over")
    parser.add_argument("-s", "--state", default="", help="only these states: running,failed,…")
    parser.add_argument("--name", default="", help="only jobs of this name")
    parser.add_argument("--project", default="", help="only jobs of this project")
    parser.whole(
        "-n", "--limit", least=1, most=limits.ROWS, default=0, help="most rows (default 100)"
    )
    parser.add_argument("--members", action="store_true", help="members of arrays one by one")
    args = parser.parse_args(argv)
    state = args.state or ("" if args.all else ACTIVE)
    # an array of 5,000 is one line: read further than the lines that are wanted
    reach = args.limit or (100 if args.members or args.json else 10_000)
    found = session.open().get(
        "/v1/jobs", state=state, name=args.name, project=args.project, limit=reach
    )
    if args.json:
        session.print_json(found)
        return 0
    lines = found["jobs"] if args.members else _grouped(found["jobs"])
    lines = lines[: args.limit or 100]
    if not lines:
        print("no jobs" if args.all or args.state else "no jobs (those that are over: ps --all)")
        return 0
    now = now_us()
    head = ("JOB", "NAME", "STATE", "SINCE", "WHY")
    print(table(head, [_line(row, now) for row in lines], right={3}))
    if found["next"]:
        print(paint("older ones: --limit", "2"))
    return 0


def _line(row: Row, now: int) -> tuple[str, ...]:
    members = row.get("members")
    name = f"{row['name']} ×{row['count']}" if members else row["name"]
    return (row["id"], name, row["state"], span(now - row["changed_us"]), _why(row))


def _why(row: Row) -> str:
    if row.get("members"):
        return ", ".join(f"{row['members'][s]} {s}" for s in sorted(row["members"], key=_rank))
    if row["state"] == "held":
        return "held by " + ", ".join(row["holds"])
    if row["exit"] is not None:
        if row["state"] == "succeeded":
            return ""
        never = row["attempt"] == 0 and row.get("message")
        return _short(row["message"].partition("\n")[0] if never else str(row["exit"]["text"]))
    text = row.get("reason") or ""
    if row["attempt"] > 1:
        text = f"attempt {row['attempt']}" + (f"; {text}" if text else "")
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= MOST_REASON else text[: MOST_REASON - 1] + "…"


def _rank(state: str) -> int:
    return FIRST.index(state) if state in FIRST else len(FIRST)


def _grouped(rows: list[Row]) -> list[Row]:
    """One line for each array, in the place of its newest member."""
    lines: dict[int, Row] = {}
    for row in rows:
        if row["member"] is None:
            lines[row["number"]] = row
            continue
        line = lines.setdefault(row["number"], row | {"id": str(row["number"]), "members": {}})
        line["members"][row["state"]] = line["members"].get(row["state"], 0) + 1
        line["changed_us"] = max(line["changed_us"], row["changed_us"])
    for line in lines.values():
        if line.get("members"):
            line["count"] = sum(line["members"].values())
            line["state"] = min(line["members"], key=_rank)
    return list(lines.values())
