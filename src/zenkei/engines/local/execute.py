"""A command beside the ranks of a running attempt, through its supervisor's control socket.

Implements `ports.upkeep.Execute`. The supervisor starts it inside the attempt's tree: with the
variables of one rank of the node, in the working directory, under the attempt's limits. It ends
when the attempt ends, or when the caller closes it. Its input is at most what a pipe holds: the
supervisor, which looks after all ranks of the node, never waits for a command to read.
"""

from __future__ import annotations

import os
import shlex
import socket
import struct
from pathlib import Path

from zenkei.engines.local.layout import Layout
from zenkei.model.errors import Conflict, InvalidInput
from zenkei.model.ids import AttemptId
from zenkei.protocol import names, wire

MOST_INPUT = 60_000
_KINDS = {wire.OUT: "out", wire.ERR: "err"}


class LocalExecute:
    """Callable like `ports.upkeep.Execute`."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home)

    def __call__(
        self, attempt: AttemptId, node: int, local: int, argv: tuple[str, ...], given: bytes
    ) -> Command:
        if len(given) > MOST_INPUT:
            raise InvalidInput(
                "input-too-long",
                f"{len(given)} bytes of input for a command, the limit is {MOST_INPUT}",
                hint="write a file into the job's directory, and read that",
            )
        sock = _connect(self._layout.node(attempt, node), attempt, node)
        return Command(sock, local, argv, given)


class Command:
    """Implements `ports.upkeep.Running`."""

    def __init__(
        self, sock: socket.socket, local: int, argv: tuple[str, ...], given: bytes
    ) -> None:
        self._sock = sock
        self._is_over = False
        if local:
            sock.sendall(wire.frame(wire.AS, struct.pack(">I", local)))
        sock.sendall(wire.frame(wire.RUN, os.fsencode(shlex.join(argv))))
        if given:
            sock.sendall(wire.frame(wire.INPUT, given))
        sock.sendall(wire.frame(wire.INPUT))

    def next(self) -> tuple[str, bytes] | None:
        while not self._is_over:
            found = wire.receive(self._sock)
            if found is None:
                self._is_over = True
                raise Conflict(
                    "command-cut-off",
                    "the job ended before the command did",
                    hint="`zenkei show` says how it ended",
                )
            kind, payload = found
            if kind in _KINDS:
                return _KINDS[kind], payload
            if kind == wire.EXIT:
                self._is_over = True
                return "exit", str(struct.unpack(">i", payload)[0]).encode()
        return None

    def close(self) -> None:
        """The supervisor kills what a client that is gone has started."""
        try:
            # wakes a thread that waits in `next`; closing alone would not
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster
        self._sock.close()


def _connect(folder: Path, attempt: AttemptId, node: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # a path through the descriptor is short, however long the directory's is
            sock.connect(f"/proc/self/fd/{directory}/{names.CONTROL_SOCKET}")
        finally:
            os.close(directory)
    except OSError:
        sock.close()
        raise Conflict(
            "not-running-there",
            f"attempt {attempt} does not run on its node {node} (any more)",
            hint=f"`zenkei show {attempt.job}` says how it ended and on which nodes it ran",
        ) from None
    return sock
