"""`zenkei result capsule|import`: a result as one file, and back in another installation."""

from __future__ import annotations

import os
import sys

from zenkei.cli import datawork, render, session
from zenkei.cli.arguments import Parser
from zenkei.client.client import segment

Json = datawork.Json


def capsule(argv: list[str]) -> int:
    """The daemon writes the file, with its own rights."""
    parser = Parser("result capsule", "Write a finished job, with all it came from, as one file.")
    parser.jobs(many=False)
    parser.add_argument("-o", "--output", metavar="FILE", help="default: capsule-JOB.zip")
    parser.add_argument(
        "--without-data", action="store_true", help="name datasets, leave their files out"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    args = parser.parse_args(argv)
    client = session.open()
    job = str(client.get(f"/v1/jobs/{segment(args.job)}")["id"]) if args.job == "-" else args.job
    to = os.path.abspath(args.output or f"capsule-{job}.zip")
    body = {"to": to, "data": not args.without_data, "overwrite": args.force}
    done = datawork.work(f"/v1/jobs/{segment(job)}/result/capsule", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    what = f"{render.count(done['contents'], 'content')}, {render.size(done['size_bytes'])}"
    print(render.clean(f"{os.path.relpath(to)}: job {done['job']}, {what}"))
    for name in done["left_out"]:
        print(render.clean(f"zenkei: left out: files of the dataset {name}"), file=sys.stderr)
    return 0


def take(argv: list[str]) -> int:
    """Importing the same capsule twice makes one job."""
    parser = Parser("result import", "Make a job of a capsule that another installation wrote.")
    parser.add_argument("file", metavar="FILE", help="as `zenkei result capsule` has written it")
    args = parser.parse_args(argv)
    body = {"path": os.path.abspath(args.file)}
    done = datawork.work("/v1/capsule-import", body, quiet=args.json)
    if args.json:
        session.print_json(done)
        return 0
    if not done["is_new"]:
        print(render.clean(f"{args.file} was imported before: it is job {done['job']}"))
    else:
        what = f"job {done['job']}: {done['name']}, {done['state']}"
        where = f"{done['came_from']}, run by {done['owner']}"
        print(render.clean(f"{what}; imported from {where}"))
    for name, here in sorted(done["datasets"].items()):
        print(render.clean(f"  dataset {name}" + ("" if name == here else f" is {here} here")))
    for digest in done["missing"]:
        words = f"zenkei: missing data: {digest}; the job cannot be run again without them"
        print(render.clean(words), file=sys.stderr)
    return 0
