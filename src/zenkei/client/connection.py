"""HTTP/1.1 over a socket, as much of it as the daemon speaks: one request, one answer, then close.

Called by `client.Client`. http.client costs 20 ms more to import, httpx 200. Bounded: heads of
64 KiB, and a body only as long as the caller reads. Raises Disconnected when the other side goes
away in the middle: an answer is complete only if its length or last chunk says so.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from zenkei.client.failure import Disconnected, Failure, NotRunning

MOST_HEAD = 65536
READ = 65536
_PEER = struct.Struct("3i")


def connect(path: str, *, timeout_s: float | None) -> socket.socket:
    """Raises NotRunning if nobody listens at `path`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise NotRunning(f"no daemon answers at {path} ({error.strerror or error})") from error
    return sock


def peer_uid(sock: socket.socket) -> int:
    """Who is at the other end, as the kernel says."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(raw)[1])


def peer_pid(sock: socket.socket) -> int:
    """The process that listens at the other end, as the kernel says."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(raw)[0])


class Answer:
    """Status, headers (names in lower case), and the body as it comes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        try:
            self._read_head()
        except BaseException:
            sock.close()
            raise

    def _read_head(self) -> None:
        head = self._until(b"\r\n\r\n", MOST_HEAD)
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        self.status = _number(rest[:3]) if version.startswith("HTTP/1.") else _number("")
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces, as soon as they arrive."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._exactly(_number(self.headers["content-length"]))
        else:
            while self._buffer or self._more():
                piece, self._buffer = self._buffer, b""
                yield piece

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def close(self) -> None:
        self._sock.close()

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = _number(self._until(b"\r\n", 1024).partition(";")[0], 16)
            if size == 0:
                return
            yield from self._exactly(size)
            self._until(b"\r\n", 2)

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._buffer[:size] or self._more()[:size]
            if not piece:
                raise Disconnected("the daemon went away in the middle of an answer")
            self._buffer = self._buffer[len(piece) :]
            size -= len(piece)
            yield piece

    def _more(self) -> bytes:
        """Make the buffer longer, and return it; empty at the end."""
        try:
            data = self._sock.recv(READ)
        except TimeoutError:
            raise Disconnected("the daemon does not answer") from None
        except OSError as error:
            raise Disconnected(f"the connection to the daemon broke: {error}") from error
        self._buffer += data
        return self._buffer if data else b""

    def _until(self, mark: bytes, most: int) -> str:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > most:
                raise Failure("bad-answer", "the daemon's answer has no end to its head")
            if not self._more():
                raise Disconnected("the daemon went away before it answered")
        head, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return head.decode("latin-1")


def _number(text: str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        text = "what listens at the socket does not speak HTTP"
        raise Failure("bad-answer", text) from None


def send(
    sock: socket.socket, method: str, target: str, headers: dict[str, str], body: bytes
) -> Answer:
    """One request on a fresh connection; returns when the head of the answer is there."""
    lines = [f"{method} {target} HTTP/1.1", "host: zenkei", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    try:
        sock.sendall(head + body)
    except BrokenPipeError:
        # a refusal may have been written before the whole request was read
        pass
    except OSError as error:
        raise Disconnected(f"the connection to the daemon broke: {error}") from error
    return Answer(sock)
