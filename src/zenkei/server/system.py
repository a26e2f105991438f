"""The machine's clock and threads, behind `ports.system`. Made by the composition root."""

from __future__ import annotations

import gc
import heapq
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from zenkei.control.lanes import WIDTH

log = logging.getLogger(__name__)

COLLECT_AFTER: Final = (10_000, 10, 20)
"""Python's own (700, 10, 10) walks through all rows and events in memory again and again while an
array runs, which costs a sixth of the CPU; hardly anything here is in a cycle."""


def collect_rarely() -> None:
    """Set up the garbage collector of this process, once all that stays for good is made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


class SystemClock:
    """Implements ports.system.Clock: the machine's clock, and one thread for appointments."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._count = 0
        self._thread: threading.Thread | None = None

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def call_at(self, at_us: int, call: Callable[[], None]) -> None:
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (at_us, self._count, call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > self.now_us():
                    wait_s = (self._due[0][0] - self.now_us()) / 1e6 if self._due else None
                    self._changed.wait(wait_s)
                call = heapq.heappop(self._due)[2]
            try:
                call()
            except Exception:
                log.exception("appointment failed")


class ThreadWorkers:
    """Implements ports.system.Workers: threads for each lane, started when they are needed.

    They are daemon threads: what a stopped daemon leaves undone is in the outbox.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, queue.SimpleQueue[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        with self._lock:
            if lane not in self._lanes:
                self._lanes[lane] = queue.SimpleQueue()
                for i in range(WIDTH.get(lane, 1)):
                    name = f"lane-{lane}-{i}"
                    threading.Thread(
                        target=self._run, args=(self._lanes[lane],), name=name, daemon=True
                    ).start()
        self._lanes[lane].put(work)

    def _run(self, waiting: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            work = waiting.get()
            try:
                work()
            except Exception:
                log.exception("work failed")
