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
    """The reason in one sentence, then the account behind it."""
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
    lines = [f"  jobs before it in line: {account['ahead']}"]
    need = render.count(account["nodes"], "node")
    lines.append(f"  needs {need}; {account['fitting']} could take a part now")
    lines += [
        f"  {render.count(number, 'node has', 'nodes have')} {MISFITS.get(misfit, misfit)}"
        for misfit, number in account["excluded"].items()
    ]
    if account["forgives"]:
        names = ", ".join(account["failed_on"])
        lines.append(f"  it failed on {names}, and may go there again: too few others could do")
    free = account["free"]
    things = [_units(free["cpu_milli"], "CPU"), _units(free["gpu_milli"], "GPU")]
    things.append(f"{render.size(free['memory_bytes'])} of memory")
    lines.append(f"  free on {account['suitable']} suitable: {', '.join(things)}")
    holders = account["holders"]
    if holders:
        shown = [str(holder["job"]) for holder in holders[:MOST_HOLDERS]]
        more = len(holders) - len(shown) + account["more_holders"]
        jobs = "job" if len(shown) + more == 1 else "jobs"
        others = f" and {more} more" if more else ""
        lines.append(f"  held by {jobs} {', '.join(shown)}{others}")
    lines += [f"  would start now {near['text']}" for near in account["nearest"]]
    return lines


def _units(milli: int, thing: str) -> str:
    """`1 CPU`, `0.5 GPUs`."""
    return render.count(f"{milli / 1000:g}", thing)
