"""`zenkei result show|get|diff|tag|untag|tags|rm|lineage`: what is known of a result, what is done.

Actions of the noun `result`; those that list and fetch are in `result`.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from zenkei.api import limits
from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.tolerances import add_tolerance, tolerance_of
from zenkei.client.client import segment
from zenkei.client.failure import Failure, usage

Json = dict[str, Any]
HEAD = ("PROJECT", "NAME", "RESULT", "BY", "SINCE")


def show(argv: list[str]) -> int:
    """Everything that is known of a result: state, names, verdicts."""
    args = of_attempt("show", "What is known of a job's result.").parse_args(argv)
    client, path = session.open(), path_of(args.job)
    found = client.get(f"{path}/result", attempt=args.attempt)
    kept = client.get(f"{path}/verdicts")["verdicts"]
    names = client.get(f"{path}/result/tags")["tags"]
    names = [tag for tag in names if tag["attempt"] == found["result"]["attempt"]]
    if args.json:
        session.print_json({**found, "verdicts": kept, "tags": names})
        return 0
    result = found["result"]
    why = f": {result['reason']}" if result["reason"] else ""
    lines = [
        ("result of", result["attempt"]),
        ("state", f"{result['state']}{why}"),
        ("kept", render.clock(result["at_us"])),
        ("files", f"{result['files']}, {render.size(result['size_bytes'])}"),
        ("manifest", result["output"] or "-"),
        ("record", result["record"] or "-"),
        ("names", ", ".join(tag["tag"] for tag in names) or "-"),
    ]
    if found["origin"]:
        lines += origin_lines(found["origin"])
    lines += [("verdict", verdict_line(verdict, found["job"])) for verdict in kept]
    for name, value in lines:
        print(f"{name:10} {render.clean(value)}")
    return 0


def origin_lines(origin: Json) -> list[tuple[str, str]]:
    """Where an imported job ran, and what it lacks here."""
    ran = f"{origin['installation']}/{origin['job']}, run by {origin['owner']}"
    ended = render.clock(origin["ended_us"])
    lines = [("imported", f"from {ran}, ended {ended}"), ("capsule", origin["capsule"])]
    return lines + [("missing", f"data {digest}") for digest in origin["missing"]]


def verdict_line(verdict: Json, job: str) -> str:
    """A verdict as one line among what is known of `job`."""
    from zenkei.cli.verify import WORDS, difference

    found = verdict["comparison"]
    is_first = verdict["job"] == str(job)
    other = f"by job {verdict['against']}" if is_first else f"to job {verdict['job']}"
    words = WORDS[found["verdict"]]
    first = f"; {difference(found['first'])}" if found["first"] else ""
    return f"{words} {other}, {render.clock(verdict['at_us'])}{first}"


def get(argv: list[str]) -> int:
    """One file, to a place or to standard output."""
    parser = of_attempt("get", "One file of a job's result.")
    parser.add_argument("path", metavar="PATH", help="as `zenkei result ls` shows it")
    parser.add_argument("to", nargs="?", metavar="FILE", help="default: standard output")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    args = parser.parse_args(argv)
    where = f"path={segment(args.path)}&attempt={args.attempt}"
    pieces = session.open().fetch(f"{path_of(args.job)}/result/file?{where}")
    if args.to is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return 0
    if args.force and os.path.lexists(args.to) and not os.path.isfile(args.to):
        raise usage(f"`{args.to}` is no file: it is not replaced", "name a file")
    part = f"{args.to}.part-{os.getpid()}"
    try:
        with open(part, "xb") as file:
            for piece in pieces:
                file.write(piece)
        if args.force:
            os.replace(part, args.to)
        else:
            os.link(part, args.to)
    except FileExistsError:
        raise usage(f"{args.to} is there already", "--force replaces it") from None
    except OSError as error:
        raise _not_written(args.to, error) from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
    if args.json:
        session.print_json({"path": args.path, "to": args.to})
    return 0


def diff(argv: list[str]) -> int:
    """Exit code 1 if they differ, as `diff` of files."""
    from zenkei.cli.verify import WORDS, ask, tell_comparison

    parser = Parser("result diff", "Compare metrics and files of two jobs; run and keep nothing.")
    parser.add_argument("jobs", nargs=2, metavar="JOB", help="42, or a member 42.7")
    add_tolerance(parser)
    args = parser.parse_args(argv)
    first, second = args.jobs
    body = {"other": second, "tolerance": tolerance_of(args)}
    answer = ask(session.open(), "POST", f"{path_of(first)}/result/diff", body)
    found = answer["comparison"]
    if args.json:
        session.print_json(answer)
    else:
        print(f"{WORDS[found['verdict']]}: job {answer['b']} against job {answer['a']}")
        tell_comparison(found)
    return 1 if found["verdict"] == "different" else 0


def tag(argv: list[str]) -> int:
    """Give a result a name; it is taken from the result that had it."""
    parser = of_attempt("tag", "Give a job's result a name within its project.")
    parser.add_argument("name", metavar="NAME")
    args = parser.parse_args(argv)
    body = {"attempt": args.attempt}
    found = session.open().put(f"{path_of(args.job)}/result/tags/{segment(args.name)}", body)
    if args.json:
        session.print_json(found)
    else:
        print(render.clean(f"{found['tag']} is the result of {found['attempt']}"))
    return 0


def untag(argv: list[str]) -> int:
    """Take a name away; its history stays."""
    parser = Parser("result untag", "Take a name away; its history stays.")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--project", default="", metavar="NAME", help="where several have it")
    args = parser.parse_args(argv)
    found = session.open().delete(f"/v1/result-tags/{segment(args.name)}", project=args.project)
    if args.json:
        session.print_json(found)
    return 0


def tags(argv: list[str]) -> int:
    """What names mean now, or what one has meant."""
    parser = Parser("result tags", "Names of results; of one name its history.")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--project", default="", metavar="NAME", help="only of this project")
    args = parser.parse_args(argv)
    client = session.open()
    if args.name is None:
        answer = client.get("/v1/result-tags", project=args.project)
        rows = answer["tags"]
    else:
        path = f"/v1/result-tags/{segment(args.name)}"
        answer = client.get(path, project=args.project)
        rows = answer["history"]
    if args.json:
        session.print_json(answer)
        return 0
    cells = [
        (t["project"], t["tag"], t["attempt"] or "-", t["by"], render.clock(t["at_us"]))
        for t in rows
    ]
    if cells:
        print(render.table(HEAD, cells))
    return 0


def remove(argv: list[str]) -> int:
    """Give the files up; the record stays."""
    parser = of_attempt("rm", "Give up the files of a result; its record stays.")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    client = session.open()
    if not args.yes:
        _ask(client.get(f"{path_of(args.job)}/result", attempt=args.attempt)["result"])
    found = client.delete(f"{path_of(args.job)}/result", attempt=args.attempt)
    if args.json:
        session.print_json(found)
    else:
        size = render.size(found["size_bytes"])
        print(f"{render.count(found['files'], 'file')}, {size} of {found['attempt']} given up")
        print("zenkei: `zenkei prune` frees their place", file=sys.stderr)
    return 0


def lineage(argv: list[str]) -> int:
    """A tree from the result back to its causes; --json has the graph, --svg draws it."""
    parser = Parser("result lineage", "What a result came from, and what came of it.")
    parser.jobs(many=False)
    parser.add_argument("--svg", metavar="FILE", help="write a drawing; `-`: standard output")
    args = parser.parse_args(argv)
    client, path = session.open(), f"{path_of(args.job)}/lineage"
    if args.svg:
        data = b"".join(client.fetch(path, picture=True))
        if args.svg == "-":
            sys.stdout.buffer.write(data)
            return 0
        try:
            with open(args.svg, "wb") as file:
                file.write(data)
        except OSError as error:
            raise _not_written(args.svg, error) from error
        return 0
    graph = client.get(path)
    if args.json:
        session.print_json(graph)
        return 0
    print("\n".join(tree(graph)))
    return 0


def _not_written(path: str, error: OSError) -> Exception:
    """A full disk has an exit code of its own (`cli.errors`)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    why = f"`{path[:200]}` cannot be written: {error.strerror}"
    return usage(why, "name a file in a directory that is there and that you may write to")


def tree(graph: Json) -> list[str]:
    """Lines: under each thing what it was made from; then what came of the root."""
    labels = {vertex["id"]: vertex["label"] for vertex in graph["vertices"]}
    causes: dict[str, list[Json]] = {}
    effects: dict[str, list[Json]] = {}
    for edge in graph["edges"]:
        causes.setdefault(edge["target"], []).append(edge)
        effects.setdefault(edge["source"], []).append(edge)
    lines, seen = [render.clean(labels[graph["root"]])], {graph["root"]}
    _grow(graph["root"], "", causes, labels, seen, lines)
    for job in [graph["root"], *(e["source"] for e in causes.get(graph["root"], []))]:
        for edge in effects.get(job, []):
            if edge["target"] not in seen:
                seen.add(edge["target"])
                lines.append(render.clean(f"-> {labels[edge['target']]} ({edge['word']})"))
    if graph["cut"]:
        lines.append("… and more")
    return lines


def _grow(
    key: str,
    indent: str,
    causes: dict[str, list[Json]],
    labels: dict[str, str],
    seen: set[str],
    lines: list[str],
) -> None:
    edges = causes.get(key, [])
    for i, edge in enumerate(edges):
        last = i + 1 == len(edges)
        source = edge["source"]
        again = " (see above)" if source in seen else ""
        branch = "└─ " if last else "├─ "
        lines.append(indent + branch + render.clean(f"{labels[source]} ({edge['word']}){again}"))
        if source not in seen:
            seen.add(source)
            _grow(source, indent + ("   " if last else "│  "), causes, labels, seen, lines)


def _ask(result: Json) -> None:
    if not sys.stdin.isatty():
        raise usage("rm asks, and there is no terminal to answer from", "--yes")
    what = f"{render.count(result['files'], 'file')}, {render.size(result['size_bytes'])}"
    print(f"{what} of {result['attempt']} will be given up for good")
    if input("go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failure("not-confirmed", "nothing was removed", exit_code=1)


def of_attempt(action: str, about: str) -> Parser:
    parser = Parser(f"result {action}", about)
    parser.jobs(many=False)
    parser.whole(
        "--attempt",
        least=1,
        most=limits.ATTEMPT,
        default=0,
        help="of this attempt (default: the last)",
    )
    return parser


def path_of(job: str) -> str:
    return f"/v1/jobs/{segment(job)}"
