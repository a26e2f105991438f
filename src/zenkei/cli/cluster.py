"""`zenkei cluster apply|show|history|rollback|init`: what the cluster is for, and for whom."""

from __future__ import annotations

import os
import sys
from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.failure import Failure, usage

Json = dict[str, Any]
FILE = "cluster.yaml"
MOST_BYTES = (1 << 20) + 1
"""One more than the daemon takes: it says so with the place."""
DONE = {
    "applied": "applied",
    "rolled_back": "rolled back",
    "paused": "paused",
    "resumed": "resumed",
}


def cluster(argv: list[str]) -> int:
    return act("cluster", ACTIONS["cluster"], argv)


def apply(argv: list[str]) -> int:
    """Shows what changes, asks, and lets the file be in force."""
    parser = Parser("cluster apply", "Let a cluster file be in force; what runs is not stopped.")
    parser.add_argument("file", metavar="FILE", help=f"such as {FILE}; - for standard input")
    _asking(parser)
    args = parser.parse_args(argv)
    text = _read(args.file)
    name = "cluster.yaml" if args.file == "-" else args.file

    def send(client: session.Session, *, dry: bool, expect: int) -> Json:
        found: Json = client.post("/v1/cluster", text, dry=dry, expect=expect, file=name)
        return found

    return _bring(args, send)


def rollback(argv: list[str]) -> int:
    """An older file is in force again, as a new version."""
    parser = Parser("cluster rollback", "Bring an older version of the cluster's file back.")
    parser.add_argument(
        "version",
        nargs="?",
        default="0",
        metavar="VERSION",
        help="as `zenkei cluster history` numbers them; default: the one before",
    )
    _asking(parser)
    args = parser.parse_args(argv)
    if not (args.version.isascii() and args.version.isdigit() and len(args.version) < 16):
        shown = "`zenkei cluster history` lists them"
        raise usage(f"`{args.version[:60]}` is not a version of the cluster's file", shown)

    def send(client: session.Session, *, dry: bool, expect: int) -> Json:
        body = {"version": int(args.version), "dry": dry, "expect": expect}
        found: Json = client.post("/v1/cluster/rollback", body)
        return found

    return _bring(args, send)


def show(argv: list[str]) -> int:
    """The file in force, as it was written."""
    parser = Parser("cluster show", "The cluster's file that is in force, and what is paused.")
    args = parser.parse_args(argv)
    found = session.open().get("/v1/cluster")
    if args.json:
        session.print_json(found)
        return 0
    if not found["version"]:
        print("no cluster file was ever applied: every name is an open queue")
        print("`zenkei cluster init` writes a first one")
    else:
        at = render.clock(found["at_us"])
        print(render.clean(f"# version {found['version']}, {_what(found)}, by {found['by']}, {at}"))
        print(render.harmless(found["text"]), end="" if found["text"].endswith("\n") else "\n")
    for line in _paused(found):
        print(line)
    return 0


def history(argv: list[str]) -> int:
    """Who did what and when; with --diff also what it changed."""
    parser = Parser("cluster history", "What operators did to the cluster, newest last.")
    parser.add_argument("--diff", action="store_true", help="also what each of them changed")
    parser.whole("--limit", least=1, most=1000, default=20, help="the newest N; default 20")
    args = parser.parse_args(argv)
    found = session.open().get("/v1/cluster/history", limit=args.limit)
    if args.json:
        session.print_json(found)
        return 0
    if not found["records"]:
        print("nothing was ever applied")
    rows = [
        [str(one["version"]), render.clock(one["at_us"]), one["by"], _what(one)]
        for one in found["records"]
    ]
    if rows and not args.diff:
        print(render.table(("VERSION", "WHEN", "BY", "WHAT"), rows, right={0}))
    for row, one in zip(rows, found["records"], strict=True) if args.diff else ():
        print(render.clean(f"version {'  '.join(row)}"))
        _print_changes(one["changes"])
    return 0


def init(argv: list[str]) -> int:
    """Write the file from the nodes there are; an existing one is kept, unless --force."""
    parser = Parser("cluster init", "Write a commented cluster.yaml from the nodes there are.")
    parser.add_argument("file", nargs="?", default=FILE, metavar="FILE", help=f"default: {FILE}")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--print", action="store_true", help="print it instead of writing it")
    args = parser.parse_args(argv)
    from zenkei.spec.cluster_starter import starter

    text = starter([_machine(node) for node in session.open().get("/v1/nodes")["nodes"]])
    if not args.print:
        _write(args.file, text, replace=args.force)
    if args.json:
        session.print_json({"path": args.file, "written": not args.print, "text": text})
    elif args.print:
        print(text, end="")
    else:
        shown = render.clean(args.file)
        print(f"{shown} is written; `zenkei cluster apply {shown} --diff` shows what it changes")
    return 0


# -- inside ------------------------------------------------------------------------------------


def _asking(parser: Parser) -> None:
    parser.add_argument("--diff", action="store_true", help="only show what would change")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _bring(args: Any, send: Any) -> int:
    client = session.open()
    seen = send(client, dry=True, expect=-1)
    if args.diff:
        if args.json:
            session.print_json(seen)
        else:
            _print_changes(seen["changes"])
            _print_warnings(seen)
        return 0
    if seen["changes"] and not args.yes:
        if not sys.stdin.isatty():
            raise usage("this asks, and there is no terminal to answer from", "--yes or --diff")
        _print_changes(seen["changes"])
        _print_warnings(seen)
        if input("apply it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Failure("not-confirmed", "nothing was changed", exit_code=1)
    answer = send(client, dry=False, expect=seen["version"])
    if args.json:
        session.print_json(answer)
        return 0
    if args.yes:
        _print_changes(answer["changes"])
        _print_warnings(answer)
    nodes = answer["nodes_placed"]
    placed = f"; {render.count(nodes, 'node')} placed anew" if nodes else ""
    is_new = "is in force" if answer["written"] else "was in force already"
    print(f"version {answer['version']} {is_new}{placed}")
    return 0


def _print_changes(changes: list[Json]) -> None:
    """`+` is new, `-` is gone, `~` is another value."""
    if not changes:
        print("nothing changes")
    for change in changes:
        path, before, after = change["path"], change["before"], change["after"]
        if not before:
            line = render.paint(render.clean(f"+ {path}: {after}"), "32")
        elif not after:
            line = render.paint(render.clean(f"- {path}: {before}"), "31")
        else:
            line = render.paint(render.clean(f"~ {path}: {before} -> {after}"), "33")
        print(line)


def _print_warnings(seen: Json) -> None:
    for warning in seen["warnings"]:
        print(render.clean(f"warning: {warning}"), file=sys.stderr)


def _what(record: Json) -> str:
    kind, reason = record["kind"], record["reason"]
    if kind in ("paused", "resumed"):
        text = f"{DONE[kind]} {record['queue'] or 'all starts'}"
        return f"{text}: {reason}" if reason else text
    text = f"rolled back to {record['restored']}" if kind == "rolled_back" else DONE[kind]
    return f"{text}: {render.count(len(record['changes']), 'change')}"


def _paused(found: Json) -> list[str]:
    lines = []
    for switch in found["paused"]:
        what = f"queue {switch['queue']}" if switch["queue"] else "everything"
        why = f": {switch['reason']}" if switch["reason"] else ""
        since = render.clock(switch["since_us"])
        lines.append(render.clean(f"# paused: {what}{why} (by {switch['by']}, since {since})"))
    return lines


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read(MOST_BYTES)
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        hint = "`zenkei cluster init` writes a first one"
        raise usage(f"`{path[:200]}` cannot be read: {error.strerror}", hint) from error


def _write(path: str, text: str, *, replace: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileExistsError as error:
        raise Failure(
            "file-exists", f"{path} is there already", hint="--force replaces it", exit_code=6
        ) from error
    except OSError as error:
        raise usage(f"`{path[:200]}` cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _machine(node: Json) -> Any:
    from zenkei.spec.cluster_starter import Machine

    gpus: dict[str, int] = {}
    for device in node["devices"]:
        gpus[device["kind"]] = gpus.get(device["kind"], 0) + 1
    return Machine(node["name"], node["cpu_milli"] // 1000, node["memory_bytes"], gpus)


ACTIONS: dict[str, dict[str, Action]] = {
    "cluster": {
        "apply": (apply, "let a cluster file be in force; --diff only shows what it changes"),
        "show": (show, "the file that is in force"),
        "history": (history, "what operators did, and what it changed"),
        "rollback": (rollback, "bring an older file back"),
        "init": (init, "write a commented cluster.yaml from the nodes there are"),
    }
}
