"""Ports at which ranks meet, leased to one attempt at a time.

Called by `engine` before a launch and by `runs` when an attempt is loaded or forgotten. Ports lie
outside the range from which the kernel gives ports to anybody who asks for none in particular, and
below the one that Kubernetes gives to services. Where to begin looking is told by the attempt and
the home: a try after one that failed over its port gets another, and two homes on one machine
rarely meet. Thread-safe. Cost: one bind.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from pathlib import Path
from threading import Lock
from typing import Final

from zenkei.model.errors import TemporaryEngineError
from zenkei.model.ids import AttemptId

FIRST: Final = 20_000
BELOW: Final = 30_000
LEAST: Final = 1_000
"""So few ports are not worth keeping out of the kernel's range for."""
_KERNELS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """home: of this engine."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._lock = Lock()
        self._of: dict[AttemptId, int] = {}

    def lease(self, attempt: AttemptId, *, look: bool) -> int:
        """The attempt's port, until `end`. look: skip those that are in use on this machine.

        Raises TemporaryEngineError.
        """
        with self._lock:
            if attempt in self._of:
                return self._of[attempt]
            span = kernel_free(_kernel_range())
            taken = set(self._of.values())
            start = self._start(attempt) % len(span)
            order: list[int] = [*span[start:], *span[:start]]
            for port in order:
                if port not in taken and (not look or is_free(port)):
                    self._of[attempt] = port
                    return port
        raise TemporaryEngineError(f"no port from {span[0]} to {span[-1]} is free", delay_s=10.0)

    def keep(self, attempt: AttemptId, port: int) -> None:
        """An attempt of an earlier engine has it."""
        if port:
            with self._lock:
                self._of[attempt] = port

    def end(self, attempt: AttemptId) -> None:
        with self._lock:
            self._of.pop(attempt, None)

    def _start(self, attempt: AttemptId) -> int:
        text = f"{self._home}\0{attempt}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")


def kernel_free(kernels: tuple[int, int]) -> range:
    """Ports that the kernel does not hand out itself; it hands out kernels[0] to kernels[1]."""
    low, high = kernels
    if min(low, BELOW) - FIRST >= LEAST:
        return range(FIRST, min(low, BELOW))
    if 65_535 - high >= LEAST:
        return range(high + 1, 65_536)
    return range(FIRST, 65_536)


def _kernel_range() -> tuple[int, int]:
    try:
        low, high = _KERNELS.read_text(encoding="ascii").split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32_768, 60_999


def is_free(port: int) -> bool:
    """Whether nobody has it on any address of this machine."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            with socket.socket(family) as sock:
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True
