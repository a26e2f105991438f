"""Connections of processes: bytes that went through (TCP), and who is at the other end.

Called by `vitals` while a job is silent. Asks the kernel (sock_diag over netlink), as `ss` does: in
/proc there is no byte count per connection, and recv() is not counted as reading in /proc/PID/io.
Sees the network namespace of the supervisor; of processes in another one only the byte counts of
its interfaces are known. Cost: some milliseconds, by the number of connections of the machine.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Iterable, Iterator, NamedTuple

_SOCK_DIAG = 4
_BY_FAMILY = 20
_DUMP_REQUEST = 0x301
_ESTABLISHED = 1
_HALF_CLOSED = 1 << 4 | 1 << 5 | 1 << 8  # FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT
_LISTEN = 10
_INFO = 2
_SHOW_PEER = 4
_PEER = 2
_DONE = 3
_ERROR = 2
_BYTES_AT = 120  # tcpi_bytes_acked, tcpi_bytes_received
_WAIT_S = 0.5


class Connection(NamedTuple):
    """listens: it has no other end."""

    local: tuple[str, int]
    remote: tuple[str, int]
    bytes_moved: int
    listens: bool


class Sockets:
    """One look at the machine's TCP sockets, by inode; empty where the kernel does not answer."""

    def __init__(self) -> None:
        self.by_inode: dict[int, Connection] = {}
        self._unix_peers: dict[int, int] = {}
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                self.by_inode.update(_ask(family))
            self._unix_peers = _ask_unix()
        except OSError:
            pass  # a kernel without it: bytes of connections are not counted
        self._ends = {(c.local, c.remote): inode for inode, c in self.by_inode.items()}

    def bytes_moved(self, inodes: Iterable[int]) -> int:
        """In and out, over the life of these connections."""
        found = (self.by_inode.get(inode) for inode in inodes)
        return sum(connection.bytes_moved for connection in found if connection)

    def listens(self, inodes: Iterable[int]) -> bool:
        return any(self.by_inode[inode].listens for inode in inodes if inode in self.by_inode)

    def knows(self, inode: int) -> bool:
        """False for what is no TCP socket and no connected Unix socket: nobody knows who sends."""
        return inode in self.by_inode or inode in self._unix_peers

    def is_foreign(self, inode: int, own: frozenset[int], addresses: tuple[str, ...]) -> bool:
        """True if the other end is no process of the job. own: inodes of all its processes here."""
        peer = self._unix_peers.get(inode, 0)
        if peer:
            return peer not in own
        connection = self.by_inode.get(inode)
        if connection is None or connection.listens:
            return False
        host = connection.remote[0]
        if host in addresses:
            return False
        return self._ends.get((connection.remote, connection.local)) not in own


def files_of(pid: int) -> dict[int, str]:
    """What each descriptor of a process leads to."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    except OSError:
        pass
    return found


def inodes_of(files: Iterable[str]) -> list[int]:
    """Of the sockets among them."""
    return [int(target[8:-1]) for target in files if target.startswith("socket:[")]


def foreign_network(pid: int) -> bool:
    """True if the process lives in another network namespace than this one."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def interface_bytes(pid: int) -> int:
    """Of all interfaces that the process sees."""
    total = 0
    try:
        with open(f"/proc/{pid}/net/dev", "rb") as file:
            for line in file.read().splitlines()[2:]:
                words = line.partition(b":")[2].split()
                total += int(words[0]) + int(words[8])
    except (OSError, IndexError, ValueError):
        pass
    return total


def _ask(family: int) -> dict[int, Connection]:
    states = 1 << _ESTABLISHED | 1 << _LISTEN | _HALF_CLOSED
    request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, states)
    found: dict[int, Connection] = {}
    for body in _answers(request):
        _decode(body, found)
    return found


def _ask_unix() -> dict[int, int]:
    """The inode at the other end of each connected Unix socket."""
    states = 1 << _ESTABLISHED
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, states, 0, _SHOW_PEER, 0, 0)
    found = {}
    for body in _answers(request):
        attributes = body[16:]
        if len(attributes) >= 8 and struct.unpack_from("=H", attributes, 2)[0] == _PEER:
            found[struct.unpack_from("=I", body, 4)[0]] = struct.unpack_from("=I", attributes, 4)[0]
    return found


def _answers(request: bytes) -> Iterator[bytes]:
    """Bodies of all messages with which the kernel answers."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _SOCK_DIAG)
    with sock:
        sock.settimeout(_WAIT_S)
        head = struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _DUMP_REQUEST, 1, 0)
        sock.send(head + request)
        while True:
            data = sock.recv(1 << 18)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (_DONE, _ERROR) or length < 16:
                    return
                yield data[16:length]
                data = data[(length + 3) & ~3 :]


def _decode(body: bytes, found: dict[int, Connection]) -> None:
    if len(body) < 72:
        return
    family, state = body[0], body[1]
    local_port, remote_port = struct.unpack_from(">HH", body, 4)
    size = 4 if family == socket.AF_INET else 16
    local = _host(family, body[8 : 8 + size])
    remote = _host(family, body[24 : 24 + size])
    inode = struct.unpack_from("=I", body, 68)[0]
    moved = 0
    attributes = body[72:]
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _INFO and length >= 4 + _BYTES_AT + 16 and state != _LISTEN:
            sent, received = struct.unpack_from("=QQ", attributes, 4 + _BYTES_AT)
            moved = sent + received
        if length < 4:
            break
        attributes = attributes[(length + 3) & ~3 :]
    found[inode] = Connection((local, local_port), (remote, remote_port), moved, state == _LISTEN)


def _host(family: int, packed: bytes) -> str:
    text = socket.inet_ntop(family, packed)
    return text[7:] if text.startswith("::ffff:") and "." in text else text
