"""Python stacks of running processes, by py-spy or faulthandler; called by `stacks` in its child.

Nothing here raises for a process that does not answer: it stays with what the kernel says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from typing import Any, Dict

from zenkei.agent import processes, waits
from zenkei.protocol import launch, names

Json = Dict[str, Any]

PY_SPY_S = 4.0
ANSWER_S = 1.0
SETTLED_S = 0.06
MOST_FRAMES = 48
MOST_THREADS = 24
MOST_RAW = 256 << 10
_HEAD = re.compile(r"^(Current thread|Thread) 0x([0-9a-f]+)")
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_DEAF = "TtZXD"
"""States in which a process answers no signal."""


def add(found: list[Json], document: launch.Launch, raw: str, until: float) -> None:
    """Fill in the threads of each process that is a Python."""
    spy = _py_spy(document)
    for process in found:
        left_s = until - time.monotonic()
        if left_s <= 0:
            return
        if spy and _is_python(process["pid"]):
            if _by_py_spy(process, spy, min(PY_SPY_S, left_s)):
                continue
            spy = ""  # not allowed here: do not lose the time again
        if process["state"] not in _DEAF:
            _by_signal(process, raw)


def _py_spy(document: launch.Launch) -> str:
    """Its path, or nothing."""
    if document.env_dir and os.access(f"{document.env_dir}/bin/py-spy", os.X_OK):
        return f"{document.env_dir}/bin/py-spy"
    return shutil.which("py-spy", path=document.env.get("PATH")) or ""


def _is_python(pid: int) -> bool:
    try:
        return "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def _by_py_spy(process: Json, spy: str, limit_s: float) -> bool:
    """A stopped process can be read too: it is not paused for it."""
    command = [spy, "dump", "--nonblocking", "--json", "--pid", str(process["pid"])]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=True
        )
        threads = json.loads(ended.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    for thread in threads[:MOST_THREADS]:
        frames = [
            {"file": f.get("filename") or "", "line": f.get("line") or 0, "function": f["name"]}
            for f in thread.get("frames", [])[:MOST_FRAMES]
        ]
        main = (
            thread.get("thread_name") == "MainThread"
            or thread.get("os_thread_id") == process["pid"]
        )
        name = thread.get("thread_name") or str(thread.get("os_thread_id") or "")
        process["threads"].append({"name": name, "main": main, "frames": frames})
    process["threads"].sort(key=lambda thread: not thread["main"])
    process["how"] = "py-spy"
    return True


# -- faulthandler ----------------------------------------------------------------------------------


def _by_signal(process: Json, raw: str) -> None:
    """Ask a Python in which our `sitecustomize` has run; nobody else is sent the signal."""
    pid = process["pid"]
    # any signal ends such a call, and Python does not begin it anew
    if waits.of_thread(pid, pid).kind == waits.SIGNAL or not _listens(pid, os.path.realpath(raw)):
        return
    before = os.path.getsize(raw)
    processes.send(pid, names.STACKS_SIGNAL)
    text = _answer(raw, before)
    if not text:
        process["note"] = "it did not answer"
        return
    process["threads"] = parse(text)
    process["how"] = "faulthandler"


def _listens(pid: int, raw: str) -> bool:
    """True if the process handles the signal and still has the file open: both, or it might end of

    the signal, or write into a file of its own.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith(b"SigCgt:"))
        if not caught >> (names.STACKS_SIGNAL - 1) & 1:
            return False
        wanted = os.stat(raw)
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{fd}").endswith(f"/{names.STACKS_RAW}"):
                status = os.stat(f"/proc/{pid}/fd/{fd}")
                if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    return False


def _answer(raw: str, before: int) -> str:
    """What is written from `before` on, once it grows no more."""
    until = time.monotonic() + ANSWER_S
    size, since = before, time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.01)
        now = os.path.getsize(raw)
        if now != size:
            size, since = now, time.monotonic()
        elif size > before and time.monotonic() - since > SETTLED_S:
            break
    if size <= before:
        return ""
    with open(raw, "rb") as file:
        file.seek(before)
        return file.read(min(size - before, MOST_RAW)).decode("utf-8", "replace")


def parse(text: str) -> list[Json]:
    """Threads as faulthandler writes them; the main one is its last."""
    threads: list[Json] = []
    for line in text.splitlines():
        head, frame = _HEAD.match(line), _FRAME.match(line)
        if head:
            threads.append({"name": f"0x{head.group(2)}", "main": False, "frames": []})
        elif frame and threads and len(threads[-1]["frames"]) < MOST_FRAMES:
            file, number, function = frame.groups()
            threads[-1]["frames"].append({"file": file, "line": int(number), "function": function})
    if threads:
        threads[-1]["main"] = True
        threads[-1]["name"] = "MainThread"
    return threads[-MOST_THREADS:][::-1]


# -- around them -----------------------------------------------------------------------------------


def add_source(process: Json, until: float) -> None:
    """The text of the innermost lines, as the process itself finds its files."""
    for thread in process["threads"]:
        for frame in thread["frames"][:4]:
            if time.monotonic() < until and not frame["file"].startswith("<"):
                frame["text"] = _line(process["pid"], frame["file"], frame["line"])


def _line(pid: int, path: str, number: int) -> str:
    where = f"/proc/{pid}/root{path}" if os.path.isabs(path) else f"/proc/{pid}/cwd/{path}"
    try:
        if os.path.getsize(where) > 4 << 20 or not os.path.isfile(where):
            return ""
        with open(where, "rb") as file:
            for i, line in enumerate(file, 1):
                if i == number:
                    return line.decode("utf-8", "replace").strip()[:200]
    except OSError:
        pass
    return ""


def gpu_percent(env: dict[str, str], until: float) -> list[int]:
    """Load of the job's GPUs; nothing where there is none, or no nvidia-smi."""
    shown = env.get("CUDA_VISIBLE_DEVICES", "")
    path = shutil.which("nvidia-smi", path=env.get("PATH")) if shown else None
    left_s = until - time.monotonic()
    if not path or left_s <= 0:
        return []
    command = [path, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", shown]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=left_s, check=True
        )
        return [int(line) for line in ended.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
