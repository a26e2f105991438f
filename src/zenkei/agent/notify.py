"""Wakes whoever watches the place: a datagram after the record, lost without harm.

Called after each record. The receiver rescans when its queue was full (CONTROL: at most 10 wait).
"""

from __future__ import annotations

import os
import socket

from zenkei.protocol import launch


def wake(document: launch.Launch) -> None:
    """`wake` is a path relative to the attempt's directory (short enough for a socket)."""
    if not document.wake or not os.path.exists(document.wake):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto(f"{document.attempt}/{document.node_rank}".encode(), document.wake)
        except OSError:
            # nobody listens, or the queue is full: the record is there, a rescan finds it
            pass
