"""GPUs as their driver sees them, through NVML, without any package. For `health` and `remains`.

The driver may hang or crash: it is asked in a child with a time-out. Where there is no driver or no
device was given, nothing is asked and nothing is wrong. Cost: nothing without devices; else one
fork and what the driver takes (tens of milliseconds where it stays loaded).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time
from typing import NamedTuple

from zenkei.agent import processes
from zenkei.protocol import launch, names

LIBRARY = "libnvidia-ml.so.1"
TIMEOUT_S = 5.0
MOST_PROCESSES = 64


class Used(NamedTuple):
    """A device: whether the driver shows it, and who uses it."""

    uuid: str
    visible: bool
    pids: list[int]


def given(document: launch.Launch) -> list[str]:
    """Devices of the attempt on this node that a driver has; declared ones have no such name."""
    return [u for u in document.env.get("CUDA_VISIBLE_DEVICES", "").split(",") if u]


def ask(uuids: list[str], timeout_s: float = TIMEOUT_S) -> list[Used] | str:
    """What the driver says of these devices, or why it says nothing."""
    if not uuids:
        return []
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(uuids, write)
    os.close(write)
    data = _read(read, time.monotonic() + timeout_s)
    if data is None:
        processes.send(pid, signal.SIGKILL)
    os.close(read)
    _reap(pid)
    if data is None:
        return f"the GPU driver did not answer within {timeout_s:g} s"
    if not data:
        return "the GPU driver could not be asked"
    return [Used(*row) for row in json.loads(data)]


def still_used(document: launch.Launch) -> str:
    """For people: devices on which a process of the attempt's tree, or one that is gone, still has

    a context. Processes of others are no matter of the attempt's.
    """
    uuids = given(document)
    found = ask(uuids) if uuids and _has_driver() else []
    if isinstance(found, str):
        return found
    mark = f"{names.TREE}={document.tree}".encode()
    for used in found:
        ours = [p for p in used.pids if processes.has_mark(p, mark) or processes.is_zombie(p)]
        if ours:
            return f"GPU {used.uuid} is still used by process {ours[0]}"
    return ""


def _has_driver() -> bool:
    return os.path.exists("/proc/driver/nvidia") or os.path.exists("/dev/nvidiactl")


def _read(fd: int, until: float) -> bytes | None:
    """All that comes; None if that takes too long."""
    data = b""
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        more = os.read(fd, 65536)
        if not more:
            return data
        data += more


def _reap(pid: int) -> None:
    """A child that hangs in the driver is left to the supervisor's loop."""
    for _ in range(20):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.005)


def _answer(uuids: list[str], write: int) -> None:
    """In the child; never returns."""
    try:
        os.write(write, json.dumps(_look(uuids)).encode())
    except (OSError, AttributeError, ValueError):
        pass
    finally:
        os._exit(0)


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("instance", ctypes.c_uint),
        ("compute", ctypes.c_uint),
    )


def _look(uuids: list[str]) -> list[Used]:
    nvml = ctypes.CDLL(LIBRARY)
    if nvml.nvmlInit_v2():
        raise OSError("no driver")
    found = []
    for uuid in uuids:
        handle = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
            found.append(Used(uuid, False, []))
            continue
        number = ctypes.c_uint(MOST_PROCESSES)
        rows = (_Process * MOST_PROCESSES)()
        try:
            running = nvml.nvmlDeviceGetComputeRunningProcesses_v3
        except AttributeError:
            running = nvml.nvmlDeviceGetComputeRunningProcesses_v2
        code = running(handle, ctypes.byref(number), rows)
        pids = [int(row.pid) for row in rows[: number.value]] if code == 0 else []
        found.append(Used(uuid, True, pids))
    return found
