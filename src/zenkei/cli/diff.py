"""`zenkei diff A B`: what is not the same about two jobs, what explains most coming first."""

from __future__ import annotations

import sys
from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import clean, harmless, paint
from zenkei.cli.verify import WORDS, ask, tell_comparison
from zenkei.client.client import segment

Json = dict[str, Any]
MOST_CHANGES = 40


def diff(argv: list[str]) -> int:
    """Exit code 0, whatever differs."""
    parser = Parser("diff", "What is not the same about two jobs, most suspicious first.")
    parser.add_argument("jobs", nargs=2, metavar="JOB", help="42, or a member 42.7")
    args = parser.parse_args(argv)
    first, second = args.jobs
    path = f"/v1/jobs/{segment(first)}/differences"
    found = ask(session.open(), "GET", path, other=second)
    if args.json:
        session.print_json(found)
        return 0
    for section in found["sections"]:
        print(paint(section["subject"], "1"))
        if section["subject"] == "code":
            _code(found["code"])
        else:
            _changes(section["changes"])
    if not found["sections"]:
        print("nothing that was recorded differs")
    for subject, why in found["unknown"].items():
        print(f"zenkei: {subject} could not be compared: {clean(why)}", file=sys.stderr)
    if found["left"] is not None:
        print(paint(f"results: {WORDS[found['left']['verdict']]}", "1"))
        tell_comparison(found["left"])
    if found["same"]:
        print(f"the same: {', '.join(found['same'])}")
    return 0


def _changes(changes: list[Json]) -> None:
    for change in changes[:MOST_CHANGES]:
        if change["a"] and change["b"]:
            print(f"  {clean(change['name'])}: {clean(change['a'])} -> {clean(change['b'])}")
        else:
            side, value = ("-", change["a"]) if change["a"] else ("+", change["b"])
            print(f"  {side} {clean(change['name'])}: {clean(value)}")
    if len(changes) > MOST_CHANGES:
        print(f"  and {len(changes) - MOST_CHANGES} more: --json has them")


def _code(changes: list[Json]) -> None:
    """Diffs as they are, made harmless; what has none is named."""
    for change in changes:
        if change["diff"]:
            print(harmless(change["diff"]), end="" if change["diff"].endswith("\n") else "\n")
        else:
            print(f"  {change['change']} {clean(change['path'])} ({clean(change['why'])})")
