"""Several hosts on this machine: network namespaces joined by a switch, for real multi-node tests.

    with Hosts(2) as hosts:
        place = LocalPlace(home, nodes=hosts.nodes())     # or hosts.nodes().save(home/nodes.json)
        hosts.cut(1); hosts.heal(1)

Each host is a namespace with loopback and `eth0` (10.83.0.K), the switch one of its own: nothing is
seen or changed in the machine's network. A namespace lives as long as a process that does nothing
in it; those end with this process, whatever ends it, and the kernel takes the rest away. Needs root
(`pytest.mark.root`), `ip` and `nsenter`. Start: about 0.2 s for two hosts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from typing import Any, Self

from tests.testbeds.local_place import until
from zenkei.engines.local import NodesConfig

NETWORK = "10.83.0"
_PR_SET_PDEATHSIG = 1


class Hosts:
    """`node-1` to `node-N`; places and links are counted from 0, as node ranks are."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._switch: subprocess.Popen[bytes] | None = None
        self._hosts: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._switch = stack.enter_context(_Namespace())
            self._hosts = [stack.enter_context(_Namespace()) for _ in range(self.count)]
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, place: int) -> str:
        return f"{NETWORK}.{place + 1}"

    def prefix(self, place: int) -> tuple[str, ...]:
        """Argv that enters a host. (`ip netns exec` would mount /sys anew and hide the groups.)"""
        return _prefix(self._hosts[place])

    def nodes(self, **sizes: Any) -> NodesConfig:
        """As declared nodes. sizes: for NodesConfig."""
        names = [f"node-{place + 1}" for place in range(self.count)]
        return NodesConfig(
            nodes=self.count,
            prefixes={name: self.prefix(place) for place, name in enumerate(names)},
            addresses={name: self.address(place) for place, name in enumerate(names)},
            **sizes,
        )

    def cut(self, place: int) -> None:
        """Pull the host's cable: its processes go on and reach nobody."""
        self._link(place, "down")

    def heal(self, place: int) -> None:
        self._link(place, "up")

    def inhabitants(self, place: int) -> list[int]:
        """Processes that live on a host."""
        holder = self._hosts[place].pid
        wanted = os.readlink(f"/proc/{holder}/ns/net")
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/net") == wanted and int(name) != holder:
                    found.append(int(name))
        return found

    def run(self, place: int, *argv: str) -> str:
        """A command on a host; its output."""
        done = subprocess.run(
            [*self.prefix(place), *argv], capture_output=True, text=True, check=True
        )
        return done.stdout

    def _link(self, place: int, state: str) -> None:
        assert self._switch is not None
        _ip(self._switch, f"link set port{place} {state}")

    def _wire(self) -> None:
        assert self._switch is not None
        lines = ["link add bridge0 type bridge", "link set bridge0 up"]
        for place, host in enumerate(self._hosts):
            lines += [
                f"link add port{place} type veth peer name eth0 netns {host.pid}",
                f"link set port{place} master bridge0 up",
            ]
        _ip(self._switch, *lines)
        for place, host in enumerate(self._hosts):
            address = f"address add {self.address(place)}/24 dev eth0"
            _ip(host, "link set lo up", address, "link set eth0 up")


class _Namespace:
    """A process in a network namespace of its own."""

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"],
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )
        own = os.readlink("/proc/self/ns/net")
        theirs = f"/proc/{self._holder.pid}/ns/net"
        until(lambda: os.readlink(theirs) != own, "a network namespace")
        return self._holder

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prefix(holder: subprocess.Popen[bytes]) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")


def _ip(holder: subprocess.Popen[bytes], *lines: str) -> None:
    subprocess.run(
        [*_prefix(holder), "ip", "-batch", "-"],
        input="\n".join(lines),
        text=True,
        check=True,
        capture_output=True,
    )
