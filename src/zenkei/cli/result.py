"""`zenkei result ls|fetch|record JOB`: what a job left, and the record of how it came about.

What else is done with results is in `resultbook`.
"""

from __future__ import annotations

import os
import sys

from zenkei.cli import capsules, datawork, render, resultbook, session
from zenkei.cli.nouns import Action, act
from zenkei.cli.resultbook import of_attempt, path_of

HEAD = ("SIZE", "MODE", "PATH")


def result(argv: list[str]) -> int:
    """`zenkei result JOB` is `zenkei result ls JOB`."""
    return act("result", ACTIONS["result"], argv, default="ls")


def list_(argv: list[str]) -> int:
    parser = of_attempt("ls", "Files of a job's result.")
    args = parser.parse_args(argv)
    answer = session.open().get(f"{path_of(args.job)}/result", attempt=args.attempt)
    if args.json:
        session.print_json(answer)
        return 0
    found = answer["result"]
    rows = [_row(entry) for entry in answer["entries"]]
    if rows:
        print(render.table(HEAD, rows, right={0}))
    size = f"{render.count(found['files'], 'file')}, {render.size(found['size_bytes'])}"
    why = f": {found['reason']}" if found["reason"] else ""
    words = f"zenkei: result of attempt {found['attempt']} is {found['state']}{why} ({size})"
    print(render.clean(words), file=sys.stderr)
    return 0


def fetch(argv: list[str]) -> int:
    """The daemon writes the files: it has them on this machine, and the same uid."""
    parser = of_attempt("fetch", "Write a job's result into a directory.")
    parser.add_argument("directory", nargs="?", metavar="DIR", help="default: result-JOB")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    args = parser.parse_args(argv)
    client = session.open()
    job = str(client.get(path_of(args.job))["id"]) if args.job == "-" else args.job
    to = os.path.abspath(args.directory or f"result-{job}")
    body = {"to": to, "overwrite": args.force}
    answer = client.post(f"{path_of(job)}/result/fetch", body, attempt=args.attempt)
    if args.json:
        session.print_json(answer)
        return 0
    size = f"{render.count(answer['files'], 'file')}, {render.size(answer['size_bytes'])}"
    print(f"{size} in {render.clean(os.path.relpath(to))}")
    for left in answer["left_out"]:
        words = f"zenkei: left out {left['path']}: {left['why']}"
        print(render.clean(words), file=sys.stderr)
    return 0


def record(argv: list[str]) -> int:
    """The record as it was written: one JSON document, byte for byte, with and without --json."""
    parser = of_attempt("record", "The record of an attempt: what ran, where, with what.")
    args = parser.parse_args(argv)
    for piece in session.open().fetch(f"{path_of(args.job)}/record", attempt=args.attempt):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.write(b"\n")
    return 0


def _row(entry: dict[str, object]) -> list[str]:
    path = str(entry["path"])
    if entry["kind"] == "link":
        return ["-", "link", f"{path} -> {entry['target']}"]
    if entry["kind"] == "directory":
        return ["-", "dir", f"{path}/"]
    return [render.size(int(str(entry["size_bytes"]))), f"{int(str(entry['mode'])):04o}", path]


ACTIONS: dict[str, dict[str, Action]] = {
    "result": {
        "ls": (list_, "files of a job's result"),
        "show": (resultbook.show, "what is known of a result: state, names, verdicts"),
        "get": (resultbook.get, "one file of a result"),
        "fetch": (fetch, "write a job's result into a directory"),
        "record": (record, "the record: what ran, where, with what, and how it ended"),
        "diff": (resultbook.diff, "compare metrics and files of two jobs"),
        "lineage": (resultbook.lineage, "what a result came from, and what came of it"),
        "capsule": (capsules.capsule, "write a job and its result as one file, to take elsewhere"),
        "import": (capsules.take, "make a job of a capsule that another installation wrote"),
        "promote": (datawork.promote, "let a result be the next version of a dataset"),
        "tag": (resultbook.tag, "give a result a name"),
        "untag": (resultbook.untag, "take a name away"),
        "tags": (resultbook.tags, "names of results; of one name its history"),
        "rm": (resultbook.remove, "give up the files of a result; its record stays"),
    }
}
