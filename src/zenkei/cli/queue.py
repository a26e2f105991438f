"""`zenkei queue tree|pause|resume`, `zenkei pause`, `unpause`: who has how much, who may start."""

from __future__ import annotations

from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.client import segment
from zenkei.client.failure import usage

Json = dict[str, Any]
HEAD = ("QUEUE", "", "HELD", "QUOTA", "BORROWED", "CAP", "SHARE", "RUNNING", "WAITING", "STATE")
BAR = 20
LEGEND = "# held within quota  + borrowed  . quota that is free"


def queue(argv: list[str]) -> int:
    return act("queue", ACTIONS["queue"], argv)


def tree(argv: list[str]) -> int:
    """Quota, what is held and borrowed, who waits: a line for each queue."""
    parser = Parser("queue tree", "All queues: quota, what is held and borrowed, who waits.")
    args = parser.parse_args(argv)
    found = session.open().get("/v1/queues")
    if args.json:
        session.print_json(found)
        return 0
    print(tree_text(found))
    return 0


def pause_queue(argv: list[str]) -> int:
    """Nothing starts from it and those inside it; what runs goes on."""
    return _turn_queue("pause", "Let nothing start from a queue; what runs goes on.", argv)


def resume_queue(argv: list[str]) -> int:
    """Jobs start from it again."""
    return _turn_queue("resume", "Let jobs start from a queue again.", argv)


def pause(argv: list[str]) -> int:
    """Nothing starts any more, until `zenkei unpause`."""
    return _turn_all("pause", "Let nothing start any more; what runs goes on.", argv)


def unpause(argv: list[str]) -> int:
    """Jobs start again; queues that are paused by themselves stay so."""
    return _turn_all("unpause", "Let jobs start again.", argv)


def tree_text(found: Json) -> str:
    """The table; GPUs where the cluster has any, else cores."""
    resource = "gpu_milli" if found["total"].get("gpu_milli") else "cpu_milli"
    queues = found["queues"]
    lines = []
    if not found["configured"]:
        lines.append("no queue is configured: every name is open (`zenkei cluster init`)")
    if queues:
        most = max(max(_of(q, "quota", resource), _of(q, "held", resource), 1) for q in queues)
        rows = [_row(one, resource, most, shared=found["configured"]) for one in queues]
        lines.append(render.table(HEAD, rows, right={2, 3, 4, 5, 6, 7, 8}))
        total = found["total"].get(resource, 0)
        unit = "GPUs" if resource == "gpu_milli" else "cores"
        lines.append(f"in {unit}, of {_amount(total)}:  {LEGEND}")
    if found["paused"]:
        lines.append(render.clean(f"nothing starts: {found['paused']} (`zenkei unpause`)"))
    lines += [render.clean(f"{q['name']}: {q['paused']}") for q in queues if q["paused"]]
    return "\n".join(lines)


def bar(held: int, quota: int, most: int) -> str:
    """`####++....`: most is what fills the whole width. What is not nothing has a sign at least."""
    within, beyond, free = min(held, quota), max(0, held - quota), max(0, quota - held)
    text = "".join(
        sign * (max(1, round(BAR * amount / most)) if amount else 0)
        for sign, amount in (("#", within), ("+", beyond), (".", free))
    )
    return text[:BAR]


def _row(one: Json, resource: str, most: int, *, shared: bool) -> list[str]:
    """shared: what is held beyond a quota is borrowed from somebody."""
    held, quota = _of(one, "held", resource), _of(one, "quota", resource)
    state = "paused" if one["paused"] else f"paused ({one['closed']})" if one["closed"] else "open"
    return [
        "  " * one["depth"] + one["name"],
        bar(held, quota if shared else held, most),
        _amount(held),
        _amount(quota) if resource in one["quota"] else "-",
        _amount(_of(one, "borrowed", resource)) if _of(one, "borrowed", resource) else "-",
        _amount(_of(one, "cap", resource)) if resource in one["cap"] else "-",
        f"{100 * one['share']:.0f}%",
        str(one["running"]),
        str(one["waiting"]),
        state,
    ]


def _of(one: Json, what: str, resource: str) -> int:
    return int(one[what].get(resource, 0))


def _amount(milli: int) -> str:
    return f"{milli / 1000:g}"


def _turn_queue(action: str, about: str, argv: list[str]) -> int:
    parser = Parser(f"queue {action}", about)
    parser.add_argument("queue", metavar="QUEUE", help="its name in `zenkei queue tree`")
    _reason(parser)
    args = parser.parse_args(argv)
    if not args.queue or "/" in args.queue:
        raise usage(
            f"`{args.queue[:80]}` cannot be the name of a queue", "`zenkei queue tree` lists them"
        )
    return _told(args, f"/v1/queues/{segment(args.queue)}/{action}", args.queue)


def _turn_all(verb: str, about: str, argv: list[str]) -> int:
    parser = Parser(verb, about)
    _reason(parser)
    return _told(parser.parse_args(argv), f"/v1/{verb}", "")


def _reason(parser: Parser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for everybody to see")


def _told(args: Any, path: str, name: str) -> int:
    found = session.open().post(path, {"reason": args.reason})
    if args.json:
        session.print_json(found)
        return 0
    mine = next((one for one in found["paused"] if one["queue"] == name), None)
    what = f"queue {name}" if name else "everything"
    if mine is None:
        print(render.clean(f"{what} is open"))
        for other in found["paused"]:
            print(render.clean(f"still paused: {other['queue'] or 'everything'}"))
        return 0
    why = f": {mine['reason']}" if mine["reason"] else ""
    print(render.clean(f"{what} is paused{why}; what runs goes on"))
    return 0


ACTIONS: dict[str, dict[str, Action]] = {
    "queue": {
        "tree": (tree, "all queues: quota, what is held and borrowed, who waits"),
        "pause": (pause_queue, "let nothing start from a queue"),
        "resume": (resume_queue, "let jobs start from a queue again"),
    }
}
