"""What works and what does not, shown by /v1/health and /metrics."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zenkei.model.errors import ZenkeiError
from zenkei.ports.store import Store

log = logging.getLogger(__name__)

STALE_STEP_S = 60.0


def disk_guard(home: Path, *, min_free_bytes: int, min_free_percent: float) -> str:
    """Why nothing may start now; empty if there is room. Cost: one statvfs."""
    found = shutil.disk_usage(home)
    least = max(min_free_bytes, int(found.total * min_free_percent / 100))
    if found.free >= least:
        return ""
    return (
        f"only {found.free >> 20} MiB are free on the disk of {home}, "
        f"{least >> 20} MiB are kept free; `zenkei prune` makes room"
    )


class Health:
    """Gathers the state of the parts.

    stepped_us: when the controller last ended a step. trouble: why it does not.
    """

    def __init__(
        self,
        *,
        home: Path,
        version: str,
        store: Store,
        in_flight: Callable[[], int],
        stepped_us: Callable[[], int],
        trouble: Callable[[], str],
        guard: Callable[[], str],
    ) -> None:
        self._home = home
        self._version = version
        self._store = store
        self._in_flight = in_flight
        self._guard = guard
        self._started_us = time.time_ns() // 1000
        self._stepped_us = stepped_us
        self._trouble = trouble

    def __call__(self) -> dict[str, Any]:
        """What works and what does not. Never raises: a broken store is an answer."""
        problems = []
        jobs: dict[str, int] = {}
        seq = 0
        try:
            jobs = {str(state): count for state, count in self._store.counts().items()}
            seq = self._store.seq()
        except ZenkeiError as error:
            problems.append(f"the store does not answer: {error}")
        except Exception as error:
            log.exception("health: store failed")
            problems.append(f"the store does not answer: {type(error).__name__}")
        last_us = self._stepped_us() or self._started_us
        step_age_s = (time.time_ns() // 1000 - last_us) / 1e6
        if step_age_s > STALE_STEP_S:
            problems.append(f"the controller has not finished a step for {step_age_s:.0f} s")
        trouble = self._trouble()
        if trouble:
            problems.append(f"nothing that happens is recorded at present: {trouble}")
        guard = self._guard()
        disk = shutil.disk_usage(self._home)
        return {
            "ok": not problems,
            "problems": problems + ([guard] if guard else []),
            "version": self._version,
            "pid": os.getpid(),
            "home": str(self._home),
            "started_us": self._started_us,
            "step_age_s": step_age_s,
            "seq": seq,
            "jobs": jobs,
            "effects_in_flight": self._in_flight(),
            "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
            "memory_bytes": _memory_bytes(),
        }


def _memory_bytes() -> int:
    fields = Path("/proc/self/statm").read_text("ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
