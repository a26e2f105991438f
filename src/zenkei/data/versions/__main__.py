"""`python -m zenkei.data.versions`: one request as a line of JSON on stdin, answers as lines.

Called by whoever must not spend its own time on a million files (the daemon, a person's command).
Any number of `{"progress": {"what", "done", "total", "bytes"}}`, at most five a second, then one
`{"ok": {…}}` or `{"error": {"code", "message", "hint", "details", "kind"}}`; exit code 0 or 1.
stderr has tracebacks of defects only. SIGTERM: cleans up and ends. SIGKILL: nothing is damaged.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, NoReturn

from zenkei.data.versions import requests
from zenkei.model.errors import InternalError, InvalidInput, ZenkeiError

INTERVAL_S: Final = 0.2
MAX_REQUEST_BYTES: Final = 64 << 20


class _Progress:
    def __init__(self) -> None:
        self._last_s = 0.0

    def __call__(self, what: str, done: int, total: int | None, size: int) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < INTERVAL_S:
            return
        self._last_s = now_s
        _say({"progress": {"what": what, "done": done, "total": total, "bytes": size}})


def _say(value: object) -> None:
    # paths are bytes that JSON cannot have: surrogates are escaped, and come back as they were
    sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def _terminated(signum: int, frame: object) -> NoReturn:
    raise SystemExit(1)


def main(answer: Callable[[dict[str, Any], Callable[..., None]], dict[str, Any]]) -> int:
    """Also of other rooms' processes that speak like this one."""
    signal.signal(signal.SIGTERM, _terminated)
    logging.getLogger("zenkei").addHandler(logging.NullHandler())  # stderr is for defects
    try:
        done = answer(_request(), _Progress())
    except ZenkeiError as error:
        return _failed(error)
    except Exception:  # noqa: BLE001 - told as a defect
        traceback.print_exc()
        return _failed(
            InternalError(
                "internal",
                "a defect in the work on content",
                hint="the traceback is in the log of who asked",
            )
        )
    _say({"ok": done})
    return 0


def _request() -> dict[str, Any]:
    line = sys.stdin.readline(MAX_REQUEST_BYTES)
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise InvalidInput(
            "bad-request", "the request is not one JSON object in a line", hint="see the module"
        )
    return request


def _failed(error: ZenkeiError) -> int:
    body = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "details": error.details,
        "kind": type(error).__name__,
    }
    _say({"error": body})
    return 1


if __name__ == "__main__":
    raise SystemExit(main(requests.answer))
