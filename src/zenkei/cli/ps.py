"""`zenkei ps`: the jobs that are not over, or all of them; members of an array are one line."""

from __future__ import annotations

from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import STATES, count, members, now_us, paint, span, table

ACTIVE = "held,preparing,pending,starting,running,stopping"
MOST_REASON = 60
MOST_LINES = 100
ENDS = ("failed", "cancelled", "succeeded")
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
    found = session.open().get(
        "/v1/jobs",
        state=state,
        name=args.name,
        project=args.project,
        limit=args.limit or MOST_LINES,
        lines=not (args.members or args.json),
    )
    if args.json:
        session.print_json(found)
        return 0
    lines = found["jobs"] if args.members else _grouped(found["jobs"], found["arrays"])
    if not lines:
        print("no jobs" if args.all or args.state else "no jobs (those that are over: ps --all)")
        return 0
    now = now_us()
    head = ("JOB", "NAME", "STATE", "SINCE", "WHY")
    print(table(head, [_line(row, now) for row in lines], right={3}, cut=True))
    if found["next"]:
        print(paint(f"the newest {count(len(lines), 'line')}; older ones: --limit N", "2"))
    return 0


def _line(row: Row, now: int) -> tuple[str, ...]:
    name = f"{row['name']} ×{row['count']}" if row.get("members") else row["name"]
    return (row["id"], name, row["state"], span(now - row["changed_us"]), _why(row))


def _why(row: Row) -> str:
    if row.get("members"):
        return members(row["members"])
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


def _grouped(rows: list[Row], arrays: dict[str, dict[str, int]]) -> list[Row]:
    """The newest member of an array becomes its line. arrays: states of all members."""
    lines: dict[int, Row] = {}
    for row in rows:
        if row["number"] not in lines:
            is_array = row["member"] is not None
            lines[row["number"]] = _array(row, arrays) if is_array else row
    return list(lines.values())


def _array(row: Row, arrays: dict[str, dict[str, int]]) -> Row:
    number = str(row["number"])
    states = arrays[number]
    many = sum(states.values())
    return row | {"id": number, "members": states, "count": many, "state": _state(states)}


def _state(states: dict[str, int]) -> str:
    """What the furthest unfinished member does, else the worst end."""
    return next(name for name in (*STATES, *ENDS) if states.get(name))
