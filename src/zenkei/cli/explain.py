"""`zenkei explain JOB`: why a job waits, with numbers, and what would start now."""

from __future__ import annotations

from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client.client import segment

Json = dict[str, Any]
MOST_HOLDERS = 5
MISFITS = {
    "cpu": "too few free CPUs",
    "memory": "too little free memory",
    "tmp": "too little free scratch space",
    "gpu": "too few free GPUs",
    "gpu_kind": "another type of GPU",
    "cpu_capacity": "too few CPUs, free or not",
    "memory_capacity": "too little memory, free or not",
    "tmp_capacity": "too little scratch space, free or not",
    "gpu_capacity": "too few GPUs, free or not",
    "constraint": "other labels than the constraints ask for",
    "state": "a state other than ready",
    "avoided": "failed it before",
}
HELD_BY = {
    "user": "a person holds it; `zenkei release {id}` lets it go on",
    "dependency": "it waits for the jobs in `after`; `zenkei show {id}` names them",
    "budget": "the budget is used up",
}


def explain(argv: list[str]) -> int:
    """The reason in one sentence, then a line each: numbers, holders, ends, offers."""
    parser = Parser("explain", "Why a job waits, and what would help.")
    parser.jobs(many=False)
    args = parser.parse_args(argv)
    answer = session.open().get(f"/v1/jobs/{segment(args.job)}/explain")
    if args.json:
        session.print_json(answer)
        return 0
    for line in said(answer):
        print(render.clean(line))
    return 0


def said(answer: Json) -> list[str]:
    """The lines for a person."""
    job = answer["job"]
    head = f"job {job['id']} ({job['name']}) is {job['state']}"
    reason, account = answer["reason"], answer["explanation"]
    if job["state"] == "held":
        return [f"{head}:", *(f"  {HELD_BY[why].format(id=job['id'])}" for why in job["holds"])]
    if job["state"] == "pending":
        if reason is None and account is None:
            return [f"{head}; the planner has not looked at it yet"]
        lines = [f"{head}: {reason['text']}" if reason else head]
        if reason and reason["hint"]:
            lines.append(f"hint: {reason['hint']}")
        return lines + (_account(account) if account else [])
    if job["exit"] is not None:
        more = f"; {job['message']}" if job["message"] else ""
        return [f"job {job['id']} ({job['name']}) is over: {job['exit']['text']}{more}"]
    return [f"{head}: it does not wait for the planner; `zenkei show {job['id']}`"]


def _account(account: Json) -> list[str]:
    """Numbers; who holds it; what would have to end; what would start now: a line for each."""
    lines = [_numbers(account), _held(account), *_ends(account)]
    near = [offer["text"] for offer in account["nearest"]]
    if near:
        lines.append(f"  would start now {_either(near)}")
    return lines


def _numbers(account: Json) -> str:
    """How many nodes it needs, how many could take a part, and what is wrong with the others."""
    nodes, needed = account["nodes"], account["needed"]
    need = render.count(needed, "node") + (f" (up to {nodes})" if nodes > needed else "")
    level, together = account["level"], account["together"]
    where = f" in one {level}" if level else ""
    parts = [f"needs {need}{where}: {account['fitting']} could take a part now"]
    if account["fitting"] and (level or account["kept"]):
        best = f", at most {together['nodes']} of them in one ({together['where']})"
        kept = f", {account['kept']} of them kept for others"
        parts[0] += (best if level else "") + (kept if account["kept"] else "")
    parts += [
        f"{_have(number)} {MISFITS.get(misfit, misfit)}"
        for misfit, number in account["excluded"].items()
    ]
    if account["forgives"]:
        names = ", ".join(account["failed_on"])
        parts.append(f"it failed on {names}, and may go there again: too few others could do")
    ahead = account["ahead"]
    parts.append(f"{render.count(ahead, 'job')} before it in line" if ahead else "first in line")
    return "  " + "; ".join(parts)


def _free(account: Json) -> str:
    free = account["free"]
    if not account["suitable"]:
        return "  no node would suit that is ready"
    gpus = _units(free["gpu_milli"], "GPU")
    if free["gpu_milli"]:
        gpus += f" (at most {free['most_gpu_milli'] / 1000:g} on one)"
    things = [_units(free["cpu_milli"], "CPU"), gpus]
    things.append(f"{render.size(free['memory_bytes'])} of memory")
    nodes = render.count(account["suitable"], "suitable node")
    pieces = ", enough in all, but in pieces" if account["cause"] == "fragmentation" else ""
    return f"  free on {nodes}: {', '.join(things)}{pieces}"


def _held(account: Json) -> str:
    """What is free, and who has the rest of what is lacking: on nodes, or of a limit."""
    holders = account["holders"]
    if not holders:
        return _free(account)
    shown = holders[:MOST_HOLDERS]
    more = len(holders) - len(shown) + account["more_holders"]
    others = f" and {more} more" if more else ""
    jobs = "job" if len(shown) + more == 1 else "jobs"
    what = "its limit is held" if account["cause"] in ("cap", "quota") else "held"
    return f"{_free(account)}; {what} by {jobs} {_by_queue(shown)}{others}"


def _ends(account: Json) -> list[str]:
    ends = account["ends"]
    if not ends:
        return []
    shown = ends[:MOST_HOLDERS]
    more = len(ends) - len(shown)
    others = f" and {more} more" if more else ""
    jobs = "job" if len(ends) == 1 else "jobs"
    return [f"  would start if {jobs} {_by_queue(shown)}{others} ended"]


def _by_queue(rows: list[Json]) -> str:
    """`4, 7 (queue vision), 9 (queue speech)`: neighbours of one queue share its name."""
    parts: list[str] = []
    for at, row in enumerate(rows):
        last = at + 1 == len(rows) or rows[at + 1]["queue"] != row["queue"]
        queue = f" (queue {row['queue']})" if last and row["queue"] else ""
        parts.append(f"{row['job']}{queue}")
    return ", ".join(parts)


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, or {texts[-1]}"


def _units(milli: int, thing: str) -> str:
    """`1 CPU`, `0.5 GPUs`."""
    return render.count(f"{milli / 1000:g}", thing)


def _have(number: int) -> str:
    return "1 has" if number == 1 else f"{number} have"
