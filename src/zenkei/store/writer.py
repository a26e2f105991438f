"""The one thread that writes: blocks for one unit, takes what else waits, never waits for more.

Called by `sql.SqlStore.submit` from any thread. Promise: units reach `run` in the order of
`submit`, at most about MAX_WEIGHT rows' worth at a time; `close` returns when all have been run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from zenkei.model.errors import Unavailable
from zenkei.store.units import Pending

MAX_WEIGHT: Final = 1000


class Writer:
    """Group commit: `run` gets one batch after the other, on one thread."""

    def __init__(self, run: Callable[[Sequence[Pending]], None], *, name: str) -> None:
        self._run = run
        self._queue: SimpleQueue[Pending | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, pending: Pending) -> None:
        with self._closing:
            if self._closed:
                raise Unavailable("store-closed", "the store is closed")
            self._queue.put(pending)

    def close(self) -> None:
        """Run what waits, then end. May be called twice."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            batch, last = self._take()
            # a future that its owner has cancelled is not run
            batch = [p for p in batch if p.future.set_running_or_notify_cancel()]
            if batch:
                self._run(batch)

    def _take(self) -> tuple[list[Pending], bool]:
        """At least one unit, and whether it is the last time."""
        batch: list[Pending] = []
        weight = 0
        pending = self._queue.get()
        while pending is not None:
            batch.append(pending)
            weight += pending.weight
            if weight >= MAX_WEIGHT:
                return batch, False
            try:
                pending = self._queue.get_nowait()
            except Empty:
                return batch, False
        return batch, True
