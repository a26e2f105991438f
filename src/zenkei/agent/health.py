"""Is this node fit to run something? Quick checks before an attempt, and alone as a probe.

Called in the staging child or by the supervisor before the ranks start, and as `agent.pyz probe` by
an engine, inside the node. A check finds what would make any job fail here: it says nothing about
room that others use (a full disk is no illness). Each is bounded; what cannot be asked on this
machine is left out. Cost: about 1 ms, and what the GPU driver takes where devices were given.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
import sys
import time
from typing import Callable, NamedTuple

from zenkei.agent import gpus
from zenkei.agent.attempt import FULL
from zenkei.protocol import launch, names

SHM = "/dev/shm"  # noqa: S108 - a file is made there and taken away
MEMORY_BYTES = 64 << 10
PROBE_MEMORY_BYTES = 64 << 20
PATTERN = b"\xa5\x5a" * 2048
BEHIND_S = 60.0
AHEAD_S = 86_400.0
SLOW_S = 5.0
MOST_PEERS = 64


class Wanted(NamedTuple):
    """What is checked. uuids: devices of a driver. address: that the node must have, if any.

    peers: addresses to which there must be a route. at_us: the controller's clock, 0: not compared.
    file: one in `directory` that may be written, of which nothing is kept; empty: one is made for
    it (where many attempts start, making and removing files is what costs).
    """

    directory: str
    uuids: tuple[str, ...] = ()
    address: str = ""
    peers: tuple[str, ...] = ()
    memory_bytes: int = MEMORY_BYTES
    at_us: int = 0
    file: str = ""


def of(document: launch.Launch) -> Wanted:
    """What an attempt needs. Addresses are looked at where several nodes meet on this network."""
    meets = document.nodes > 1 and not document.prefix and bool(document.addresses)
    own = document.addresses[document.node_rank] if meets else ""
    return Wanted(
        directory=".",
        uuids=tuple(gpus.given(document)),
        address=own,
        peers=document.addresses[:MOST_PEERS] if meets else (),
        at_us=document.at_us,
        file=names.HEARTBEAT_FILE,
    )


def check(wanted: Wanted) -> list[str]:
    """What is wrong, in words for people; empty: nothing is."""
    checks: tuple[Callable[[Wanted], str], ...] = (_disk, _shm, _memory, _clock, _address, _gpus)
    return [found for one in checks if (found := one(wanted))]


def main(argv: list[str]) -> int:
    """`probe`: directory, address (may be empty), GPUs joined by commas. Prints a JSON list."""
    directory, address, uuids = argv
    devices = tuple(u for u in uuids.split(",") if u)
    wanted = Wanted(directory, devices, address, memory_bytes=PROBE_MEMORY_BYTES)
    sys.stdout.write(json.dumps(check(wanted)) + "\n")
    sys.stdout.flush()
    return 0


def _disk(wanted: Wanted) -> str:
    began = time.monotonic()
    said = _write_and_read(wanted.directory, "the disk of the attempts", wanted.file)
    took_s = time.monotonic() - began
    if not said and took_s > SLOW_S:
        return f"the disk of the attempts took {took_s:.0f} s for a page"
    return said


def _shm(_wanted: Wanted) -> str:
    return _write_and_read(SHM, SHM) if os.path.isdir(SHM) else ""


def _write_and_read(directory: str, name: str, file: str = "") -> str:
    path = os.path.join(directory, file or f".zenkei-health-{os.getpid()}")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if not file:
                os.unlink(path)
            os.write(fd, PATTERN)
            found = os.pread(fd, len(PATTERN), 0)
            if file:
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in FULL:
            return ""
        return f"{name} cannot be written: {os.strerror(error.errno or errno.EIO)}"
    return "" if found == PATTERN else f"{name} gives back other bytes than were written"


def _memory(wanted: Wanted) -> str:
    """A few pages are really there, and keep what is written into them."""
    try:
        with mmap.mmap(-1, wanted.memory_bytes, flags=mmap.MAP_PRIVATE) as pages:
            for start in range(0, wanted.memory_bytes, len(PATTERN)):
                pages[start : start + len(PATTERN)] = PATTERN
            for start in range(0, wanted.memory_bytes, len(PATTERN)):
                if pages[start : start + len(PATTERN)] != PATTERN:
                    return "its memory gives back other bytes than were written"
    except (OSError, ValueError) as error:
        return f"no {wanted.memory_bytes >> 10} KiB of memory are to be had: {error}"
    return ""


def _clock(wanted: Wanted) -> str:
    off_s = time.time() - wanted.at_us / 1e6
    if not wanted.at_us or -BEHIND_S <= off_s <= AHEAD_S:
        return ""
    side = "ahead of" if off_s > 0 else "behind"
    return f"its clock is {abs(off_s):.0f} s {side} the controller's"


def _address(wanted: Wanted) -> str:
    if not wanted.address:
        return ""
    family = socket.AF_INET6 if ":" in wanted.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((wanted.address, 0))
    except OSError as error:
        return f"it does not have the address {wanted.address}: {error.strerror}"
    ways = (_way_to(peer, family) for peer in wanted.peers)
    return next((said for said in ways if said), "")


def _way_to(peer: str, family: int) -> str:
    """Nothing is sent: the kernel looks for a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((peer, 9))
    except OSError as error:
        return f"there is no way to {peer}: {error.strerror}"
    return ""


def _gpus(wanted: Wanted) -> str:
    found = gpus.ask(list(wanted.uuids))
    if isinstance(found, str):
        return found
    for used in found:
        if not used.visible:
            return f"GPU {used.uuid} is not there"
        foreign = [pid for pid in used.pids if not _is_of_a_tree(pid)]
        if foreign:
            return f"GPU {used.uuid} is used by process {foreign[0]}, which no job has started"
    return ""


def _is_of_a_tree(pid: int) -> bool:
    """Shares of one device belong to several attempts; who has ended is the driver's matter."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"\0{names.TREE}=".encode() in b"\0" + file.read()
    except OSError:
        return not os.path.exists(f"/proc/{pid}")
