"""`zenkei cancel`, `hold`, `preempt`, `release`, `rerun`: one request for each job or array named.

Every job is tried, whatever happens to the others; the first refusal decides the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.cancelling import FILTERS, cancel_many
from zenkei.cli.render import clean, members
from zenkei.client.client import segment
from zenkei.client.failure import Failure, usage

Json = dict[str, Any]


def cancel(argv: list[str]) -> int:
    """End jobs for good. --grace 0 kills at once."""
    parser = Parser("cancel", "End jobs for good: SIGTERM, a grace, SIGKILL.")
    parser.amount("--grace", least=0, most=limits.GRACE_S, metavar="S", help="seconds of grace")
    for name, text in FILTERS.items():
        parser.add_argument(f"--{name}", default="", metavar=name.upper(), help=text)
    parser.add_argument("--dry-run", action="store_true", help="only say which would be ended")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.jobs(least=0)
    args = parser.parse_args(argv)
    if _is_many(args):
        return cancel_many(args)
    body = {} if args.grace is None else {"grace_s": args.grace}
    return _each(args, lambda client, path: client.post(f"{path}/cancel", body))


def _is_many(args: Any) -> bool:
    """Whether jobs are chosen by what they are, not by their ids. Refuses what is neither."""
    given = [f"--{name}" for name in FILTERS if getattr(args, name)]
    if args.jobs and (given or args.dry_run):
        other = given[0] if given else "--dry-run"
        raise usage(f"{args.jobs[0][:60]} and {other} exclude each other", "give one of them")
    if not args.jobs and not given:
        raise usage("JOB is missing", "or say which: --user, --queue, --project, --name, --state")
    return not args.jobs


def hold(argv: list[str]) -> int:
    parser = Parser("hold", "Keep jobs from starting; running ones are stopped and held.")
    parser.jobs()
    return _each(parser.parse_args(argv), lambda client, path: client.post(f"{path}/hold"))


def preempt(argv: list[str]) -> int:
    """The job comes back by itself, and goes on from what it has saved."""
    parser = Parser("preempt", "Take the devices of jobs: checkpoint, stop, back into the line.")
    parser.amount("--grace", least=0, most=limits.GRACE_S, metavar="S", help="seconds of grace")
    parser.amount(
        "--checkpoint",
        least=0,
        most=limits.GRACE_S,
        metavar="S",
        help="seconds to save a checkpoint; 0: do not ask for one",
    )
    parser.jobs()
    args = parser.parse_args(argv)
    asked = {"grace_s": args.grace, "checkpoint_s": args.checkpoint}
    body = {key: value for key, value in asked.items() if value is not None}
    return _each(args, lambda client, path: client.post(f"{path}/preempt", body))


def release(argv: list[str]) -> int:
    parser = Parser("release", "Let held jobs go on.")
    parser.jobs()
    return _each(parser.parse_args(argv), lambda client, path: client.post(f"{path}/release"))


def rerun(argv: list[str]) -> int:
    """New jobs with all that the old ones had; prints their ids."""
    parser = Parser(
        "rerun",
        "Run jobs again from their records: the same spec, code, environment lock, data versions "
        "and seed, wherever tags point now and whatever was published since.",
    )
    parser.jobs()
    key = os.urandom(16).hex()
    return _each(
        parser.parse_args(argv),
        lambda client, path: client.post(f"{path}/rerun", {"request_key": f"{key}-{path}"}),
    )


def _each(args: Any, ask: Callable[[session.Session, str], Json]) -> int:
    client = session.open()
    answers: list[Json] = []
    refused: Failure | None = None
    for job in args.jobs:
        try:
            answer = ask(client, f"/v1/jobs/{segment(job)}")
        except Failure as failure:
            if len(args.jobs) == 1:
                raise
            refused = refused or failure
            _tell_refusal(job, failure, as_json=args.json)
            continue
        answers.append(answer)
        if not args.json:
            _tell(answer)
    if args.json:
        session.print_json(answers[0] if len(args.jobs) == 1 else answers)
    return refused.exit_code if refused is not None else 0


def _tell(answer: Json) -> None:
    if "id" in answer:
        print(answer["id"])
        return
    rows = answer["jobs"]
    if len(rows) > 10:
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        print(f"{rows[0]['number']}: {members(counts)}")
        return
    for row in rows:
        print(f"{row['id']} {row['state']}")


def _tell_refusal(job: str, failure: Failure, *, as_json: bool) -> None:
    import sys

    if not as_json:
        print(f"error: {clean(job)}: {clean(failure.message)}", file=sys.stderr)
