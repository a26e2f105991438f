"""The noticing thread: a datagram wakes it, it reads spools, it wakes the controller.

Records are written before the datagram; datagrams are drained until there are none; a drain as long
as the kernel's queue may have lost some, so all attempts in flight are read; a slow rescan runs
while something runs, whoever else reports how often; one scan at start. Idle, it sleeps without a
time-out.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from zenkei.engines.local.layout import Layout
from zenkei.engines.local.runs import Runs
from zenkei.model.errors import EngineError, InvalidInput, ZenkeiError
from zenkei.model.ids import AttemptId

SLOW_RESCAN_S = 2.0
_QUEUE = "/proc/sys/net/unix/max_dgram_qlen"
_log = logging.getLogger(__name__)


class Watch:
    """`start` may be called often; `close` ends the thread."""

    def __init__(self, layout: Layout, runs: Runs) -> None:
        self._layout = layout
        self._runs = runs
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._asleep = False
        self._look_at = 0.0
        self._troubled: set[AttemptId] = set()
        with open(_QUEUE, encoding="ascii") as file:
            self._queue = int(file.read())

    def start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closing:
                return
            self._socket = self._bind()
            self._runs.load_active()
            for attempt in self._runs.unreleased():
                self._scan(attempt)
            self._thread = threading.Thread(target=self._run, name="engine-local", daemon=True)
            self._thread.start()

    def _bind(self) -> socket.socket:
        """The name of an earlier engine's socket is taken over: the state lock keeps us single."""
        self._layout.wake.unlink(missing_ok=True)
        directory = os.open(self._layout.attempts, os.O_PATH | os.O_DIRECTORY)
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # a path through the descriptor is short, however long the directory's is
            sock.bind(f"/proc/self/fd/{directory}/{self._layout.wake.name}")
        finally:
            os.close(directory)
        return sock

    def poke(self, attempt: AttemptId) -> None:
        """As if a supervisor had reported."""
        self._send(f"{attempt}/0".encode())

    def rouse(self, attempt: AttemptId) -> None:
        """There is something to look after from now on, although nothing may ever be heard of it:

        the agent that was to start its supervisor can die before it does.
        """
        if self._asleep:
            self.poke(attempt)

    def _send(self, message: bytes) -> None:
        directory = os.open(self._layout.attempts, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message, f"/proc/self/fd/{directory}/{self._layout.wake.name}")
        except OSError:
            # the queue is full: the thread will rescan everything
            pass
        finally:
            os.close(directory)

    def close(self) -> None:
        with self._lock:
            self._closing = True
            thread = self._thread
        if thread is not None:
            self._send(b"")
            thread.join(10.0)
        if self._socket is not None:
            self._socket.close()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        self._look_after()
        self._runs.announce()
        while not self._closing:
            try:
                self._round()
            except (OSError, EngineError):
                _log.exception("noticing failed; it goes on with the next round")

    def _round(self) -> None:
        assert self._socket is not None
        # in this order: what is committed from here on is either seen to be busy, or rouses
        self._asleep = True
        self._asleep = not self._runs.busy
        self._socket.settimeout(None if self._asleep else SLOW_RESCAN_S)
        try:
            named = self._drain(self._socket.recv(256))
        except TimeoutError:
            named = None
        self._asleep = False
        is_due = time.monotonic() >= self._look_at
        if named is None or is_due:
            named = set(self._runs.unreleased())
        fresh = [self._scan(attempt) for attempt in named]
        if is_due:
            fresh += self._look_further()
        if any(fresh):
            self._runs.announce()

    def _scan(self, attempt: AttemptId) -> bool:
        """One attempt's trouble (a damaged record, a defect) must not keep the others waiting."""
        try:
            return self._runs.scan(attempt)
        except Exception:  # noqa: BLE001 - logged once for each attempt
            if attempt not in self._troubled:
                self._troubled.add(attempt)
                _log.exception("records of attempt %s cannot be read", attempt)
            return False

    def _look_further(self) -> list[bool]:
        """Dead supervisors, signs of life, fences: however busy the socket is. True for news."""
        self._look_at = time.monotonic() + SLOW_RESCAN_S
        self._look_after()
        return [self._runs.listen(), self._runs.look_after_fences()]

    def _drain(self, first: bytes) -> set[AttemptId] | None:
        """The attempts that are named; None if some names may have been lost."""
        assert self._socket is not None
        messages = [first]
        self._socket.setblocking(False)
        try:
            while True:
                messages.append(self._socket.recv(256))
        except BlockingIOError:
            pass
        if len(messages) >= self._queue:
            return None
        return {attempt for message in messages if (attempt := _attempt(message)) is not None}

    def _look_after(self) -> None:
        """Nodes whose supervisor has died, or was never started by an engine that died."""
        for attempt in self._runs.unreleased():
            try:
                self._runs.revive(attempt)
            except (EngineError, ZenkeiError, OSError):
                # one attempt's trouble must not keep the others waiting
                _log.exception("attempt %s has no supervisor, and none could be started", attempt)


def _attempt(message: bytes) -> AttemptId | None:
    try:
        return AttemptId.parse(message.decode("ascii").rpartition("/")[0])
    except (UnicodeDecodeError, InvalidInput):
        return None
