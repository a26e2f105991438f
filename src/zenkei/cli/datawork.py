"""`zenkei dataset add|commit|export|files|diff|verify|gc`: what moves or reads content.

The daemon starts the work and tells how far it is; interrupting ends the work, and nothing is left
half done.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.verify import ask
from zenkei.client.client import segment
from zenkei.client.failure import usage

Json = dict[str, Any]
SIGNS = {"added": "+", "removed": "-", "changed": "~"}
DAMAGED = 1


def add(argv: list[str]) -> int:
    """A dataset that is not there yet."""
    parser = Parser("dataset add", "Make a dataset of a directory; the same as create and commit.")
    return _commit(parser, argv, create=True)


def commit(argv: list[str]) -> int:
    """The next version of a dataset."""
    parser = Parser("dataset commit", "Store a directory as the next version of a dataset.")
    parser.add_argument("--create", action="store_true", help="make the dataset if there is none")
    return _commit(parser, argv)


def promote(argv: list[str]) -> int:
    """A job's result becomes the next version of a dataset."""
    parser = Parser("result promote", "Let the result of a job be the next version of a dataset.")
    parser.jobs(many=False)
    parser.add_argument("name", metavar="NAME", help="the dataset; made if there is none")
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="what is new in it")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="beside `latest`; repeatable"
    )
    args = parser.parse_args(argv)
    body = {"name": args.name, "message": args.message, "tags": args.tag}
    done = work(f"/v1/jobs/{segment(args.job)}/result/promote", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    _tell_commit(done)
    return 0


def export(argv: list[str]) -> int:
    parser = Parser("dataset export", "Write a version into a directory.")
    parser.add_argument("version", metavar="NAME[@VERSION|:TAG]")
    parser.add_argument("directory", metavar="DIR", help="made if it is not there")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATH", help="this file or directory of it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    args = parser.parse_args(argv)
    body = {
        "version": args.version,
        "to": os.path.abspath(args.directory),
        "only": args.only,
        "overwrite": args.overwrite,
    }
    done = work("/v1/dataset-export", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    found = done["found"]
    what = f"{render.count(found['files'], 'file')}, {render.size(found['size_bytes'])}"
    print(render.clean(f"{done['dataset']}@{done['number']} is in {args.directory}: {what}"))
    return 0


def files(argv: list[str]) -> int:
    parser = Parser("dataset files", "Files of a version, by path.")
    parser.add_argument("version", metavar="NAME[@VERSION|:TAG]")
    parser.add_argument("--under", default="", metavar="PATH", help="only below this directory")
    parser.add_argument("--after", default="", metavar="PATH", help="go on after this one")
    parser.whole("--limit", least=1, most=10_000, default=1000, help="at most so many")
    args = parser.parse_args(argv)
    from zenkei.cli.dataset import reference, which

    meant = reference(args.version)
    found = session.open().get(
        f"/v1/datasets/{segment(meant.name)}/files",
        version=which(meant),
        under=args.under,
        after=args.after,
        limit=args.limit,
    )
    if args.json:
        session.print_json(found)
        return 0
    for row in found["rows"]:
        print(render.clean(_file_line(row)))
    if found["next"]:
        hint = f"more: add --after {found['next']}"
        print(render.clean(f"zenkei: {hint}"), file=sys.stderr)
    return 0


def diff(argv: list[str]) -> int:
    """Exit code 0 if nothing differs, 1 if something does: as `diff`."""
    parser = Parser("dataset diff", "What changed between two versions of one or two datasets.")
    parser.add_argument("a", metavar="NAME[@VERSION|:TAG]")
    parser.add_argument("b", metavar="NAME[@VERSION|:TAG]")
    parser.whole("--limit", least=1, most=10_000, default=100, help="show at most so many files")
    args = parser.parse_args(argv)
    found = session.open().get("/v1/dataset-diff", a=args.a, b=args.b, limit=args.limit)
    differs = any(found[kind]["count"] for kind in SIGNS)
    if args.json:
        session.print_json(found)
        return int(differs)
    for kind, sign in SIGNS.items():
        for row in found[kind]["rows"]:
            print(render.clean(f"{sign} {(row.get('to') or row)['path']}"))
    counts = ", ".join(
        f"{found[kind]['count']} {kind} ({render.size(found[kind]['size_bytes'])})"
        for kind in SIGNS
    )
    print(f"{found['from']} to {found['to']}: {counts}")
    return int(differs)


def mount(argv: list[str]) -> int:
    """DIR becomes a link to it."""
    parser = Parser("dataset mount", "Show a version in a directory, read-only.")
    parser.add_argument("version", metavar="NAME[@VERSION|:TAG]")
    parser.add_argument("directory", metavar="DIR", help="must not be there yet")
    args = parser.parse_args(argv)
    place = os.path.abspath(args.directory)
    if os.path.lexists(place):
        raise usage(f"`{args.directory[:200]}` is there already", "name a place that is free")
    body = {"version": args.version, "holder": place}
    done = work("/v1/dataset-mount", body, quiet=args.json)
    os.symlink(done["path"], place)
    if args.json:
        session.print_json(done)
        return 0
    name = f"{done['dataset']}@{done['number']}"
    how = "a private copy" if done["kind"] == "copy" else "read-only"
    print(render.clean(f"{name} is at {args.directory} ({how}); `zenkei dataset unmount` ends it"))
    return 0


def unmount(argv: list[str]) -> int:
    parser = Parser("dataset unmount", "End what `dataset mount` has begun.")
    parser.add_argument("directory", metavar="DIR")
    args = parser.parse_args(argv)
    place = os.path.abspath(args.directory)
    found = session.open().post("/v1/dataset-release", {"holder": place})
    if os.path.islink(place) and found["released"]:
        os.unlink(place)
    if args.json:
        session.print_json(found)
    elif found["released"]:
        print(render.clean(f"{args.directory} is gone"))
    else:
        raise usage(f"nothing is mounted at `{args.directory[:200]}`", "`ls -l` shows its link")
    return 0


def verify(argv: list[str]) -> int:
    """Exit code 1 if anything is damaged or missing."""
    parser = Parser("dataset verify", "Look whether stored content is there and undamaged.")
    parser.add_argument(
        "versions", nargs="*", metavar="NAME[@VERSION|:TAG]", help="without any: all versions"
    )
    parser.add_argument(
        "--quick", action="store_true", help="look whether it is there, read nothing"
    )
    args = parser.parse_args(argv)
    body = {"versions": args.versions, "deep": not args.quick}
    done = work("/v1/dataset-verify", body, quiet=args.json)
    damaged = done["damaged"]
    if args.json:
        session.print_json(done)
        return DAMAGED if damaged else 0
    for one in damaged:
        print(render.clean(f"damaged: {one.get('object', '?')}: {one.get('why', '')}"))
        for path in one.get("files", [])[:10]:
            print(render.clean(f"  holds {path}"))
    what = f"{render.count(done['packs'], 'pack')}, {render.size(done['size_bytes'])}"
    state = f"{render.count(len(damaged), 'object')} damaged or missing" if damaged else "sound"
    print(f"{render.count(done['versions'], 'version')}, {what}: {state}")
    return DAMAGED if damaged else 0


def collect(argv: list[str]) -> int:
    parser = Parser("dataset gc", "Free the space of content that no version and no job names.")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.whole(
        "--grace",
        least=0,
        most=10**9,
        default=86_400,
        metavar="SECONDS",
        help="what is younger stays (86400)",
    )
    args = parser.parse_args(argv)
    body = {"dry_run": args.dry_run, "grace_s": args.grace}
    done = work("/v1/dataset-collect", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    verb = "would be freed" if done["dry_run"] else "freed"
    what = f"{render.count(done['versions'], 'version')}, {render.count(done['packs'], 'pack')}"
    stays = render.size(done["kept_bytes"])
    print(f"{render.size(done['freed_bytes'])} {verb} ({what}); {stays} stay")
    return 0


def _commit(parser: Parser, argv: list[str], *, create: bool = False) -> int:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="what is new in it")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="beside `latest`; repeatable"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="leave these paths out"
    )
    parser.add_argument(
        "--reference", action="store_true", help="keep only where the files lie; copy nothing"
    )
    parser.add_argument(
        "--follow-links", action="store_true", help="store what links that leave the tree lead to"
    )
    args = parser.parse_args(argv)
    if not os.path.isdir(args.directory):
        raise usage(f"`{args.directory[:200]}` is not a directory", "name the directory to store")
    body = {
        "source": os.path.abspath(args.directory),
        "message": args.message,
        "tags": args.tag,
        "create": create or getattr(args, "create", False),
        "reference": args.reference,
        "follow_links": args.follow_links,
        "exclude": args.exclude,
    }
    done = work(f"/v1/datasets/{segment(args.name)}/commit", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    _tell_commit(done)
    return 0


def _tell_commit(done: Json) -> None:
    found = done["found"]
    for out in found["left_out"]:
        line = f"zenkei: left out: {out['path']} ({out['why']})"
        print(render.clean(line), file=sys.stderr)
    what = f"{render.count(done['files'], 'file')}, {render.size(done['size_bytes'])}"
    name = f"{done['dataset']}@{done['number']}"
    if not done["is_new"]:
        print(render.clean(f"{name} has this content already: {what}"))
        return
    print(render.clean(f"{name}: {what}; {render.size(found['stored_bytes'])} stored anew"))


def _file_line(row: Json) -> str:
    if row["kind"] == "link":
        return f"{'link':>10}  {row['path']} -> {row['target']}"
    if row["kind"] == "directory":
        return f"{'directory':>10}  {row['path']}/"
    return f"{render.size(row['size_bytes']):>10}  {row['path']}"


def work(path: str, body: Json, *, quiet: bool) -> Json:
    """The end of a long request; meanwhile how far it is, on a terminal."""
    if quiet or not sys.stderr.isatty():
        return ask(session.open(), "POST", path, body)
    try:
        return ask(session.open(), "POST", path, body, _progress)
    finally:
        sys.stderr.write("\r\x1b[K")


def _progress(told: Json) -> None:
    of = f" of {told['total']:,}" if told.get("total") else ""
    text = f"{told['what']}: {told['done']:,}{of}"
    if told.get("bytes"):
        text += f", {render.size(told['bytes'])}"
    sys.stderr.write(f"\r\x1b[K{render.clean(text)}")
    sys.stderr.flush()
