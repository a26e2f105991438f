"""`zenkei events JOB`: what happened to a job from its birth on; with --follow, what happens.

`zenkei events --nodes [NODE]`: the same for the machines.
"""

from __future__ import annotations

import json
from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client.client import Client, segment
from zenkei.client.failure import Disconnected

PAGE = 1000
MOST_RECONNECTS = 100
WIDTH = max(map(len, ("prepare_failed", "checkpoint_kept")))


def events(argv: list[str]) -> int:
    """One line an event; with --json one document a line."""
    parser = Parser("events", "What happened to a job, in order.")
    parser.add_argument(
        "job",
        nargs="?",
        default="",
        metavar="JOB",
        help="42, a member 42.7, or -: your last job",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    parser.add_argument("--nodes", action="store_true", help="of nodes: of all, or of one (NODE)")
    args = parser.parse_args(argv)
    if args.nodes:
        return _nodes(args.job, as_json=args.json)
    if not args.job:
        parser.error("the following arguments are required: JOB")
    client = session.open()
    job, after = str(args.job), 0
    if args.follow and job == "-":
        # fixed now: a job that is submitted meanwhile is not meant
        job = str(client.get("/v1/jobs/-")["id"])
    after = _show(client, job, after, as_json=args.json)
    if args.follow:
        _follow(client, job, after, as_json=args.json)
    return 0


def _nodes(node: str, *, as_json: bool) -> int:
    from zenkei.cli.node import event_line

    for event in session.open().get("/v1/node-events", node=node)["events"]:
        print(json.dumps(event, ensure_ascii=False) if as_json else event_line(event))
    return 0


def _show(client: Client, job: str, after: int, *, as_json: bool) -> int:
    """Print events with a seq above `after`; returns the last one's."""
    while True:
        path = f"/v1/jobs/{segment(job)}/events"
        page = client.get(path, after=after, limit=PAGE)["events"]
        for event in page:
            after = int(event["seq"])
            print(json.dumps(event, ensure_ascii=False) if as_json else line(event), flush=True)
        if len(page) < PAGE:
            return after


def _follow(client: Client, job: str, after: int, *, as_json: bool) -> None:
    """The stream says when to look; what is shown is read from the log of events, without gaps."""
    for last in [False] * MOST_RECONNECTS + [True]:
        try:
            for message in client.stream("GET", f"/v1/jobs/{segment(job)}/follow", logs=False):
                if message.event in ("state", "members", "end"):
                    after = _show(client, job, after, as_json=as_json)
                if message.event == "end":
                    return
        except Disconnected:
            if last:
                raise


def line(event: dict[str, Any]) -> str:
    """Time, job, event, state, and what the body adds."""
    state = event.get("state") or ""
    head = f"{render.clock(event['at_us'])}  {event['job']:<6}  {event['kind']:{WIDTH}}"
    return f"{head}  {render.state(state, 10)}  {detail(event['kind'], event['body'])}".rstrip()


def detail(kind: str, body: dict[str, Any]) -> str:
    """What a person wants to know beside the kind; the rest is in --json."""
    if kind == "allocated":
        text = f"attempt {body['attempt']} on " + ", ".join(part["node"] for part in body["parts"])
    elif kind == "exited":
        text = f"attempt {body['attempt']}: {body['reason']}{_exit(body.get('exit') or {})}"
    elif kind == "stop_ordered":
        room = f", to make room for {render.displaced_for(body)}" if body.get("favoured") else ""
        text = f"attempt {body['attempt']}: {body['reason']}{_by(body)}{room}"
    elif kind == "claimed":
        text = "kept free: " + (", ".join(part["node"] for part in body["parts"]) or "nothing")
    elif kind == "edited":
        text = "; ".join(body["changes"]) + _by(body)
    elif kind == "released":
        why = body.get("message") or body.get("failure") or ""
        text = f"attempt {body['attempt']}" + (f": {why}" if why not in ("", "none") else "")
    elif kind in ("held", "unheld"):
        text = ", ".join(body["reasons"]) + _by(body)
    elif kind == "noticed":
        where = f" on {body['node']}" if body.get("node") else ""
        text = f"attempt {body['attempt']}{where}: {body['notice']}: {body['detail']}"
    elif kind in ("resumed", "checkpointed", "checkpoint_kept", "checkpoint_lost"):
        why = f": {body['reason']}" if body.get("reason") else ""
        text = f"attempt {body['attempt']}: step {body['step']}{why}"
    elif kind in ("submitted", "imported"):
        text = f"by {body['owner']}, name {body['name']}"
    else:
        text = body.get("message") or _by(body).strip()
    return render.clean("; ".join(str(text).splitlines()))


def _exit(ended: dict[str, Any]) -> str:
    rank = f" of rank {ended['rank']}" if ended.get("rank", -1) > 0 else ""
    if ended.get("signal"):
        return f", signal {ended['signal']}{rank}"
    return "" if ended.get("code") is None else f", code {ended['code']}{rank}"


def _by(body: dict[str, Any]) -> str:
    return f" by {body['by']}" if body.get("by") else ""
