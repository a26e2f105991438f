"""What a thread waits for, read from the kernel; called by `vitals` and `stacks`.

/proc/PID/task/TID/syscall names the call and its arguments; reading it needs the right to trace the
process, which an ancestor has. Where that is refused, the name of the kernel function
(/proc/.../wchan) tells less: then no deadline is known. What a wait is for (files, sockets, who
holds a lock on a file) is read too. Cost: 20 to 60 µs a thread, 2 µs a descriptor.
"""

from __future__ import annotations

import os
import platform
import struct
import time
from typing import Iterable, NamedTuple

RUNNING = "running"
SLEEP = "sleep"
LOCK = "lock"
CHILD = "child"
PIPE_READ = "pipe-read"
PIPE_WRITE = "pipe-write"
SOCKET = "socket"
ACCEPT = "accept"
POLL = "poll"
FILE_LOCK = "file-lock"
OPEN = "open"
SIGNAL = "signal"
OTHER = "other"
UNKNOWN = "unknown"

WORDS = {
    RUNNING: "runs",
    SLEEP: "sleeps",
    LOCK: "waits for a lock",
    CHILD: "waits for a child process",
    PIPE_READ: "waits for data from a pipe",
    PIPE_WRITE: "waits to write to a pipe that nobody reads",
    SOCKET: "waits for data from a socket",
    ACCEPT: "waits for somebody to connect",
    POLL: "waits for any of several files",
    FILE_LOCK: "waits for a lock on a file",
    OPEN: "waits for the other end of a pipe",
    SIGNAL: "waits for a signal",
    OTHER: "waits in the kernel",
    UNKNOWN: "waits",
}


class Wait(NamedTuple):
    """left_s: at most so long, then it goes on by itself; -1: without end.

    on: what its descriptors lead to, as in /proc/PID/fd; empty: none, or not known.
    sure: False if only the kernel function is known, so that there may be a time limit.
    """

    kind: str
    left_s: float = -1.0
    on: tuple[str, ...] = ()
    sure: bool = True

    @property
    def text(self) -> str:
        words = WORDS[self.kind]
        if self.left_s >= 1.0 and self.kind != RUNNING:
            return f"{words} (for at most {self.left_s:.0f} s more)"
        return words


# kind, argument with the descriptor, argument with the time, form of the time
_FORMS = {
    "nanosleep": (SLEEP, -1, 0, "timespec"),
    "clock_nanosleep": (SLEEP, -1, 2, "clock"),
    "select": (POLL, -1, 4, "timeval"),
    "pselect6": (POLL, -1, 4, "timespec"),
    "poll": (POLL, -1, 2, "ms"),
    "ppoll": (POLL, -1, 2, "timespec"),
    "epoll_wait": (POLL, 0, 3, "ms"),
    "epoll_pwait": (POLL, 0, 3, "ms"),
    "futex": (LOCK, -1, 3, "futex"),
    "wait4": (CHILD, -1, -1, ""),
    "waitid": (CHILD, -1, -1, ""),
    "read": (OTHER, 0, -1, ""),
    "readv": (OTHER, 0, -1, ""),
    "write": (OTHER, 0, -1, ""),
    "writev": (OTHER, 0, -1, ""),
    "recvfrom": (SOCKET, 0, -1, ""),
    "recvmsg": (SOCKET, 0, -1, ""),
    "sendto": (SOCKET, 0, -1, ""),
    "sendmsg": (SOCKET, 0, -1, ""),
    "connect": (SOCKET, 0, -1, ""),
    "accept": (ACCEPT, 0, -1, ""),
    "accept4": (ACCEPT, 0, -1, ""),
    "flock": (FILE_LOCK, 0, -1, ""),
    "fcntl": (FILE_LOCK, 0, -1, ""),
    "open": (OPEN, -1, -1, ""),
    "openat": (OPEN, -1, -1, ""),
    "pause": (SIGNAL, -1, -1, ""),
    "rt_sigsuspend": (SIGNAL, -1, -1, ""),
    "rt_sigtimedwait": (SIGNAL, -1, 2, "timespec"),
    "semop": (LOCK, -1, -1, ""),
    "semtimedop": (LOCK, -1, 3, "timespec"),
}
_NUMBERS = {
    "x86_64": (
        "nanosleep 35 clock_nanosleep 230 select 23 pselect6 270 poll 7 ppoll 271 epoll_wait 232"
        " epoll_pwait 281 futex 202 wait4 61 waitid 247 read 0 readv 19 write 1 writev 20"
        " recvfrom 45 recvmsg 47 sendto 44 sendmsg 46 connect 42 accept 43 accept4 288 flock 73"
        " fcntl 72 pause 34 rt_sigsuspend 130 rt_sigtimedwait 128 semop 65 semtimedop 220"
        " open 2 openat 257"
    ),
    "aarch64": (
        "nanosleep 101 clock_nanosleep 115 pselect6 72 ppoll 73 epoll_pwait 22 futex 98 wait4 260"
        " waitid 95 read 63 readv 65 write 64 writev 66 recvfrom 207 recvmsg 212 sendto 206"
        " sendmsg 211 connect 203 accept 202 accept4 242 flock 32 fcntl 25 rt_sigsuspend 133"
        " rt_sigtimedwait 137 semop 193 semtimedop 192"
        " openat 56"
    ),
}
_CHANNELS = (
    ("nanosleep", SLEEP),
    ("futex", LOCK),
    ("do_wait", CHILD),
    ("kernel_wait", CHILD),
    ("pipe_read", PIPE_READ),
    ("pipe_write", PIPE_WRITE),
    ("poll", POLL),
    ("select", POLL),
    ("lock_inode", FILE_LOCK),
    ("locks", FILE_LOCK),
    ("csk_accept", ACCEPT),
    ("unix_accept", ACCEPT),
    ("unix_stream", SOCKET),
    ("sk_wait", SOCKET),
    ("skb", SOCKET),
    ("pause", SIGNAL),
    ("sig", SIGNAL),
)
MOST_FILES = 64
"""Of one wait: a server with thousands of connections tells no more by their names."""
_CLOCK_ABSOLUTE = 1
_FUTEX_BITSET = 9
_FUTEX_REALTIME = 256


def _table() -> dict[int, str]:
    words = _NUMBERS.get(platform.machine(), "").split()
    return {int(words[i + 1]): words[i] for i in range(0, len(words), 2)}


_CALLS = _table()


def of_thread(pid: int, tid: int) -> Wait:
    """What a thread does now."""
    base = f"/proc/{pid}/task/{tid}"
    try:
        with open(f"{base}/syscall", "rb") as file:
            words = file.read().split()
    except OSError:
        return _by_channel(base)
    if not words or words[0] == b"running":
        return Wait(RUNNING)
    name = _CALLS.get(int(words[0]), "")
    if name not in _FORMS or len(words) < 7:
        return _by_channel(base)
    arguments = [int(word, 16) for word in words[1:7]]
    return _decoded(pid, name, arguments)


def _by_channel(base: str) -> Wait:
    try:
        with open(f"{base}/wchan", "rb") as file:
            channel = file.read().decode("ascii", "replace")
    except OSError:
        return Wait(UNKNOWN, sure=False)
    for part, kind in _CHANNELS:
        if part in channel:
            return Wait(kind, sure=False)
    return Wait(UNKNOWN if channel in ("", "0") else OTHER, sure=False)


def _decoded(pid: int, name: str, arguments: list[int]) -> Wait:
    kind, fd_at, time_at, form = _FORMS[name]
    fds = _polled(pid, name, arguments) if kind == POLL else _one(arguments, fd_at)
    on = tuple(filter(None, (target_of(pid, fd) for fd in fds)))
    left_s = _left_s(pid, arguments, time_at, form) if time_at >= 0 else -1.0
    if name in ("select", "pselect6", "poll", "ppoll"):
        # the number of files is the first argument of select, the second of poll
        count = arguments[0 if "select" in name else 1]
        if count == 0 and left_s >= 0:
            kind = SLEEP
    if name in ("read", "readv", "write", "writev"):
        kind = _of_file("".join(on), writes=name.startswith("write"))
    return Wait(kind, left_s, on)


def _one(arguments: list[int], at: int) -> list[int]:
    return [arguments[at]] if at >= 0 else []


def _of_file(target: str, *, writes: bool) -> str:
    if target.startswith("pipe:"):
        return PIPE_WRITE if writes else PIPE_READ
    return SOCKET if target.startswith("socket:") else OTHER


def target_of(pid: int, fd: int) -> str:
    """What a descriptor of a process leads to."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""


def _polled(pid: int, name: str, arguments: list[int]) -> list[int]:
    """The descriptors of poll, select and epoll; none if they are too many, or cannot be read."""
    if name.startswith("epoll"):
        found = _of_epoll(pid, arguments[0])
    elif "select" in name:
        found = _of_select(pid, arguments[0], arguments[1:4])
    else:
        data = _bytes(pid, arguments[0], 8 * min(arguments[1], MOST_FILES + 1))
        found = [fd for fd, _ in struct.iter_unpack("ii", data)]
    return found if len(found) <= MOST_FILES else []


def _of_epoll(pid: int, fd: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
            return [int(line.split()[1]) for line in file if line.startswith(b"tfd:")]
    except (OSError, ValueError, IndexError):
        return []


def _of_select(pid: int, count: int, sets: Iterable[int]) -> list[int]:
    found: set[int] = set()
    for address in sets:
        bits = int.from_bytes(_bytes(pid, address, (min(count, 1024) + 63) // 64 * 8), "little")
        found.update(fd for fd in range(min(count, 1024)) if bits >> fd & 1)
    return sorted(found)


def lock_holders(pid: int) -> list[int]:
    """Processes that hold the locks on files for which this one waits; -1: nobody knows which."""
    found: list[int] = []
    holders: dict[bytes, int] = {}
    try:
        with open("/proc/locks", "rb") as file:
            lines = [line.split() for line in file]
        for number, *words in lines:
            if words[0] != b"->":
                holders[number] = int(words[3])
            elif int(words[4]) == pid:
                found.append(holders.get(number, -1))
    except (OSError, ValueError, IndexError):
        pass
    return found or [-1]


def _left_s(pid: int, arguments: list[int], at: int, form: str) -> float:
    """Seconds until the call ends by itself, an upper bound; -1: it does not, or nobody knows."""
    value = arguments[at]
    if form == "ms":
        ms = value & 0xFFFFFFFF
        return -1.0 if ms >= 1 << 31 else ms / 1000
    if value == 0:
        return -1.0
    pair = _memory(pid, value)
    if pair is None:
        return -1.0
    seconds = pair[0] + pair[1] / (1e6 if form == "timeval" else 1e9)
    if form == "clock" and arguments[1] & _CLOCK_ABSOLUTE:
        return _until(arguments[0], seconds)
    if form == "futex" and arguments[1] & 0x7F == _FUTEX_BITSET:
        return _until(0 if arguments[1] & _FUTEX_REALTIME else 1, seconds)
    return max(0.0, seconds)


def _until(clock: int, at_s: float) -> float:
    try:
        return max(0.0, at_s - time.clock_gettime(clock))
    except OSError:
        return -1.0


def _memory(pid: int, address: int) -> tuple[int, int] | None:
    """Two long integers of another process."""
    data = _bytes(pid, address, 16)
    if len(data) < 16:
        return None
    seconds, fraction = struct.unpack("qq", data)
    return seconds, fraction


def _bytes(pid: int, address: int, size: int) -> bytes:
    """Memory of another process; nothing if it cannot be read."""
    if not address or size <= 0:
        return b""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(address)
            data = file.read(size)
    except (OSError, OverflowError, ValueError):
        return b""
    return data if len(data) == size else b""
