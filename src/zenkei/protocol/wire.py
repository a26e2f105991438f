"""Framed messages between an engine, the warm agent and supervisors, over stream sockets.

A frame is a kind (one byte), a length (4 bytes, big endian) and a payload. Secrets may travel in a
frame (socket pairs and 0600 sockets only), never in a file that stays.
"""

from __future__ import annotations

import socket
import struct

HEAD = struct.Struct(">cI")
MAX_FRAME = 16 << 20

SUPERVISE = b"S"
"""To the warm agent: JSON {"dir": …, "secrets": {variable: base64}}; start or end an attempt."""
RUN = b"C"
"""To a supervisor: a command line to start inside its tree (remote start by mpiexec)."""
INPUT = b"I"
"""Standard input for the command; empty: its end."""
SIGNAL = b"G"
"""A signal number (4 bytes) for the command."""
OUT = b"O"
ERR = b"E"
EXIT = b"X"
"""How the command ended (4 bytes, signed; negative: by a signal)."""
WAKE = b"W"
"""Look into the inbox."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return HEAD.pack(kind, len(payload)) + payload


def split(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Whole frames, and the rest. Raises ValueError for a frame that is too long."""
    found = []
    while len(data) >= HEAD.size:
        kind, size = HEAD.unpack_from(data)
        if size > MAX_FRAME:
            raise ValueError(f"frame of {size} bytes")
        if len(data) < HEAD.size + size:
            break
        found.append((kind, data[HEAD.size : HEAD.size + size]))
        data = data[HEAD.size + size :]
    return found, data


def receive(sock: socket.socket) -> tuple[bytes, bytes] | None:
    """One frame from a blocking socket; None if the other side closed it."""
    head = _exactly(sock, HEAD.size)
    if head is None:
        return None
    kind, size = HEAD.unpack(head)
    if size > MAX_FRAME:
        raise ValueError(f"frame of {size} bytes")
    payload = _exactly(sock, size)
    return None if payload is None else (kind, payload)


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
