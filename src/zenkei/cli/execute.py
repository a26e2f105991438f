"""`zenkei exec JOB -- COMMAND`: a command beside the ranks of a running job.

It has the job's environment, working directory and limits, and no terminal. Its output is shown as
it comes, its exit code is ours; it is ended when we go away.
"""

from __future__ import annotations

import base64
import json
import sys

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.client.client import segment
from zenkei.client.failure import Failure, of_answer, usage

MOST_INPUT = 60_000


def execute(argv: list[str]) -> int:
    """Standard input is sent if it is no terminal; at most 60,000 bytes."""
    parser = Parser("exec", "Run a command in a running job: `zenkei exec JOB -- COMMAND`.")
    parser.jobs(many=False)
    parser.whole("--node", least=0, most=limits.NODES - 1, default=0, help="on the job's Nth node")
    parser.whole("--rank", least=0, most=999_999, help="where rank N runs, with its variables")
    own, command = _split(argv)
    args = parser.parse_args(own)
    if args.rank is not None and args.node:
        raise usage("--rank decides the node: --node cannot be given as well")
    if not command:
        raise usage("no command after `--`", "zenkei exec JOB -- nvidia-smi")
    given = _input()
    body = {
        "command": command,
        "node": args.node,
        "input": base64.b64encode(given).decode("ascii"),
    }
    if args.rank is not None:
        body["rank"] = args.rank
    path = f"/v1/jobs/{segment(args.job)}/exec"
    for message in session.open().stream("POST", path, body):
        data = json.loads(message.data)
        if message.event == "error":
            raise of_answer(int(data.get("status", 500)), data)
        if args.json:
            print(json.dumps({"event": message.event, **data}), flush=True)
        elif message.event in ("out", "err"):
            stream = sys.stdout if message.event == "out" else sys.stderr
            stream.buffer.write(base64.b64decode(data["data"]))
            stream.buffer.flush()
        if message.event == "exit":
            code = int(data["code"])
            return code if code >= 0 else 128 - code
    raise Failure("bad-answer", "the daemon did not say how the command ended")


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _input() -> bytes:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return b""
    given = sys.stdin.buffer.read(MOST_INPUT + 1)
    if len(given) > MOST_INPUT:
        hint = "write a file into the job's directory, and read that"
        raise usage(f"the input of a command has at most {MOST_INPUT} bytes", hint)
    return given
