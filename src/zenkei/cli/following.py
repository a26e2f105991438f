"""Follows a job on the terminal: state line, progress, output, end. Used by `run`, `logs`, `wait`.

The daemon's stream is resumed with the id of the last event seen, so a daemon that is killed and
comes back costs neither a line nor a duplicate. Standard output carries the job's own output only;
everything that zenkei says goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from zenkei.cli import render
from zenkei.client.client import Client
from zenkei.client.failure import Disconnected, Failure
from zenkei.client.sse import Message

Json = dict[str, Any]
MOST_RECONNECTS = 100
MOST_SHOWN = 50
"""Members of an array whose output is shown though nobody asked for it."""
STDOUT = 1
STDERR = 2
PROGRESS = 2


class Follower:
    """Prints the messages of one job (or of a whole array); `exit_code` is known at the end.

    quiet: no state line and no words of zenkei (`logs`). as_json: every message is a line of JSON.
    output: whether the job's output was asked for. Lines of a member of an array begin with its id.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, output: bool = False) -> None:
        self.job = ""
        self.end: Json = {}
        self.last_id = ""
        self._as_json = as_json
        self._quiet = quiet
        self._asked_output = output
        self._world = 1
        self._attempt = 0
        self._attempts: dict[str, int] = {}
        """Of members of an array, the last one seen."""
        self._tenths = (-1, False)
        self._counts = ""
        self._shown = ""
        self._open_line = {STDOUT: "", STDERR: ""}
        self._said = ""
        self._one = _is_one(sys.stdout, sys.stderr)
        self._live = sys.stderr.isatty() and not as_json and not quiet

    @property
    def exit_code(self) -> int:
        """The code for the shell; 75 if the stream ended without one."""
        return int((self.end.get("exit") or {}).get("code", 75))

    def take(self, message: Message) -> None:
        """Show one message. Raises Failure for an `error` message."""
        data: Json = json.loads(message.data)
        if message.id:
            self.last_id = message.id
        if message.event == "error":
            from zenkei.client.failure import of_answer

            raise of_answer(int(data.get("status", 500)), data)
        if message.event == "job":
            self.job = str(data["id"])
            self._world = int(data.get("world", 1))
        if message.event == "end":
            self.end = data
        if self._as_json:
            print(json.dumps({"event": message.event, **data}, ensure_ascii=False), flush=True)
            return
        handler: Callable[[Json], None] | None = getattr(self, f"_on_{message.event}", None)
        if handler is not None:
            handler(data)

    def _on_job(self, data: Json) -> None:
        for warning in data.get("warnings", ()):
            self._line(f"warning: {warning}")
        if self._said != self.job:
            self._said = self.job
            members = data.get("members") or {}
            many = render.count(sum(members.values()), "member")
            what = f", {many}" if members else ""
            self._line(f"job {self.job} ({data.get('name', '')}{what}) is {data['state']}")
            if members and self._asked_output and not data.get("output", True):
                where = f"`zenkei logs {self.job}.0`, or follow with --output"
                self._line(f"the output of so many members is not shown here: {where}")

    def _on_progress(self, data: Json) -> None:
        self._status(str(data["text"]))

    def _on_state(self, data: Json) -> None:
        if data.get("attempt") and data["attempt"] != self._attempt and data["kind"] == "allocated":
            self._attempt = int(data["attempt"])
            if self._attempt > 1:
                self._line(f"-- attempt {self._attempt} --", always=True)
        if data.get("state"):
            self._status(f"{data['job']} is {data['state']}", tell=False)

    def _on_members(self, data: Json) -> None:
        counts: dict[str, int] = data["members"]
        bad = counts.get("failed", 0) + counts.get("cancelled", 0)
        done = counts.get("succeeded", 0) + bad
        tenths = (done * 10 // max(1, sum(counts.values())), bad > 0)
        # a file is told of each tenth and of the first failure; a terminal sees every change
        self._counts = f"job {self.job}: {render.members(counts)}"
        self._status(self._counts, tell=tenths != self._tenths)
        self._tenths = tenths

    def _on_reason(self, data: Json) -> None:
        hint = f" ({data['hint']})" if data.get("hint") else ""
        self._status(f"job {self.job} waits: {data['text']}{hint}")

    def _on_log(self, data: Json) -> None:
        self._clear()
        member, attempt = data.get("job", ""), int(data.get("attempt", 1))
        if member and attempt != self._attempts.setdefault(member, 1):
            self._attempts[member] = attempt
            self._line(f"-- {member}, attempt {attempt} --")
        for _at_us, rank, stream, flags, text in data["chunks"]:
            self._print(rank, stream, flags, text, f"{member} | " if member else "")
        sys.stdout.flush()
        if member and self._live and self._counts and not any(self._open_line.values()):
            self._status(self._counts)

    def _on_end(self, data: Json) -> None:
        self._finish_lines()
        exit_ = data.get("exit")
        if exit_ is None or self._quiet:
            return
        cause = data.get("cause")
        if cause:
            self._line(f"failed: {cause['text']}")
            if cause["hint"]:
                self._line(f"hint: {cause['hint']}")
        elif data.get("message"):
            self._line(str(data["message"]))
        self._result(data.get("result"))
        if data.get("array") and exit_["code"]:
            counts = render.members(data["members"])
            if self._live or not self._counts.endswith(f": {counts}"):
                self._line(f"array {data['id']}: {counts}")
        whose = "the job's own" if exit_["by"] == "job" else "zenkei's"
        code = f" (exit code {exit_['code']} is {whose})" if exit_["code"] else ""
        subject = "array" if data.get("array") else "job"
        self._line(f"{subject} {data['id']} {exit_['text']}{code}")

    def _result(self, result: Json | None) -> None:
        if not result:
            return
        if result["state"] == "incomplete":
            self._line(f"the result is incomplete: {result['reason']}")
        elif result["files"]:
            what = f"{render.count(result['files'], 'file')}, {render.size(result['size_bytes'])}"
            self._line(f"result kept: {what} (zenkei result {self.job})")

    # -- output of the job ---------------------------------------------------------------------
    def _print(self, rank: int, stream: int, flags: int, text: str, member: str) -> None:
        out = sys.stderr if stream == STDERR else sys.stdout
        # two streams into one terminal are one: an open line of either is ended
        key = STDERR if stream == STDERR and not self._one else STDOUT
        if self._one:
            (sys.stdout if stream == STDERR else sys.stderr).flush()
        moving = bool(flags & PROGRESS)
        if moving and not (out.isatty() and self._world == 1 and not member):
            return
        text = render.harmless(text, progress=moving)
        mark = member + (f"[{rank}] " if self._world > 1 and rank >= 0 else "")
        if rank < 0 and stream not in (STDOUT, STDERR):
            text = f"-- {text.strip()} --\n"
            if self._open_line[key] and not mark:
                text = f"\n{text}"
        elif rank < 0:
            mark = f"{member}[launcher] "
        if mark:
            text = self._marked(text, mark, key)
        out.write(text)
        if moving:
            out.flush()
        self._open_line[key] = "" if text.endswith("\n") else mark or "."

    def _marked(self, text: str, mark: str, key: int) -> str:
        """`mark` before every line; a line that another rank left open is ended first."""
        before = self._open_line[key]
        start = "" if before == mark else mark if not before else "\n" + mark
        body = text.removesuffix("\n").replace("\n", "\n" + mark)
        return start + body + ("\n" if text.endswith("\n") else "")

    def _finish_lines(self) -> None:
        self._clear()
        if self._open_line[STDOUT] and sys.stdout.isatty():
            sys.stdout.write("\n")
        sys.stdout.flush()

    # -- words of zenkei -----------------------------------------------------------------------
    def _status(self, text: str, *, tell: bool = True) -> None:
        """The state line on a terminal; elsewhere a line for each change worth telling."""
        if self._quiet or text == self._shown:
            return
        if self._live:
            sys.stdout.flush()
            # a line that wraps could not be taken back
            shown = render.fit(render.clean(text), max(0, render.columns(sys.stderr) - 1) or 119)
            sys.stderr.write(f"\r\x1b[K{render.paint(shown, '2', sys.stderr)}")
            sys.stderr.flush()
        elif tell:
            self._line(text)
        self._shown = text

    def _clear(self) -> None:
        if self._live and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = ""

    def _line(self, text: str, *, always: bool = False) -> None:
        if (self._quiet and not always) or self._as_json:
            return
        self._clear()
        sys.stdout.flush()
        for line in text.splitlines() or [""]:
            print(f"zenkei: {render.clean(line)}", file=sys.stderr)


def _is_one(first: TextIO, second: TextIO) -> bool:
    """True if both go to the same terminal, file or pipe."""
    try:
        return os.path.samestat(os.fstat(first.fileno()), os.fstat(second.fileno()))
    except (OSError, ValueError):
        return False


def follow(
    client: Client,
    follower: Follower,
    first: Iterator[Message] | None,
    target: str,
    **query: str | int | bool,
) -> None:
    """Show a job's stream to its end, over broken connections. target: path to resume at.

    first: a stream that is open already (of a submit), or None. `{job}` in target is filled in
    when the id is known.
    """
    stream, tries = first, 0
    while True:
        try:
            if stream is None:
                path = target.format(job=follower.job)
                stream = client.stream("GET", path, after=follower.last_id, **query)
            for message in stream:
                tries = 0
                follower.take(message)
                if message.event == "end":
                    return
            raise Disconnected("the daemon ended the stream")
        except Disconnected:
            tries += 1
            if tries > MOST_RECONNECTS or not follower.job:
                raise
            stream = None
            time.sleep(min(0.02 * tries, 1.0))


def detached(job: str, *, as_json: bool) -> int:
    """Ctrl-C leaves the job alone: say how to come back. Exit code 0."""
    if not job:
        raise Failure(
            "interrupted",
            "interrupted before the daemon had accepted the job",
            hint="`zenkei ps` shows whether it was accepted nevertheless",
            exit_code=130,
        )
    if as_json:
        print(json.dumps({"event": "detached", "id": job}), flush=True)
    else:
        print(f"\nzenkei: detached; job {job} goes on", file=sys.stderr)
        print(f"zenkei: come back: zenkei logs -f {job}", file=sys.stderr)
        print(f"zenkei: stop it:   zenkei cancel {job}", file=sys.stderr)
    return 0
