"""`zenkei stacks JOB`: where the ranks of a job are (or were when it hung), call by call."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import clean, clock, count, paint
from zenkei.client.client import Client, segment
from zenkei.client.failure import Failure

PIECE = 1 << 20
NOW_S = 15.0
LOOK_S = 0.2
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waits for a device",
    "T": "stopped",
    "t": "held by a debugger",
    "Z": "has ended",
}
Json = dict[str, Any]


def stacks(argv: list[str]) -> int:
    """The newest dump of each node; with --now one that is taken for this; --json has all."""
    parser = Parser("stacks", "Stacks of a job's ranks, kept when it hung or taken now.")
    parser.jobs(many=False)
    parser.whole("--rank", least=0, most=limits.RANK, help="only this rank")
    parser.whole("--attempt", least=1, most=limits.ATTEMPT, default=0, help="default: the last")
    parser.add_argument("--now", action="store_true", help="take stacks now; the job goes on")
    args = parser.parse_args(argv)
    client = session.open()
    job = client.get(f"/v1/jobs/{segment(args.job)}")
    if job.get("array"):
        hint = f"name a member, such as {job['id']}.0; `zenkei show {job['id']}` lists them"
        message = f"{job['id']} is an array, and this takes one job"
        raise Failure("is-an-array", message, hint=hint, exit_code=4)
    number = args.attempt or (job["attempts"][-1]["number"] if job["attempts"] else 0)
    names = [node["node"] for a in job["attempts"] if a["number"] == number for node in a["nodes"]]
    dumps = [_read(client, job["id"], number, node) for node in range(len(names))]
    silent: list[str] = []
    if args.now:
        before = [found[-1]["number"] if found else 0 for found in dumps]
        client.post(f"/v1/jobs/{segment(job['id'])}/stacks")
        dumps = _await(client, job["id"], number, before)
        pairs = zip(names, dumps, before, strict=True)
        silent = [name for name, found, old in pairs if not _newer(found, old)]
    if args.json:
        session.print_json(
            {
                "attempt": number,
                "nodes": names,
                "dumps": [dump for found in dumps for dump in found],
            }
        )
    else:
        _print(dumps, names, args.rank)
        if not any(dumps):
            print(
                f"zenkei: attempt {number} has no stacks (yet); --now takes some", file=sys.stderr
            )
    if silent:
        words = f"no answer within {NOW_S:g} s from {', '.join(map(clean, silent))}"
        print(f"zenkei: {words}", file=sys.stderr)
    return 1 if silent else 0


def _read(client: Client, job: str, attempt: int, node: int) -> list[Json]:
    """All dumps of a node, the oldest first."""
    path = f"/v1/jobs/{segment(job)}/streams/stacks/{node}"
    data = b""
    while attempt:
        piece = b"".join(client.fetch(path, attempt=attempt, offset=len(data), limit=PIECE))
        data += piece
        if len(piece) < PIECE:
            break
    found = []
    for line in data.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # one that is just being written, or was cut off
            continue
    return found


def _newer(found: list[Json], number: int) -> bool:
    return bool(found) and found[-1]["number"] > number


def _await(client: Client, job: str, attempt: int, before: list[int]) -> list[list[Json]]:
    until = time.monotonic() + NOW_S
    while True:
        found = [_read(client, job, attempt, node) for node in range(len(before))]
        have = [_newer(dumps, old) for dumps, old in zip(found, before, strict=True)]
        if all(have) or time.monotonic() > until:
            return found
        time.sleep(LOOK_S)


def _print(dumps: list[list[Json]], names: list[str], rank: int | None) -> None:
    for found, name in zip(dumps, names, strict=True):
        if not found:
            continue
        dump = found[-1]
        head = f"{clean(name)}: dump {dump['number']} at {clock(dump['at_us'])}, {dump['why']}"
        print(paint(clean(head), "1"))
        for process in dump["processes"]:
            if rank is None or process["rank"] == rank:
                _process(process)
        if dump["left_out"]:
            print(f"  and {count(dump['left_out'], 'process')} more")


def _process(process: Json) -> None:
    whose = f"rank {process['rank']}" if process["rank"] >= 0 else "beside the ranks"
    state = _STATES.get(process["state"], process["state"])
    print(f"{whose}, pid {process['pid']} ({state}): {clean(process['command'])}")
    for thread in process["threads"]:
        print(f"  {clean(thread['name'])}")
        for frame in thread["frames"]:
            where = f"{frame['file']}:{frame['line']} in {frame['function']}"
            text = f"    {frame['text']}" if frame.get("text") else ""
            print(f"    {clean(where)}{clean(text)}")
    if process.get("note"):
        print(f"  {clean(process['note'])}")
    for wait in process["waits"] if not process["threads"] else process["waits"][:1]:
        print(f"  thread {wait['tid']} {wait['wait']}")
