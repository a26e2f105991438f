"""Which interface leads to the other nodes of a gang, and a hold on the port where they meet.

Called by the supervisor before the ranks start, and by `__main__` inside a node that is entered by
a prefix (a network namespace): the answer, and the socket, come back through a socket pair. The
kernel's own answer counts (RTM_GETROUTE), not a guess from names or the order of interfaces.
Departure: a port is held by a socket that is bound and never listens; one that may reuse the
address (PyTorch's store, gRPC) can listen beside it, others are told that it is taken.
Cost: two system calls per node; in a namespace one short interpreter.
Source: rtnetlink(7).
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import subprocess
import sys
from typing import NamedTuple, Sequence

from zenkei.agent import processes

PATIENCE_S = 10.0
LOOPBACK = "lo"
_GETROUTE, _NEWROUTE = 26, 24
_REQUEST = 1
_RTA_DST, _RTA_OIF = 1, 4
_HEAD = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_LOCAL = 2


class Found(NamedTuple):
    """interface: towards the other nodes; empty: not known. taken_by: who has the port.

    held: the port is ours until this is closed; None: none was asked for, or it is taken.
    """

    interface: str = ""
    taken_by: str = ""
    held: socket.socket | None = None


class Route(NamedTuple):
    """local: the address is this node's own."""

    interface: str
    local: bool


def look(own: str, others: Sequence[str], port: int = 0) -> Found:
    """As seen from here. port: 0 for none."""
    interface = interface_to([address for address in others if address != own])
    if not port:
        return Found(interface)
    try:
        return Found(interface, held=hold(port))
    except OSError as error:
        return Found(interface, taken_by=_owner(port) or os.strerror(error.errno or 0))


def look_inside(
    prefix: Sequence[str], archive: str, own: str, others: Sequence[str], port: int = 0
) -> Found:
    """As seen from the node that `prefix` enters. archive: the agent's own file. Raises OSError."""
    ours, theirs = socket.socketpair()
    argv = [*prefix, sys.executable, "-I", "-S", archive, "network"]
    argv += [own, ",".join(others), str(port)]
    with ours:
        try:
            child = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        finally:
            theirs.close()
        ours.settimeout(PATIENCE_S)
        try:
            data, extra, _, _ = ours.recvmsg(65536, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except socket.timeout:
            child.kill()
            raise
        finally:
            child.wait()
    if not data:
        raise OSError(0, f"`{prefix[0]}` does not lead into the node")
    rights = array.array("i", b"".join(part for _, _, part in extra))
    held = socket.socket(fileno=rights[0]) if rights else None
    return Found(**json.loads(data), held=held)


def main(words: Sequence[str]) -> int:
    """`network OWN OTHERS PORT`, with a socket as standard input for the answer."""
    own, others, port = words
    found = look(own, others.split(","), int(port))
    answer = json.dumps({"interface": found.interface, "taken_by": found.taken_by}).encode()
    rights = [] if found.held is None else [found.held.fileno()]
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", rights).tobytes())]
    with socket.socket(fileno=os.dup(0)) as line:
        line.sendmsg([answer], extra if rights else [])
    return 0


def hold(port: int) -> socket.socket:
    """Bind it on all addresses, both families. Raises OSError if somebody has it."""
    sock, everywhere = _any_family()
    try:
        sock.bind((everywhere, port))
        # from now on others may bind it if they say so too, and one of them may listen
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _any_family() -> tuple[socket.socket, str]:
    try:
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return sock, "::"
    except OSError:
        # a kernel without IPv6
        return socket.socket(socket.AF_INET), ""


# -- routes ----------------------------------------------------------------------------------------


def interface_to(addresses: Sequence[str]) -> str:
    """The interface of the first that can be reached; loopback if all are this node's own."""
    routes = [route for route in map(route_to, addresses) if route is not None]
    outward = [route.interface for route in routes if not route.local]
    if outward:
        return outward[0]
    return LOOPBACK if len(routes) == len(addresses) else ""


def route_to(address: str) -> Route | None:
    """The kernel's choice for an address; None if there is none, or it is not an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:
            line.settimeout(1.0)
            line.send(_question(family, packed))
            return _answer(line.recv(65536))
    except (OSError, struct.error):
        return None


def _question(family: int, packed: bytes) -> bytes:
    body = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    body += struct.pack("=HH", 4 + len(packed), _RTA_DST) + packed
    return _HEAD.pack(_HEAD.size + len(body), _GETROUTE, _REQUEST, 1, 0) + body


def _answer(data: bytes) -> Route | None:
    size, kind, _, _, _ = _HEAD.unpack_from(data)
    if kind != _NEWROUTE:
        return None
    how = _ROUTE.unpack_from(data, _HEAD.size)[7]
    at = _HEAD.size + _ROUTE.size
    while at + 4 <= min(size, len(data)):
        length, name = struct.unpack_from("=HH", data, at)
        if name == _RTA_OIF:
            index = struct.unpack_from("=I", data, at + 4)[0]
            return Route(socket.if_indextoname(index), how == _LOCAL)
        at += max(4, (length + 3) & ~3)
    return None


# -- who has a port --------------------------------------------------------------------------------


def _owner(port: int) -> str:
    """`process 12 (nginx)`, as far as this user may see it."""
    inodes = _listening(port)
    for pid in processes.everybody() if inodes else ():
        if not inodes.isdisjoint(_sockets(pid)):
            return f"process {pid} ({_name(pid)})"
    return ""


def _listening(port: int) -> set[str]:
    """Inodes of sockets that have the port as their own."""
    found: set[str] = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file]
        except OSError:
            continue
        found.update(row[9] for row in rows[1:] if int(row[1].rpartition(":")[2], 16) == port)
    return found - {"0"}


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass
    return found


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
