"""Framed messages between an engine, the warm agent and supervisors, over stream sockets.

A frame is a kind (one byte), a length (4 bytes, big endian) and a payload. Secrets may travel in a
frame (socket pairs and 0600 sockets only), never in a file that stays.
"""

from __future__ import annotations

import os
import socket
import struct

HEAD = struct.Struct(">cI")
MAX_FRAME = 16 << 20

SUPERVISE = b"S"
"""To the warm agent: JSON {"dir", "secrets": {variable: base64}, "tree"}: start or end it."""
RUN = b"C"
"""To a supervisor: a command line to start inside its tree, beside the ranks."""
AS = b"A"
"""Before RUN: which rank of the node (4 bytes, counted there) gives the command its variables."""
LINK = b"L"
"""The same from mpiexec (`mpi_rsh`): what it starts there brings the ranks; its end ends them."""
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
RANK = b"R"
"""A rank below mpiexec runs: JSON {"rank", "pid"}, with its output and error pipes as rights."""
RANK_ENDED = b"Z"
"""It has ended: JSON {"status" (of wait), "at_us"}; answered with the same kind."""


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


def connect(directory: str, name: str) -> socket.socket:
    """A stream socket to the one called `name` in `directory`. Raises OSError.

    The path leads through a descriptor: socket paths end at 107 bytes, directories do not.
    """
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{name}")
    except OSError:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock
