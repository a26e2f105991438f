"""The engine's line to its warm agent. Called by `engine` to start supervisors, never to wait.

The agent is a child of this process, in a session of its own, and outlives it while its supervisors
live. If it cannot be reached a new one is started; if that fails, the supervisor is started alone.
One that does not read its orders (stopped, or stuck in the kernel) is killed and replaced: no job
ends of that.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from zenkei.model.errors import TemporaryEngineError
from zenkei.protocol import wire

STUCK_S = 3.0
"""An agent that has read nothing for so long, although it was told something, is replaced."""
_log = logging.getLogger(__name__)


class AgentLink:
    """Thread-safe. warm False: every supervisor in a fresh interpreter, for tests."""

    def __init__(
        self, archive: Path, *, log: Path, warm: bool = True, without: tuple[str, ...] = ()
    ) -> None:
        self._archive = archive
        self._log = log
        self._warm = warm
        self._without = without
        self._lock = threading.Lock()
        self._agent: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._loose: list[subprocess.Popen[bytes]] = []
        self._unread = 0
        self._read_at = 0.0

    @property
    def archive(self) -> Path:
        """The agent's one file."""
        return self._archive

    @property
    def agent_pid(self) -> int:
        """The warm agent's process id; 0 if there is none."""
        return self._agent.pid if self._agent is not None else 0

    def supervise(
        self,
        directory: Path,
        secrets: Mapping[str, bytes],
        tree: str = "",
        *,
        again: bool = False,
    ) -> None:
        """See that the attempt in `directory` has a supervisor. Raises TemporaryEngineError.

        tree: its mark, if the supervisor may be born in the tree's control group (no limits there).
        again: it was asked for seconds ago, and there is none.
        """
        encoded = {name: base64.b64encode(value).decode() for name, value in secrets.items()}
        order = json.dumps({"dir": str(directory), "secrets": encoded, "tree": tree}).encode()
        message = wire.frame(wire.SUPERVISE, order)
        with self._lock:
            if again and self._is_stuck():
                self._end_agent()
            if not self._warm or not self._send(message):
                self._supervise_alone(message)

    def start(self) -> None:
        """Start the warm agent ahead of the first launch."""
        with self._lock:
            if self._warm and self._line is None:
                self._start_agent()

    def _send(self, message: bytes) -> bool:
        """Two tries: the agent may have died since the last launch."""
        for _ in range(2):
            if self._line is None and not self._start_agent():
                return False
            assert self._line is not None
            self._note_reading()
            try:
                self._line.sendall(message)
            except TimeoutError:
                self._end_agent()
                continue
            except OSError:
                self._drop_agent()
                continue
            self._unread = _unread_bytes(self._line)
            return True
        return False

    def _note_reading(self) -> None:
        """It reads if less is unread than after the last order; many orders are no fault."""
        assert self._line is not None
        left = _unread_bytes(self._line)
        if not left or left < self._unread:
            self._read_at = time.monotonic()
        self._unread = left

    def _is_stuck(self) -> bool:
        if self._line is None:
            return False
        self._note_reading()
        return self._unread > 0 and time.monotonic() - self._read_at > STUCK_S

    def _start_agent(self) -> bool:
        ours, theirs = socket.socketpair()
        try:
            self._agent = self._run("serve", theirs)
        except OSError:
            ours.close()
            return False
        finally:
            theirs.close()
        # a supervisor is not to wait for an agent that does not read any more
        ours.settimeout(STUCK_S)
        self._line = ours
        self._unread, self._read_at = 0, time.monotonic()
        return True

    def _supervise_alone(self, message: bytes) -> None:
        ours, theirs = socket.socketpair()
        self._loose = [process for process in self._loose if process.poll() is None]
        try:
            self._loose.append(self._run("supervise", theirs))
            ours.sendall(message)
        except OSError as error:
            raise TemporaryEngineError(f"no supervisor could be started: {error}") from error
        finally:
            ours.close()
            theirs.close()

    def _run(self, verb: str, line: socket.socket) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(self._archive), verb, *self._without],
                stdin=line.fileno(),
                stdout=log,
                stderr=log,
                cwd=self._archive.parent,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                start_new_session=True,
            )

    def _end_agent(self) -> None:
        """It does not read. Its supervisors live on; what it was told is told its successor."""
        if self._agent is not None:
            _log.warning("the warm agent does not answer and is replaced pid=%d", self._agent.pid)
            self._agent.kill()
            self._loose.append(self._agent)  # reaped with the others
        self._drop_agent()

    def _drop_agent(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._agent is not None:
            self._agent.poll()
            self._agent = None

    def close(self, *, wait_s: float = 0.0) -> None:
        """Let the agent go; it ends with its last supervisor. wait_s: wait so long for that."""
        with self._lock:
            agent = self._agent
            self._drop_agent()
            loose, self._loose = self._loose, []
        for process in [*loose, *([agent] if agent is not None else [])]:
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                # it goes on for its jobs and is somebody else's child from now on
                process.returncode = 0


def _unread_bytes(line: socket.socket) -> int:
    """What was sent and not read (the kernel's account of it); 0 if the other end is gone."""
    try:
        found: int = struct.unpack("i", fcntl.ioctl(line, termios.TIOCOUTQ, b"\0" * 4))[0]
    except OSError:
        return 0
    return found
