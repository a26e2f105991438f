"""`zenkei verify JOB`: runs a job again from its record and says whether it came to the same.

Exit codes: 0 identical or within the tolerance, 1 different, 2 there is no verdict, because it
could not be run or compared. Interrupting leaves the second job alone: `--against` takes it up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import clean, count, paint, size
from zenkei.cli.tolerances import add_tolerance, tolerance_of
from zenkei.client.client import Client, segment
from zenkei.client.failure import Failure

Json = dict[str, Any]
DIFFERENT, NO_VERDICT, INTERRUPTED = 1, 2, 130
WORDS = {"identical": "identical", "within_tolerance": "within tolerance", "different": "different"}
COLOURS = {"identical": "32", "within_tolerance": "32", "different": "31"}
MOST_SHOWN = 5
MOST_LOOKS = 3
MOST_ADVISED = 1e-3
"""What lies further apart is no matter of rounding."""


def verify(argv: list[str]) -> int:
    """See the module's docstring."""
    parser = Parser("verify", "Run a job again from its record, and compare what it comes to.")
    parser.jobs(many=False)
    add_tolerance(parser)
    parser.add_argument(
        "--against", metavar="JOB", help="compare with this job, which repeats it; run nothing"
    )
    args = parser.parse_args(argv)
    tolerance = tolerance_of(args)
    client = session.open()
    try:
        first = client.get(f"/v1/jobs/{segment(args.job)}")
        job = str(first["id"])
        _comparable(first)
        against = args.against or _repeated(client, job, args)
        if against is None:
            return INTERRUPTED
        if first.get("array"):
            members = [str(row["id"]) for row in first["jobs"]]
            return _array(client, members, against, args, tolerance)
        verdict = _verdict(client, job, against, args, tolerance)
    except Failure as failure:
        # whatever kept it from a verdict has one exit code here
        failure.exit_code = NO_VERDICT
        raise
    if verdict is None:
        return INTERRUPTED
    code = _code(verdict)
    if args.json:
        session.print_json({"verdict": verdict, "exit": _exit(code)})
        return code
    tell(verdict)
    return code


def _comparable(first: Json) -> None:
    """Before anything is run: of what left nothing there is no verdict. The server has the word."""
    state, result = first.get("state"), first.get("result") or {}
    if state == "cancelled":
        why = "was cancelled"
    elif state == "failed" and (not first.get("attempt") or first.get("stop") == "launch_failed"):
        why = "never ran"
    elif result.get("state") == "removed":
        why = "has no result any more: its files were given up"
    else:
        return
    text = f"job {first['id']} {why}: there is nothing to compare"
    raise Failure("could-not-run", text, hint=f"`zenkei show {first['id']}` says why")


def _repeated(client: session.Session, job: str, args: Any) -> str | None:
    """The job that runs `job` again, once it is over; None if a person has had enough."""
    key = os.urandom(16).hex()
    against = str(client.post(f"/v1/jobs/{segment(job)}/rerun", {"request_key": key})["id"])
    _say(f"job {against} runs job {job} again", args)
    if _over(client, against, args):
        return against
    hint = f"the verdict, once it is over: zenkei verify {job} --against {against}"
    print(f"zenkei: {hint}", file=sys.stderr)
    return None


def _array(
    client: session.Session, members: list[str], against: str, args: Any, tolerance: Json
) -> int:
    """Member by member. One that differs decides; else one without a verdict."""
    others = client.get(f"/v1/jobs/{segment(against)}")
    if not others.get("array") or len(others["jobs"]) != len(members):
        hint = "name the array that repeats it, or leave --against out"
        raise Failure("no-verdict", f"{against} has not as many members as the array", hint=hint)
    codes, told = set(), []
    for job, row in zip(members, others["jobs"], strict=True):
        try:
            verdict = _verdict(client, job, str(row["id"]), args, tolerance)
        except Failure as failure:
            codes.add(NO_VERDICT)
            told.append({"job": job, "against": row["id"], "error": failure.message})
            _tell_member(args, f"no verdict on job {job}: {failure.message}")
            continue
        if verdict is None:
            return INTERRUPTED
        codes.add(_code(verdict))
        told.append(verdict)
        found = verdict["comparison"]
        first = f"; {difference(found['first'])}" if found["first"] else ""
        words = f"{WORDS[found['verdict']]}: job {row['id']} against job {job}{first}"
        _tell_member(args, words)
    code = DIFFERENT if DIFFERENT in codes else max(codes)
    if args.json:
        session.print_json({"verdicts": told, "exit": _exit(code)})
    return code


def _tell_member(args: Any, text: str) -> None:
    if not args.json:
        print(clean(text))


def _code(verdict: Json) -> int:
    return DIFFERENT if verdict["comparison"]["verdict"] == "different" else 0


def _exit(code: int) -> Json:
    words = {0: "the same", DIFFERENT: "different", NO_VERDICT: "no verdict"}
    return {"code": code, "by": "zenkei", "text": words[code]}


def _verdict(
    client: session.Session, job: str, against: str, args: Any, tolerance: Json
) -> Json | None:
    """None if it was interrupted."""
    for _ in range(MOST_LOOKS):
        body = {"against": against, "tolerance": tolerance}
        answer = ask(client, "POST", f"/v1/jobs/{segment(job)}/verdict", body)
        if answer["verdict"] is not None:
            found: Json = answer["verdict"]
            return found
        _say(f"job {answer['waits_for']} looks into checkpoints, in their environment", args)
        if not _over(client, answer["waits_for"], args):
            return None
    raise Failure("no-verdict", f"no verdict on job {job}: its checkpoints could not be compared")


def ask(
    client: Client,
    method: str,
    path: str,
    body: Any = None,
    said: Callable[[Json], None] = lambda _told: None,
    **query: str,
) -> Json:
    """The answer of a request that may take long: the last event of its stream.

    said: is told how far it is.
    """
    import json

    from zenkei.client.failure import Disconnected, of_answer

    for message in client.stream(method, path, body, **query):
        data: Json = json.loads(message.data)
        if message.event == "error":
            raise of_answer(int(data.get("status", 500)), data)
        if message.event == "done":
            return data
        said(data)
    raise Disconnected("the daemon ended the stream")


def _over(client: session.Session, job: str, args: Any) -> bool:
    """Wait until a job is over and kept; False if a person has had enough."""
    from zenkei.cli.following import Follower, detached, follow

    follower = Follower(quiet=args.json)
    try:
        follow(client, follower, None, f"/v1/jobs/{segment(job)}/follow", logs=False)
    except KeyboardInterrupt:
        detached(job, as_json=args.json)
        return False
    return True


def _say(text: str, args: Any) -> None:
    if not args.json:
        print(f"zenkei: {clean(text)}", file=sys.stderr)


def tell(verdict: Json) -> None:
    """A verdict for people."""
    found = verdict["comparison"]
    word = paint(WORDS[found["verdict"]], COLOURS[found["verdict"]])
    print(f"{word}: job {verdict['against']} against job {verdict['job']}")
    tell_comparison(found)
    if found["verdict"] == "different":
        advise(verdict["job"], verdict["against"], found)


def tell_comparison(found: Json) -> None:
    """What was compared, and what is not the same."""
    metrics = f"{count(found['metrics'], 'metric')}, {count(found['points'], 'value')}"
    print(f"  compared: {metrics}; {count(found['files'], 'file')}, {size(found['size_bytes'])}")
    if found["relative"] and found["absolute"]:
        apart = f"{found['relative']:.3g} relative, {found['absolute']:.3g} absolute"
        print(f"  greatest difference: {apart}")
    if found["first"]:
        print(f"  first: {clean(difference(found['first']))}")
    for other in found["others"][:MOST_SHOWN]:
        print(f"  also: {clean(difference(other))}")
    more = len(found["others"]) - MOST_SHOWN
    if more > 0:
        print(f"  and {more} more: --json has them")
    for note in found["notes"]:
        print(f"  note: {clean(note)}")


def advise(job: str, against: str, found: Json) -> None:
    """What to do next, on stderr."""
    text = f"`zenkei diff {job} {against}` says what is not the same"
    if found["relative"] and found["absolute"]:
        enough = min(found["relative"], found["absolute"]) * 1.01
        if enough <= MOST_ADVISED:
            text += f"; --tolerance {enough:.2g} would let these numbers pass"
    print(f"hint: {text}", file=sys.stderr)


def difference(found: Json) -> str:
    """One place where two jobs differ, in a line."""
    values = f": {found['a'] or 'nothing'} against {found['b'] or 'nothing'}"
    values = values if found["a"] or found["b"] else ""
    why = f": {found['why']}" if found["why"] else ""
    if found["kind"] == "metric":
        rank = f", rank {found['rank']}" if found["rank"] > 0 else ""
        return f"metric {found['name']} at step {found['step']}{rank}{why}{values}"
    if found["kind"] == "file":
        where = f", {found['where']}" if found["where"] else ""
        return f"file {found['name']}{where}{why}{values}"
    return f"{found['why']}{values}"
