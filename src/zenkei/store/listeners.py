"""Who hears of commits, in commit order. Called by every store right after it has committed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from zenkei.ports.store import Committed

_LOG = logging.getLogger(__name__)


class Listeners:
    """Tell everyone of each commit. A listener that raises is logged and stops nobody else."""

    def __init__(self) -> None:
        self._all: list[Callable[[Committed], None]] = []
        self._untold: deque[Committed] = deque()
        self._telling = False

    def add(self, listener: Callable[[Committed], None]) -> None:
        # a new list: `tell` may be walking through the old one on another thread
        self._all = [*self._all, listener]

    def tell(self, committed: Committed) -> None:
        """In order even if a listener commits in turn: its commit is told after this one."""
        self._untold.append(committed)
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                self._tell_all(self._untold.popleft())
        finally:
            self._telling = False

    def _tell_all(self, committed: Committed) -> None:
        for listener in self._all:
            try:
                listener(committed)
            except Exception:  # noqa: BLE001 - a listener's defect is not the writer's
                _LOG.exception("a listener of the store failed at seq %d", committed.seq)
