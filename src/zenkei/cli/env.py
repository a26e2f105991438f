"""`zenkei env list|show|rm|gc|refresh`: environments on this machine, built from locks."""

from __future__ import annotations

from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.client import segment

HEAD = ("LOCK", "STATE", "PYTHON", "PACKAGES", "SIZE", "USED", "NEEDED")
SHORT = 12
Json = dict[str, Any]


def env(argv: list[str]) -> int:
    return act("env", ACTIONS["env"], argv)


def list_(argv: list[str]) -> int:
    args = Parser("env list", "Environments on this machine, last used first.").parse_args(argv)
    answer = session.open().get("/v1/environments")
    if args.json:
        session.print_json(answer)
        return 0
    rows = answer["environments"]
    if rows:
        print(render.table(HEAD, [_row(row) for row in rows], right={3, 4}))
    total = sum(row["size_bytes"] for row in rows)
    cache = render.size(answer["cache_bytes"])
    number = render.count(len(rows), "environment")
    print(f"{number}, {render.size(total)}; what builds reuse: {cache}")
    return 0


def show(argv: list[str]) -> int:
    parser = Parser("env show", "An environment: its packages, and whether it is unchanged.")
    _lock(parser)
    args = parser.parse_args(argv)
    answer = session.open().get(f"/v1/environments/{segment(args.lock)}")
    if args.json:
        session.print_json(answer)
        return 0
    for row in answer["environments"]:
        needed = "an unfinished job needs it" if row["in_use"] else "no unfinished job needs it"
        lines = [
            f"lock     {row['lock']}",
            f"state    {row['state']}; {needed}",
            f"python   {row['python']}",
            f"path     {row['path'] or '-'}",
            f"size     {render.size(row['size_bytes'])}",
            f"built    {render.clock(row['built_at_us'])}",
            f"used     {render.clock(row['used_at_us'])}",
            f"packages {len(row['packages'])}",
            *(f"  {package}" for package in row["packages"]),
        ]
        print("\n".join(map(render.clean, lines)))
    return 0


def remove(argv: list[str]) -> int:
    parser = Parser("env rm", "Remove an environment; a job that needs it builds it again.")
    _lock(parser)
    args = parser.parse_args(argv)
    answer = session.open().delete(f"/v1/environments/{segment(args.lock)}")
    if args.json:
        session.print_json(answer)
    else:
        print(f"{render.size(answer['freed_bytes'])} freed")
    return 0


def collect(argv: list[str]) -> int:
    parser = Parser("env gc", "Remove environments that no unfinished job needs.")
    parser.add_argument(
        "--cache", action="store_true", help="also what builds reuse; they download again"
    )
    args = parser.parse_args(argv)
    answer = session.open().post("/v1/environments/collect", {"cache": args.cache})
    if args.json:
        session.print_json(answer)
    else:
        print(f"{render.size(answer['freed_bytes'])} freed")
    return 0


def refresh(argv: list[str]) -> int:
    """Environments stay; only what a request resolves to is asked again."""
    parser = Parser("env refresh", "Resolve anew: later jobs get the newest allowed versions.")
    args = parser.parse_args(argv)
    answer = session.open().post("/v1/environments/refresh")
    if args.json:
        session.print_json(answer)
    else:
        print(f"{render.count(answer['forgotten'], 'answer')} of the resolver forgotten")
    return 0


def _lock(parser: Parser) -> None:
    parser.add_argument("lock", metavar="LOCK", help="digest of the lock; its first digits will do")


def _row(row: Json) -> list[str]:
    return [
        row["lock"].removeprefix("b3:")[:SHORT] or "-",
        row["state"],
        row["python"] or "-",
        str(len(row["packages"])),
        render.size(row["size_bytes"]),
        render.clock(row["used_at_us"]),
        "yes" if row["in_use"] else "no",
    ]


ACTIONS: dict[str, dict[str, Action]] = {
    "env": {
        "list": (list_, "environments on this machine"),
        "show": (show, "one environment: packages, state, size"),
        "rm": (remove, "remove an environment that no unfinished job needs"),
        "gc": (collect, "remove all that no unfinished job needs"),
        "refresh": (refresh, "resolve anew: later jobs get the newest allowed versions"),
    }
}
