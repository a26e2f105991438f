"""`zenkei node ls|show|drain|resume|label`: one machine, and an operator's word about it."""

from __future__ import annotations

from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nodes import nodes, nodes_text
from zenkei.cli.nouns import Action, act
from zenkei.client.client import segment
from zenkei.client.failure import usage

Json = dict[str, Any]
MOST_LINES = 20


def node(argv: list[str]) -> int:
    return act("node", ACTIONS["node"], argv)


def show(argv: list[str]) -> int:
    """The table's line, labels, health, and what happened to the node last."""
    parser = _parser("show", "A node: state and reason, labels, health, what happened to it.")
    args = parser.parse_args(argv)
    found = session.open().get(_path(args))
    if args.json:
        session.print_json(found)
        return 0
    print(nodes_text([found]))
    for line in _details(found):
        print(render.clean(line))
    for event in found["events"][-MOST_LINES:]:
        print(event_line(event))
    return 0


def drain(argv: list[str]) -> int:
    """Nothing new starts on it. Nothing is killed: with --preempt, jobs are asked to go on
    elsewhere, and save a checkpoint first."""
    parser = _parser("drain", "Let nothing new start on a node; what runs goes on.")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for everybody to see")
    parser.add_argument(
        "--preempt", action="store_true", help="jobs there save a checkpoint and go on elsewhere"
    )
    args = parser.parse_args(argv)
    return _told(args, f"{_path(args)}/drain", {"reason": args.reason, "preempt": args.preempt})


def resume(argv: list[str]) -> int:
    """One that was suspect or down is checked first."""
    parser = _parser("resume", "Let a node take work again.")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for everybody to see")
    args = parser.parse_args(argv)
    return _told(args, f"{_path(args)}/resume", {"reason": args.reason})


def label(argv: list[str]) -> int:
    """`KEY=VALUE` sets one, `KEY-` takes it away."""
    parser = _parser("label", "Set labels of a node, or take them away.")
    parser.add_argument("labels", nargs="+", metavar="KEY=VALUE|KEY-", help="rack=r1, or rack-")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for everybody to see")
    args = parser.parse_args(argv)
    wanted: dict[str, str] = {}
    gone: list[str] = []
    for word in args.labels:
        key, equals, value = word.partition("=")
        if equals:
            wanted[key] = value
        elif word.endswith("-"):
            gone.append(word[:-1])
        else:
            hint = f"`{word[:60]}=VALUE` sets it, `{word[:60]}-` takes it away"
            raise usage(f"`{word[:60]}` does not say what becomes of the label", hint)
    body = {"set": wanted, "remove": gone, "reason": args.reason}
    return _told(args, f"{_path(args)}/labels", body)


def event_line(event: Json) -> str:
    """Time, node, what happened, the states, who and why."""
    before, after = event["before"], event["after"]
    states = before if before == after else f"{before} -> {after}"
    by = f" (by {event['by']})" if event["by"] else ""
    head = f"{render.clock(event['at_us'])}  {event['node']:<10}  {event['kind']:<9}  {states:<20}"
    return render.clean(f"{head}  {event['reason']}{by}".rstrip())


def _parser(action: str, about: str) -> Parser:
    parser = Parser(f"node {action}", about)
    parser.add_argument("node", metavar="NODE", help="its name in `zenkei nodes`")
    return parser


def _path(args: Any) -> str:
    """Of the node. A name with a slash would be another path: there is no such node."""
    name = args.node
    if not name or "/" in name:
        raise usage(f"`{name[:80]}` cannot be the name of a node", "`zenkei nodes` lists them")
    return f"/v1/nodes/{segment(name)}"


def _told(args: Any, path: str, body: Json) -> int:
    found = session.open().post(path, body)
    if args.json:
        session.print_json(found)
        return 0
    why = f": {found['reason']}" if found["reason"] else ""
    print(render.clean(f"{found['name']} is {found['state']}{why}"))
    jobs = sorted({part["job"] for part in found["held"]})
    if found["preempted"]:
        print(render.clean(f"asked to go on elsewhere: {', '.join(found['preempted'])}"))
    elif found["state"] == "draining" and jobs:
        print(render.clean(f"still running there: {', '.join(jobs)}"))
    return 0


def _details(found: Json) -> list[str]:
    own = found["own_labels"]
    labels = [f"{k}={v}{' (own)' if k in own else ''}" for k, v in sorted(found["labels"].items())]
    lines = [f"labels: {', '.join(labels)}"] if labels else []
    health = found["health"]
    if health["failures"]:
        lines.append(f"failures counted: {health['failures']:.1f}")
    if health["failed_checks"]:
        checks = render.count(health["failed_checks"], "check")
        lines.append(f"{checks} failed in a row; next {render.clock(health['next_check_us'])}")
    if found["fence"]:
        attempts = ", ".join(found["fence"]["attempts"])
        lines.append(f"fenced until nothing is left of {attempts}")
    return lines


ACTIONS: dict[str, dict[str, Action]] = {
    "node": {
        "ls": (nodes, "all nodes: free and total, who runs there"),
        "show": (show, "one node, and what happened to it"),
        "drain": (drain, "let nothing new start on a node"),
        "resume": (resume, "let a node take work again"),
        "label": (label, "set labels of a node"),
    }
}
