"""Implements `ports.datasets.DataWorks`: each order in a process of its own. Named by `app`.

The worker speaks lines of JSON (`data.versions.__main__`, `data.node.__main__`). It is ended when
whoever asked goes away. Cost: about 0.15 s to start one; nothing of its work in this process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from zenkei.model import errors
from zenkei.model.errors import Unavailable, ZenkeiError

log = logging.getLogger("zenkei.data")
END_WITHIN_S = 10.0
MOST_LOGGED_BYTES = 20_000
NOT_PASSED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT")


class ProcessWorks:
    """module: run with this interpreter, isolated from the user's own Python settings."""

    def __init__(self, module: str = "zenkei.data.versions") -> None:
        self._module = module

    def run(
        self, order: Mapping[str, Any], said: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        with tempfile.TemporaryFile() as trouble:
            process = self._start(trouble)
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(json.dumps(order).encode() + b"\n")
                answer = _listen(process, said)
                process.wait()
            finally:
                _end(process)
            if "ok" in answer:
                found: Mapping[str, Any] = answer["ok"]
                return found
            if "error" in answer:
                _log_defect(order, trouble)
                raise error_of(answer["error"])
            raise self._died(order, process.returncode, trouble)

    def _start(self, trouble: IO[bytes]) -> subprocess.Popen[bytes]:
        environ = {k: v for k, v in os.environ.items() if k not in NOT_PASSED}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=trouble,
            env=environ,
            cwd="/",
            start_new_session=True,
        )

    def _died(self, order: Mapping[str, Any], code: int, trouble: IO[bytes]) -> ZenkeiError:
        trouble.seek(max(0, trouble.seek(0, os.SEEK_END) - 2000))
        told = trouble.read().decode("utf-8", "replace").strip().splitlines()
        why = told[-1] if told else f"it ended with {code} and said nothing"
        return Unavailable(
            "worker-died",
            f"the process that did `{order.get('do')}` ended early: {why}",
            hint="nothing that was stored is damaged; try again",
            details={"exit": code},
        )


def _log_defect(order: Mapping[str, Any], trouble: IO[bytes]) -> None:
    """Of its errors a worker writes to stderr only what is a defect."""
    trouble.seek(max(0, trouble.seek(0, os.SEEK_END) - MOST_LOGGED_BYTES))
    told = trouble.read().decode("utf-8", "replace").strip()
    if told:
        log.error("the process that did `%s` tells of a defect:\n%s", order.get("do"), told)


def error_of(body: Mapping[str, Any]) -> ZenkeiError:
    """The error that a worker reported, of its class: that says whether another try may help."""
    kind = getattr(errors, str(body["kind"]), None)
    cls: type[ZenkeiError] = errors.InternalError
    if isinstance(kind, type) and issubclass(kind, ZenkeiError):
        cls = kind
    return cls(
        str(body["code"]),
        str(body["message"]),
        hint=str(body.get("hint", "")),
        details=body.get("details") or {},
    )


def _listen(
    process: subprocess.Popen[bytes], said: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Any]:
    """The last line that is an answer; progress is passed on."""
    answer: Mapping[str, Any] = {}
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if "progress" in message:
            said(message["progress"])
        else:
            answer = message
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
