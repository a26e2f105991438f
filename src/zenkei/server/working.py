"""Long work for one client: progress while it goes on, its end as the last event.

Called by routes that start work in processes of their own. When the client goes away the work is
ended: the next thing it says raises. Events: `begin`, `progress`, `done`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio.to_thread
from starlette.responses import Response

from zenkei.server.sse import KEEP_ALIVE, Sse, stream

QUIET_S = 15.0
Said = Callable[[Mapping[str, Any]], None]


class Gone(Exception):
    """Nobody listens any more."""


async def work(what: str, do: Callable[[Said], Any]) -> Response:
    """Run `do(said)` on a thread. An error before the first progress has a status of its own."""
    return await stream(None, _messages(do), what)


async def _messages(do: Callable[[Said], Any]) -> AsyncIterator[Sse]:
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    gone = threading.Event()

    def said(progress: Mapping[str, Any]) -> None:
        if gone.is_set():
            raise Gone
        told.put(("progress", progress))

    def run() -> None:
        try:
            told.put(("done", do(said)))
        except Gone:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the client hears of it
            told.put(("error", error))

    def following() -> tuple[str, Any]:
        try:
            return told.get(timeout=QUIET_S)
        except queue.Empty:
            return "", None

    threading.Thread(target=run, name="dataset-work", daemon=True).start()
    try:
        while True:
            kind, value = await anyio.to_thread.run_sync(following, abandon_on_cancel=True)
            if kind == "error":
                raise value
            yield Sse(kind, value) if kind else KEEP_ALIVE
            if kind == "done":
                return
    finally:
        gone.set()
