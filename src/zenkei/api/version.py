"""The handshake: which protocol a side speaks, and what to do when the other speaks another.

Used by the client on its hot path, so standard library free. Every request and every answer carries
both headers. The number rises only when an old client or daemon could no longer be understood.
Beside it the schemas of the database, for the store that opens it and for `zenkei doctor`.
"""

from __future__ import annotations

PROTOCOL = 1
OLDEST_CLIENT = 1
"""The daemon still answers clients from this protocol on."""
OLDEST_DAEMON = 1
"""The client still talks to daemons from this protocol on."""

PROTOCOL_HEADER = "zenkei-protocol"
VERSION_HEADER = "zenkei-version"

SCHEMAS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Of the database, oldest first: those that this version reads; it writes the last one."""

RESTART_HINT = "`zenkei down && zenkei up` starts the daemon of this version; running jobs go on"
UPGRADE_HINT = "upgrade zenkei where you type, or use the installation that started the daemon"


def number(text: str | None) -> int:
    """The protocol of a header's value; 0 if there is none, or it is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def daemon_refuses(client: int) -> str:
    """Why a daemon of this version cannot serve such a client; empty if it can.

    A request without the header (0) is served: somebody explores with another tool.
    """
    if client == 0 or OLDEST_CLIENT <= client <= PROTOCOL:
        return ""
    side = "newer" if client > PROTOCOL else "older"
    return f"the client speaks protocol {client}, {side} than this daemon's {PROTOCOL}"


def client_refuses(daemon: int) -> str:
    """Why a client of this version cannot use such a daemon; empty if it can."""
    if OLDEST_DAEMON <= daemon <= PROTOCOL:
        return ""
    side = "newer" if daemon > PROTOCOL else "older"
    return f"the daemon speaks protocol {daemon}, {side} than this client's {PROTOCOL}"
