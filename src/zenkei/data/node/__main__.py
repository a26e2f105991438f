"""The node helper: `python -m zenkei.data.node`, one request as a line of JSON on standard input.

Started by the agent, the control plane and people with a shell on the node. Answers in lines of
JSON: any number of {"progress": {"what", "done", "total", "bytes"}}, then one {"ok": …} or
{"error": {"code", "message", "hint", "details", "kind"}}; it ends with 0 or 1. Requests:

    {"do": "prefetch", "cache": DIR, "depot": LOCATION, "digest": D, "budget_bytes": n,
        "link": bool} → what the version is
    {"do": "mount", …the same, "holder": TEXT, "copy_to": DIR | null, "means": [names] | null,
        "pid": n | null, "key": FILE, "ticket": T, "attempt": A, "split": SPLIT | null}
        → {"path", "kind": "erofs" | "copy" | "reference", "why", "rungs", "index", "seconds", …}
    {"do": "release", "cache": DIR, "holder": TEXT} → {"released": [D], "unmounted": [D]}
    {"do": "ls", "cache": DIR} → {"versions": […], "bytes", "held_bytes"}
    {"do": "evict", "cache": DIR, "bytes": n} → {"removed_bytes"}

SIGTERM: it cleans up and ends. SIGKILL: nothing is damaged, the repeat finishes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

from zenkei.model.errors import InvalidInput, Unavailable, ZenkeiError

PROGRESS_EVERY_S: Final = 0.2
VERBS: Final = ("prefetch", "mount", "release", "ls", "evict")


class Speaker:
    """Lines to whoever asked. Once that one is gone, nobody hears them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_s = -PROGRESS_EVERY_S

    def progress(self, what: str, done: int, total: int | None, count: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._last_s < PROGRESS_EVERY_S:
                return
            self._last_s = now_s
        self.say({"progress": {"what": what, "done": done, "total": total, "bytes": count}})

    def say(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            try:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                # what would be flushed at exit goes nowhere, silently
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                signal.raise_signal(signal.SIGTERM)


def main() -> int:
    speaker = Speaker()
    try:
        values = _read(sys.stdin.buffer.readline())
        speaker.say({"ok": _answer(values, speaker)})
    except ZenkeiError as error:
        speaker.say({"error": _body(error)})
        return 1
    return 0


def _answer(values: Mapping[str, Any], speaker: Speaker) -> Mapping[str, Any]:
    # NumPy is loaded after the request was looked at
    from zenkei.data.node.cache import Stopped
    from zenkei.data.node.request import Request
    from zenkei.data.node.service import Node

    node = Node(Request(values), speaker.progress)

    def stop(_number: int, _frame: FrameType | None) -> None:
        node.cache.stopping.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    try:
        found: Mapping[str, Any] = getattr(node, values["do"])(Request(values))
    except Stopped:
        raise Unavailable("interrupted", "the node helper was told to end") from None
    return found


def _read(line: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or values.get("do") not in VERBS:
        raise InvalidInput(
            "bad-request",
            f"the request begins {line[:60]!r}",
            hint=f'send one line of JSON with "do": one of {", ".join(VERBS)}',
        )
    return values


def _body(error: ZenkeiError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "details": error.details,
        "kind": type(error).__name__,
    }


if __name__ == "__main__":
    sys.exit(main())
