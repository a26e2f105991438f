"""Runs one program of the builder's: clean environment, limits, killed as a group, lines masked.

Called by `locking` and `realising`, from any thread; returns when the program and all that it
started in its session are gone. Linux: the program also dies with the thread that started it
(`setpriv --pdeathsig`, where there is one), so a killed daemon leaves no resolver behind.
"""

from __future__ import annotations

import os
import re
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from zenkei.model.errors import Unavailable

NICENESS: Final = 5
MOST_BYTES: Final = 64 << 20
MOST_LINES: Final = 400
LINE_CHARS: Final = 2_000
_UNSHOWABLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """code: exit status, negative for a signal. lines: the last ones, masked, harmless to show."""

    code: int
    lines: tuple[str, ...]
    timed_out: bool = False
    too_long: bool = False


class Children:
    """All programs that run now, so that `stop` can end them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        setpriv = shutil.which("setpriv", path="/usr/local/bin:/usr/bin:/bin")
        self._prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []

    def stop(self) -> None:
        """End everything and start nothing any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout_s: float,
        mask: Callable[[str], str],
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Outcome:
        """Raises Unavailable if the builder is being stopped."""
        with self._lock:
            if self._stopped:
                raise _stopping()
            process = subprocess.Popen(
                [*self._prefix, *argv],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            outcome = _follow(process, timeout_s, mask, on_line)
        finally:
            _kill(process)
            process.wait()
            if process.stdout:
                process.stdout.close()
            with self._lock:
                self._running.discard(process)
                stopped = self._stopped
        if stopped:
            raise _stopping()
        return outcome


def _stopping() -> Unavailable:
    return Unavailable("stopping", "zenkei is stopping; the environment is built after its start")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole session; its leader is not reaped yet or its group is gone, so no other is hit."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _follow(
    process: subprocess.Popen[bytes],
    timeout_s: float,
    mask: Callable[[str], str],
    on_line: Callable[[str], None],
) -> Outcome:
    """Read until the program ends; a grandchild that keeps the pipe open does not delay the end."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    deadline = time.monotonic() + timeout_s
    lines: deque[str] = deque(maxlen=MOST_LINES)
    rest, total, ended, timed_out = b"", 0, False, False
    death = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(death, selectors.EVENT_READ)
        try:
            while not ended and total <= MOST_BYTES:
                left = deadline - time.monotonic()
                timed_out = left <= 0
                if timed_out:
                    break
                ready = {key.fd for key, _ in selector.select(left)}
                ended = death in ready
                for chunk in _chunks(pipe):
                    total += len(chunk)
                    *whole, rest = re.split(rb"[\r\n]", rest + chunk)
                    rest = rest[-LINE_CHARS:]
                    for line in whole:
                        _keep(line, lines, mask, on_line)
                if not ended and pipe in ready and _closed(pipe):
                    selector.unregister(pipe)
        finally:
            os.close(death)
    _keep(rest, lines, mask, on_line)
    code = _exit_code(process) if ended else -signal.SIGKILL
    return Outcome(code=code, lines=tuple(lines), timed_out=timed_out, too_long=total > MOST_BYTES)


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Without reaping, so that the group can still be killed by its number."""
    info = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if info is None:
        return 0
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def _chunks(pipe: int) -> list[bytes]:
    """What can be read now, 1 MiB at most."""
    chunks = []
    with suppress(BlockingIOError):
        for _ in range(16):
            chunk = os.read(pipe, 65536)
            if not chunk:
                break
            chunks.append(chunk)
    return chunks


def _closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _keep(
    raw: bytes, lines: deque[str], mask: Callable[[str], str], on_line: Callable[[str], None]
) -> None:
    line = _UNSHOWABLE.sub("", mask(raw.decode("utf-8", "replace"))).rstrip()[:LINE_CHARS]
    if line:
        lines.append(line)
        on_line(line)
