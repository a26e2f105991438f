"""`mpi-rsh [OPTIONS] HOST COMMAND...`: what mpiexec calls in place of ssh.

Hands the command to the supervisor of HOST through the socket in its attempt's directory, passes
input and output on, and ends as the command did. When this process dies the connection closes and
the supervisor ends the command: nothing is left on the other node.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import sys

from zenkei.protocol import names, wire

LOST = 255
_WITH_VALUE = ("-l", "-p", "-i", "-o")


def main(words: list[str]) -> int:
    """The exit status, as ssh has it."""
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in _WITH_VALUE else words[1:]
    addresses = os.environ.get(names.NODE_ADDRESSES, "").split(",")
    if len(words) < 2 or words[0] not in addresses:
        sys.stderr.write(f"zenkei: `{' '.join(words[:1])}` is no node of this job\n")
        return LOST
    rank = addresses.index(words[0])
    try:
        sock = wire.connect(f"{os.environ[names.ATTEMPT_DIR]}/node-{rank}", names.CONTROL_SOCKET)
    except OSError as error:
        sys.stderr.write(f"zenkei: no supervisor on {words[0]}: {error}\n")
        return LOST
    # as ssh does: the far shell reads the joined line
    sock.sendall(wire.frame(wire.LINK, os.fsencode(" ".join(words[1:]))))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sock.sendall(_signal(n)))
    return _relay(sock)


def _signal(number: int) -> bytes:
    return wire.frame(wire.SIGNAL, struct.pack(">I", number))


def _relay(sock: socket.socket) -> int:
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ, "socket")
    try:
        selector.register(0, selectors.EVENT_READ, "input")
    except (OSError, ValueError):
        # a plain file or /dev/null cannot be polled: there is nothing to pass on
        sock.sendall(wire.frame(wire.INPUT))
    received = b""
    while True:
        for key, _ in selector.select():
            if key.data == "input":
                data = os.read(0, 65536)
                sock.sendall(wire.frame(wire.INPUT, data))
                if not data:
                    selector.unregister(0)
                continue
            data = sock.recv(65536)
            if not data:
                return LOST
            frames, received = wire.split(received + data)
            for kind, payload in frames:
                if kind == wire.EXIT:
                    code = int(struct.unpack(">i", payload)[0])
                    return code if code >= 0 else 128 - code
                _write(1 if kind == wire.OUT else 2, payload)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
