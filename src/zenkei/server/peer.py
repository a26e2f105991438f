"""Connections on the Unix socket: who is there, as the kernel says, and how much they may send.

A subclass of uvicorn's protocol. The peer's uid and pid become the `client` of each request, so a
route cannot forget where they come from. A peer that is neither the daemon's owner nor root is told
so, and nothing of its request is parsed. Heads are bounded in size and time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zenkei.api.errors import body_of
from zenkei.api.version import PROTOCOL, PROTOCOL_HEADER
from zenkei.api.wire import dumps
from zenkei.model.errors import Denied, InvalidInput, Unavailable, ZenkeiError

MOST_HEAD = 64 << 10
MOST_CONNECTIONS = 1000
HEAD_WITHIN_S = 10.0
LINGER_S = 1.0
_PEER = struct.Struct("3i")


def peer_of(sock: Any) -> tuple[int, int]:
    """uid and pid at the other end of a Unix socket."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _gid = _PEER.unpack(raw)
    return uid, pid


class PeerProtocol(HttpToolsProtocol):
    """See the module's docstring. owner_uid: whom the daemon serves, besides root."""

    owner_uid = -1
    _refused = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        uid, pid = peer_of(transport.get_extra_info("socket"))
        self.client = (str(uid), pid)
        if uid not in (self.owner_uid, 0):
            text = f"this daemon belongs to uid {self.owner_uid}, you are uid {uid}"
            hint = "each person has a daemon of their own: set ZENKEI_HOME to yours"
            self._refuse(Denied("not-your-daemon", text, hint=hint))
        elif len(self.connections) > MOST_CONNECTIONS:
            text = f"{MOST_CONNECTIONS} connections are open already"
            self._refuse(Unavailable("too-many-connections", text, hint="try again later"))
        else:
            self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > MOST_HEAD:
            self._refuse(InvalidInput("head-too-large", "the head of the request is too long"))

    def on_headers_complete(self) -> None:
        self._head_known()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_known()
        super().connection_lost(exc)

    def _head_known(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._refuse(InvalidInput("head-too-slow", "the head of the request did not arrive"))

    def _refuse(self, error: ZenkeiError) -> None:
        self._head_known()
        body = dumps(body_of(error))
        head = (
            f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{PROTOCOL_HEADER}: {PROTOCOL}\r\n"
            "connection: close\r\n\r\n"
        )
        self._refused = True
        self.transport.write(head.encode() + body)
        # closed at once, with something unread, the peer would get a reset instead of the answer
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def protocol_for(owner_uid: int) -> type[PeerProtocol]:
    """The protocol class of a daemon that serves `owner_uid` (and root)."""
    return type("OwnPeerProtocol", (PeerProtocol,), {"owner_uid": owner_uid})
