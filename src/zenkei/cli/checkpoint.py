"""`zenkei checkpoint ls|ask`: what a job can go on from, and a new one on demand."""

from __future__ import annotations

from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.cli.render import clean, clock, size, table
from zenkei.client.client import segment

Json = dict[str, Any]


def checkpoint(argv: list[str]) -> int:
    return act("checkpoint", ACTIONS["checkpoint"], argv, default="ls")


def list_(argv: list[str]) -> int:
    parser = Parser("checkpoint ls", "Checkpoints of a job.")
    parser.jobs(many=False)
    args = parser.parse_args(argv)
    answer = session.open().get(f"/v1/jobs/{segment(args.job)}/checkpoints")
    if args.json:
        session.print_json(answer)
        return 0
    rows = [_row(point) for point in answer["checkpoints"]]
    if not rows:
        print("it has saved no checkpoint")
        return 0
    print(table(("ATTEMPT", "STEP", "STATE", "SAVED", "SIZE", ""), rows, right={1, 4}))
    return 0


def ask(argv: list[str]) -> int:
    """Returns when the job has been asked; `zenkei events -f` shows the answer."""
    parser = Parser("checkpoint ask", "Ask a running job to save a checkpoint and go on.")
    parser.jobs(many=False)
    args = parser.parse_args(argv)
    answer = session.open().post(f"/v1/jobs/{segment(args.job)}/checkpoints")
    if args.json:
        session.print_json(answer)
    else:
        for attempt in answer["asked"]:
            print(f"attempt {attempt} is asked for a checkpoint")
    return 0


def progress_lines(progress: Json) -> list[tuple[str, str]]:
    """What `show` says of an attempt: where it went on, what it saved, what was lost."""
    lines = []
    if progress["given"] >= 0:
        said = progress["resumed"]
        how = "" if said == progress["given"] else ", its program has not said so"
        if said >= 0 and said != progress["given"]:
            how = f", its program went on from step {said}"
        lines.append(("resumed", f"from step {progress['given']}{how}"))
    if progress["last"] >= 0:
        steps = f"{progress['first']} to {progress['last']}"
        lines.append(("steps", steps + _seam(progress)))
    if progress["saved"] >= 0:
        took = f", {progress['answer_s']:.1f} s after it was asked for"
        answer = took if progress["answer_s"] >= 0 else ""
        lines.append(("saved", f"step {progress['saved']}, {clock(progress['saved_us'])}{answer}"))
    if progress["lost_steps"] or progress["lost_gpu_s"]:
        lines.append(
            ("lost", f"{progress['lost_steps']} steps, {progress['lost_gpu_s']:.1f} GPU-seconds")
        )
    return lines


def _seam(progress: Json) -> str:
    """How the steps of an attempt do not follow what it was given; empty if they do."""
    if progress["joins"] is not False:
        return ""
    is_before = progress["first"] < progress["given"]
    return ", which begins before it" if is_before else ", with a gap before it"


def _row(point: Json) -> tuple[str, ...]:
    kept = size(point["size_bytes"]) if point["state"] == "kept" else ""
    return (
        point["attempt"],
        str(point["step"]),
        point["state"],
        clock(point["at_us"]),
        kept,
        clean(point["reason"]),
    )


ACTIONS: dict[str, dict[str, Action]] = {
    "checkpoint": {
        "ls": (list_, "what a job has saved, and what of it is kept"),
        "ask": (ask, "ask a running job for one; it goes on"),
    }
}
