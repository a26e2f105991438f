"""`zenkei show`: everything about a job, or the members of an array."""

from __future__ import annotations

import sys
from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.checkpoint import progress_lines
from zenkei.cli.render import (
    clean,
    clock,
    count,
    displaced_for,
    harmless,
    members,
    now_us,
    paint,
    size,
    span,
    state,
    table,
)
from zenkei.client.client import segment
from zenkei.client.failure import usage

Json = dict[str, Any]


def show(argv: list[str]) -> int:
    parser = Parser("show", "Everything about jobs.")
    parser.jobs()
    parser.add_argument(
        "--diff", action="store_true", help="only how the code differed from its commit"
    )
    args = parser.parse_args(argv)
    if args.diff and args.json:
        raise usage("--diff and --json exclude each other", "the diff is no JSON")
    client = session.open()
    if args.diff:
        for job in args.jobs:
            _diff(b"".join(client.fetch(f"/v1/jobs/{segment(job)}/diff")))
        return 0
    found = [client.get(f"/v1/jobs/{segment(job)}") for job in args.jobs]
    if args.json:
        session.print_json(found[0] if len(found) == 1 else found)
        return 0
    for i, job in enumerate(found):
        if i:
            print()
        _array(job) if job.get("array") else _job(job)
    return 0


def _diff(diff: bytes) -> None:
    """Byte for byte for `git apply`; made harmless for a terminal only."""
    if sys.stdout.isatty():
        print(harmless(diff.decode("utf-8", "replace")), end="")
        return
    sys.stdout.buffer.write(diff)
    sys.stdout.buffer.flush()


def _array(job: Json) -> None:
    print(f"array {job['id']} ({clean(job['name'])}): {members(job['states'])}")
    rows = [
        (row["id"], _params(row["params"]), row["state"], str(row["attempt"]), _end(row))
        for row in job["jobs"]
    ]
    print(table(("JOB", "PARAMETERS", "STATE", "ATTEMPT", ""), rows, right={3}))


def _job(job: Json) -> None:
    print(f"job {job['id']}: {clean(job['name'])}, {state(job['state'])}{_tail(_end(job))}")
    _cause(job)
    _pair("project, queue", f"{job['project']}, {job['queue']}, priority {job['priority']}")
    if job["params"]:
        _pair("parameters", _params(job["params"]))
    _pair("submitted", f"{clock(job['submitted_us'])} by {job['owner']}")
    if job["started_us"]:
        until = job["ended_us"] or now_us()
        _pair("started", f"{clock(job['started_us'])}, {span(until - job['started_us'])}")
    for key, value in (("ended", job["ended_us"]), ("not before", job["not_before_us"])):
        if value:
            _pair(key, clock(value))
    _waits(job)
    _came_from(job)
    for name, digest in job["digests"].items():
        if digest:
            _pair(name, digest)
    _git(job["git"])
    _result(job["result"])
    for verdict in job["verdicts"]:
        from zenkei.cli.resultbook import verdict_line

        _pair("verdict", verdict_line(verdict, job["id"]))
    for number, attempt in enumerate(job["attempts"]):
        _attempt(attempt)
        for name, value in progress_lines(job["progress"][number]) if job["progress"] else ():
            _pair(name, value)


def _came_from(job: Json) -> None:
    if job["origin"]:
        from zenkei.cli.resultbook import origin_lines

        for name, value in origin_lines(job["origin"]):
            _pair(name, value)
    if job["rerun_of"]:
        _pair("rerun of", job["rerun_of"])


def _cause(job: Json) -> None:
    """Why it failed, what can be done, and the last lines of the rank that failed first."""
    cause = job["cause"]
    if cause is None:
        return
    over = job["state"] == "failed"
    print(paint(clean(f"{'failed' if over else 'last attempt'}: {cause['text']}"), "31"))
    if cause["hint"]:
        print(clean(f"hint: {cause['hint']}"))
    for line in cause["tail"]:
        print(f"  | {clean(line)}")


def _waits(job: Json) -> None:
    """Why it does not run."""
    if job["holds"]:
        _pair("held by", ", ".join(job["holds"]))
    if job["after"]:
        _pair("after", ", ".join(f"{d['job']} ({d['after']})" for d in job["after"]))
    if job["waits"]:
        _pair("waits", job["waits"]["text"])
        if job["waits"].get("hint"):
            _pair("hint", job["waits"]["hint"])


def _git(git: Json | None) -> None:
    """Where the code came from."""
    if git is None:
        return
    commit = git["commit"] or "no commit yet"
    changed = f"changed, {size(git['diff_bytes'])} of diff" if git["dirty"] else "unchanged"
    branch = f"branch {git['branch']}" if git["branch"] else "no branch"
    _pair("git", f"{commit}, {branch}, {changed}{' (cut)' if git['diff_cut'] else ''}")
    if git["remote"]:
        _pair("remote", git["remote"])


def _result(result: Json | None) -> None:
    if result:
        what = f"{result['state']}, {count(result['files'], 'file')}, {size(result['size_bytes'])}"
        _pair("result", what + (f" ({result['reason']})" if result["reason"] else ""))


def _attempt(attempt: Json) -> None:
    nodes = ", ".join(node["node"] for node in attempt["nodes"])
    begin, end = attempt["allocated_us"], attempt["released_us"]
    print(paint(f"attempt {attempt['number']} on {clean(nodes)} ({attempt['cluster']})", "1"))
    _pair("allocated", f"{clock(begin)}, {span((end or now_us()) - begin)}")
    if attempt["stop"]:
        _pair("ended", f"{attempt['stop']}, {attempt['failure'] or 'not released yet'}")
    if attempt.get("favoured"):
        _pair("made room for", displaced_for(attempt))
    ended = attempt["rank_exit"]
    if ended and (ended["code"] or ended["signal"] or ended["detail"]):
        how = f"signal {ended['signal']}, " if ended["signal"] else ""
        how = f"code {ended['code']}, " if ended["code"] is not None else how
        _pair("exit", f"{how}rank {ended['rank']} on {ended['node']} {ended['detail']}")
    for notice in attempt["notices"]:
        _pair("noticed", f"{notice['notice']}: {notice['detail']}")
    if attempt["release_proof"]:
        _pair("all gone by", attempt["release_proof"])


def _pair(name: str, value: str) -> None:
    first, *more = value.splitlines() or [""]
    print(f"  {name:15} {clean(first)}")
    for line in more:
        print(f"  {'':15} {clean(line)}")


def _end(row: Json) -> str:
    return "" if row["exit"] is None or row["state"] == "succeeded" else str(row["exit"]["text"])


def _tail(text: str) -> str:
    return f" ({clean(text)})" if text else ""


def _params(params: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items())
