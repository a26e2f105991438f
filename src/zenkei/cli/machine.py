"""The checks of `zenkei doctor` on this machine: what it lets zenkei do, and what is missing.

Called by `doctor`. A check never raises; what may hang or crash (a broken driver) runs in a child
with a time-out.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from zenkei import __version__
from zenkei.agent import groups
from zenkei.cli import render
from zenkei.cli.checks import Finding, Verdict

TIMEOUT_S = 15.0
FIRST, LAST = 8, 15
TIMEX_BYTES, TIME_ERROR = 256, 5
_NAMESPACES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(0 if libc.unshare(0x10000000 | 0x00020000) == 0 else ctypes.get_errno() or 1)
"""
_NVML = """
import json, sys
import pynvml as nvml
text = lambda value: value.decode() if isinstance(value, bytes) else value
nvml.nvmlInit()
found = {"driver": text(nvml.nvmlSystemGetDriverVersion()), "devices": []}
for index in range(nvml.nvmlDeviceGetCount()):
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        pids = [p.pid for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except nvml.NVMLError:
        pids = []
    found["devices"].append({"index": index, "name": text(nvml.nvmlDeviceGetName(handle)),
        "memory_bytes": nvml.nvmlDeviceGetMemoryInfo(handle).total, "pids": pids})
json.dump(found, sys.stdout)
"""
FILE_IMAGES = (6, 12)
"""Kernels from here on mount EROFS images that are files."""


def version() -> Finding:
    own = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    text = f"zenkei {__version__} on Python {own} ({sys.executable})"
    facts = {"zenkei": __version__, "python": own, "executable": sys.executable}
    return Finding(name="zenkei", verdict=Verdict.OK, text=text, facts=facts)


def trust() -> Finding:
    """Who can do what to whom, in one sentence."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    others = "" if uid == 0 else " and root"
    text = f"{name} (uid {uid}){others}, nobody else; the kernel says who connects"
    facts = {"uid": uid, "name": name, "root": uid == 0}
    if uid == 0:
        hint = "run zenkei as an ordinary user where others use the machine: jobs run as you"
        note = f"{text}; jobs run as root"
        return Finding(name="trust", verdict=Verdict.NOTE, text=note, hint=hint, facts=facts)
    return Finding(name="trust", verdict=Verdict.OK, text=text, facts=facts)


def clock(path: str) -> Finding:
    """Compared with the newest file of the home, and asked whether anybody keeps it right."""
    newest = _newest(path)
    behind_s = newest - time.time()
    synchronised = (
        ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) != TIME_ERROR
    )
    facts: dict[str, Any] = {"synchronised": synchronised, "behind_s": max(0.0, behind_s)}
    if behind_s > 5:
        text = f"files of the home are {behind_s:.0f} s newer than now: the clock has gone back"
        hint = "set the clock (chrony, systemd-timesyncd); times of jobs are confused until then"
        return Finding(name="clock", verdict=Verdict.WARN, text=text, hint=hint, facts=facts)
    if not synchronised:
        text = "plausible, but nobody keeps it right (the kernel says: not synchronised)"
        hint = "chrony or systemd-timesyncd; several machines need one time"
        return Finding(name="clock", verdict=Verdict.NOTE, text=text, hint=hint, facts=facts)
    return Finding(name="clock", verdict=Verdict.OK, text="kept right", facts=facts)


def namespaces() -> Finding:
    done = _child([sys.executable, "-I", "-c", _NAMESPACES])
    able = done is not None and done.returncode == 0
    facts = {"user_namespaces": able}
    if able or os.geteuid() == 0:
        text = "user and mount namespaces can be made"
        if able:
            return Finding(name="namespaces", verdict=Verdict.OK, text=text, facts=facts)
    text = "no user namespaces: environments are checked by digest instead of mounted read-only"
    hint = "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, or the container's"
    return Finding(
        name="namespaces", verdict=Verdict.NOTE, text=text, hint=f"{hint} profile", facts=facts
    )


def datasets() -> Finding:
    """Whether jobs see datasets without a copy. What refuses it in the end only a job finds out."""
    kernel = platform.release()
    numbers = tuple(int(part) for part in re.findall(r"\d+", kernel)[:2])
    facts: dict[str, Any] = {"kernel": kernel, "root": os.geteuid() == 0}
    if os.geteuid() != 0:
        return Finding(
            name="datasets",
            verdict=Verdict.NOTE,
            text="each job gets a private copy of its datasets",
            hint="as root the node shows one image to all jobs, in a millisecond",
            facts=facts,
        )
    if numbers < FILE_IMAGES:
        return Finding(
            name="datasets",
            verdict=Verdict.NOTE,
            text=f"Linux {kernel} mounts no image from a file: loop devices or copies are used",
            hint="Linux 6.12 and later need neither",
            facts=facts,
        )
    text = f"one image for all jobs of the node (Linux {kernel})"
    return Finding(name="datasets", verdict=Verdict.OK, text=text, facts=facts)


def control_groups() -> Finding:
    """What ends a tree of processes, what limits its memory, what weighs its use of CPUs."""
    found = groups.find_places()
    facts = found._asdict()
    ends = "v2" if found.unified else "v1 freezer" if found.freezer else ""
    # a v2 group limits memory only where its parent hands the controller down
    limits = "v1" if found.memory else "v2" if _hands_down(found.unified, "memory") else ""
    weighs = "v2" if _hands_down(found.unified, "cpu") else "v1" if found.cpu else ""
    said = [f"trees of processes are ended by cgroup {ends}" if ends else ""]
    said.append(f"memory is limited by cgroup {limits}" if limits else "")
    said.append(f"busy CPUs are shared as asked for by cgroup {weighs}" if weighs else "")
    text = "; ".join(part for part in said if part)
    if ends and limits and weighs:
        return Finding(name="cgroups", verdict=Verdict.OK, text=text, facts=facts)
    missing = []
    if not ends:
        missing.append("trees are followed by the kernel's subreaper and searched by their mark")
    if not limits:
        missing.append("memory is watched (PSS, /dev/shm counted) instead of limited")
    if not weighs:
        missing.append("CPUs are not enforced, OMP_NUM_THREADS is set")
    hint = "a writable cgroup (systemd-run --user --scope -p Delegate=yes) makes all the kernel's"
    return Finding(
        name="cgroups",
        verdict=Verdict.NOTE,
        text="; ".join([*filter(None, said), *missing]),
        hint=hint,
        facts=facts,
    )


def uv() -> Finding:
    """The tool that resolves and builds environments; it comes with zenkei."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    program = beside if os.path.exists(beside) else shutil.which("uv") or ""
    done = _child([program, "--version"]) if program else None
    if done is None or done.returncode:
        text = "not found: jobs can use the Python of this machine only, without packages"
        hint = "install zenkei with its requirements (`make setup`); then `env.packages` works"
        return Finding(name="uv", verdict=Verdict.WARN, text=text, hint=hint)
    text = done.stdout.strip()
    return Finding(name="uv", verdict=Verdict.OK, text=text, facts={"path": program})


def pythons() -> Finding:
    """Interpreters that `env.python` can name without a download."""
    found = {
        f"3.{minor}": path
        for minor in range(FIRST, LAST + 1)
        if (path := shutil.which(f"python3.{minor}"))
    }
    own = f"3.{sys.version_info.minor}"
    found.setdefault(own, sys.executable)
    text = ", ".join(found)
    hint = "" if len(found) > 1 else "install others where jobs need them; `env.python` names them"
    return Finding(name="pythons", verdict=Verdict.OK, text=text, hint=hint, facts={"found": found})


def tools() -> Finding:
    """git tells which commit a job's code is."""
    path = shutil.which("git")
    if path:
        return Finding(name="git", verdict=Verdict.OK, text=path)
    text = "not found: records do not say which commit the code is"
    return Finding(name="git", verdict=Verdict.NOTE, text=text, hint="install git")


def shared_memory() -> Finding:
    """Secrets as files and the data loaders of most frameworks lie there."""
    try:
        found = shutil.disk_usage("/dev/shm")  # noqa: S108 - only measured
    except OSError:
        text = "no /dev/shm: secrets as files and data loaders with workers do not work"
        return Finding(name="shared memory", verdict=Verdict.WARN, text=text, hint="mount it")
    facts = {"free_bytes": found.free, "total_bytes": found.total}
    text = f"{render.size(found.free)} free"
    if found.total < 256 << 20:
        hint = "data loaders with workers need more: --shm-size of the container"
        return Finding(
            name="shared memory", verdict=Verdict.NOTE, text=text, hint=hint, facts=facts
        )
    return Finding(name="shared memory", verdict=Verdict.OK, text=text, facts=facts)


def gpus() -> Finding:
    """Through the driver's own library, in a child."""
    if not any(os.path.exists(p) for p in ("/proc/driver/nvidia", "/dev/nvidiactl")):
        text = "no NVIDIA driver: jobs run on CPUs; `zenkei up --nodes 2 --gpus-per-node 4` "
        return Finding(
            name="gpus", verdict=Verdict.OK, text=text + "declares GPUs to try things out"
        )
    done = _child([sys.executable, "-c", _NVML])
    try:
        found = json.loads(done.stdout if done else "")
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1] if done else "no answer"
        text, hint = f"the driver cannot be asked: {why}", "GPUs are not handed out until it works"
        return Finding(name="gpus", verdict=Verdict.WARN, text=text, hint=hint)
    devices = found["devices"]
    foreign = {pid: _name(pid) for d in devices for pid in d["pids"] if not _is_ours(pid)}
    facts = {**found, "foreign": foreign}
    kinds = ", ".join(sorted({d["name"] for d in devices}))
    text = f"{len(devices)} ({kinds}), driver {found['driver']}"
    if foreign:
        named = ", ".join(f"{name} (pid {pid})" for pid, name in foreign.items())
        hint = "GPUs in foreign use are not handed out; they are free when those processes end"
        return Finding(
            name="gpus",
            verdict=Verdict.NOTE,
            text=f"{text}; used by others: {named}",
            hint=hint,
            facts=facts,
        )
    return Finding(name="gpus", verdict=Verdict.OK, text=text, facts=facts)


def _child(argv: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _newest(path: str) -> float:
    """Time of the last change of what lies directly in the home; 0 if there is none."""
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(path)), default=0.0)
    except OSError:
        return 0.0


def _hands_down(unified: str, controller: str) -> bool:
    try:
        handed = Path(unified, "cgroup.subtree_control").read_text("ascii")
    except OSError:
        return False
    return bool(unified) and controller in handed.split()


def _is_ours(pid: int) -> bool:
    try:
        return b"ZENKEI_TREE=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown"
