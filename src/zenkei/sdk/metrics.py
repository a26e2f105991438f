"""Metrics and progress: one small append per call, seen at once by whoever follows the job.

A report costs one system call (about 5 µs). What cannot be written (a full disk) is counted and
said once on stderr: a metric must not end a training.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, Mapping

from zenkei.protocol import metrics as wire
from zenkei.sdk.context import context


class _Sink:
    """The rank's metrics file; opened at the first report, again in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        self._pid = 0
        self._named: set[str] = set()
        self._lost = 0

    def write(self, values: Mapping[str, float], step: int) -> None:
        with self._lock:
            if not self._open():
                return
            at_us = time.time_ns() // 1000
            parts = []
            for name, value in values.items():
                if name not in self._named:
                    parts.append(wire.encode_name(name))
                parts.append(wire.encode_point(at_us, step, value, wire.name_key(name)))
            try:
                os.write(self._fd, b"".join(parts))
                self._named.update(values)
            except OSError as error:
                self._lost += 1
                if self._lost == 1:
                    sys.stderr.write(f"zenkei: metrics are lost: {error}\n")

    def _open(self) -> bool:
        if self._pid == os.getpid():
            return self._fd >= 0
        self._pid, self._fd, self._named = os.getpid(), -1, set()
        here = context()
        if not here.metrics_dir:
            return False
        path = os.path.join(here.metrics_dir, str(here.rank))
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            torn = os.fstat(self._fd).st_size % wire.SIZE
            if torn:  # a process died in the middle of a write: keep the records aligned
                os.write(self._fd, b"\0" * (wire.SIZE - torn))
        except OSError as error:
            sys.stderr.write(f"zenkei: metrics cannot be kept in {path}: {error}\n")
        return self._fd >= 0


_sink = _Sink()


def report(values: Mapping[str, Any] | None = None, step: int | None = None, **named: Any) -> None:
    """Record metrics: `report(step=10, loss=0.3)` or `report({"loss/train": 0.3}, step=10)`.

    Values are numbers or anything that `float()` takes (a NumPy scalar, a one-element tensor); NaN
    is kept. Raises TypeError for what is not a number. Outside a job it only checks its arguments.
    """
    floats: dict[str, float] = {}
    for name, value in {**(values or {}), **named}.items():
        try:
            floats[str(name)] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"report: {name} is {value!r}, which is not a number") from None
        wire.encode_name(str(name))
    if floats:
        _sink.write(floats, wire.NO_STEP if step is None else int(step))


def progress(done: float, step: int | None = None) -> None:
    """How far the program is, from 0 to 1; shown by `zenkei ps` and used to estimate the end."""
    report({wire.PROGRESS: min(1.0, max(0.0, float(done)))}, step=step)
