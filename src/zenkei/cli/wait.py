"""`zenkei wait`: until jobs are over and their results are kept; the exit code is theirs."""

from __future__ import annotations

import json
from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.following import Follower, detached, follow
from zenkei.client.client import segment


def wait(argv: list[str]) -> int:
    """Exit code of the first job that did not succeed, in the order given; else 0."""
    parser = Parser("wait", "Wait until jobs are over and their results are kept.")
    parser.jobs()
    args = parser.parse_args(argv)
    client = session.open()
    ends: list[dict[str, Any]] = []
    for job in args.jobs:
        follower = Follower(quiet=args.json)
        try:
            follow(client, follower, None, f"/v1/jobs/{segment(job)}/follow", logs=False)
        except KeyboardInterrupt:
            return detached(follower.job or job, as_json=args.json)
        ends.append(follower.end)
    codes = [int((end.get("exit") or {}).get("code", 75)) for end in ends]
    if args.json:
        print(json.dumps(ends[0] if len(ends) == 1 else ends, ensure_ascii=False))
    return next((code for code in codes if code), 0)
