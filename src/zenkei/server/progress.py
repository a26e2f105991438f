"""What is being prepared, in words, for whoever follows; kept in memory only.

`say` is called by workers that resolve and build environments, `after` by followers. Bounded: the
last LINES lines of the last NUMBERS submissions.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

LINES = 50
NUMBERS = 500


class ProgressBoard:
    """Lines by submission number. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: OrderedDict[int, deque[tuple[int, str]]] = OrderedDict()
        self._count = 0
        self._wakes: dict[int, Callable[[], None]] = {}

    def say(self, number: int, line: str) -> None:
        """Add a line and wake the followers."""
        with self._lock:
            self._count += 1
            lines = self._lines.setdefault(number, deque(maxlen=LINES))
            lines.append((self._count, line))
            self._lines.move_to_end(number)
            while len(self._lines) > NUMBERS:
                self._lines.popitem(last=False)
            wakes = list(self._wakes.values())
        for wake in wakes:
            wake()

    def after(self, number: int, position: int) -> tuple[list[str], int]:
        """Lines after `position` (0: all that are kept), and where to go on."""
        with self._lock:
            new = [(n, line) for n, line in self._lines.get(number, ()) if n > position]
        return [line for _n, line in new], new[-1][0] if new else position

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after every line, from any thread; returns what ends that."""
        with self._lock:
            self._count += 1
            key = self._count
            self._wakes[key] = wake

        def unsubscribe() -> None:
            with self._lock:
                self._wakes.pop(key, None)

        return unsubscribe
