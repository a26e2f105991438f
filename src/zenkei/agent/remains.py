"""What processes leave behind: shared memory, System V objects, mounts, contexts on GPUs.

Called by the supervisor before the ranks start (`hide`), and by it and the cleaner when no process
of the tree is left (`clear`). Ideal: the tree has its own shared memory, objects and mounts, and
the kernel takes them away with its last process. Departure, where that is not allowed (an ordinary
user): of what is new since the start, belongs to this user and is used by nobody, that is removed
which this tree was seen to use at its end; and, while no other tree of this user lives on the
machine, what no person makes: files named by libraries, System V objects without a key. All else
may be the user's own, put there from a shell meanwhile. Ports go with the processes that listen.
Cost: two lists of a directory; a look at all processes only if there is something new.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any, Callable, NamedTuple

from zenkei.agent import diary, gpus, heartbeat, kernel, processes
from zenkei.protocol import launch, names

SHM = "/dev/shm"  # noqa: S108 - what others leave there is looked at, and removed if it is ours
OWN_PREFIX = os.path.basename(names.SECRETS_PREFIX)
FILE = "before"
SYSV = {"shm": "shmid", "sem": "semid", "msg": "msqid"}
"""Kinds of System V objects, and the column with their ids."""
_SYSV_MAPPED = b"/SYSV"
LIBRARIES = (
    "torch_", "psm_", "pym-", "sem.", "mp-", "mpich_shm_", "vader_segment.", "sm_segment.",
    "nccl-", "cuda.shm.", "ucx_shm_", "ray_", "joblib_",
)  # fmt: skip
"""How libraries begin the names of their files: PyTorch, Python, MPI, NCCL, CUDA, UCX, …"""
AGAIN_S = 0.1
UNMOUNT_S = 5.0


class Before(NamedTuple):
    """What there was at the start; not noted where the tree has its own."""

    shm: dict[str, int]
    sysv: dict[str, list[int]]


def hide(document: launch.Launch) -> bool:
    """Give this process and all below it shared memory of their own, or note what there is."""
    try:
        kernel.hide_shared_memory(SHM)
        return True
    except OSError:
        before = Before(_shm(), _sysv())
    try:
        with open(FILE, "w", encoding="utf-8") as file:
            json.dump(before._asdict(), file)
    except OSError as error:
        diary.note(f"{document.attempt}: shared memory will not be cleaned: {error}")
    return False


def used_by(pids: list[int]) -> set[str]:
    """Shared memory in use by these processes, if it does not go by itself."""
    before = _before()
    return set() if before is None else shared_by(pids)


def shared_by(pids: list[int]) -> set[str]:
    """Files of POSIX shared memory that these processes map or have open, `shm:ID` of System V."""
    found: set[str] = set()
    for pid in pids:
        found.update(_open_files(pid))
        for line in _maps(pid).splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5].startswith(_SYSV_MAPPED):
                found.add(f"shm:{fields[4].decode()}")
            elif len(fields) == 6:
                found.add(os.fsdecode(fields[5]))
    return {name for name in found if name.startswith((f"{SHM}/", "shm:"))}


def clear(
    document: launch.Launch, used: set[str], tell: Callable[[str], None], patience_s: float
) -> None:
    """Returns when nothing is left. tell: called once if that takes longer than patience_s."""
    before = _before()
    if before is not None:
        _clear_memory(document, before, used)
    tell_at = time.monotonic() + patience_s
    while True:
        left = _mounts_left() or gpus.still_used(document)
        if not left:
            return
        heartbeat.touch()
        if time.monotonic() >= tell_at:
            tell_at = float("inf")
            tell(left)
        time.sleep(AGAIN_S)


def _before() -> Before | None:
    try:
        with open(FILE, encoding="utf-8") as file:
            return Before(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


# -- shared memory -----------------------------------------------------------------------------


def _shm() -> dict[str, int]:
    """Inode by name of this user's files."""
    found = {}
    try:
        with os.scandir(SHM) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_uid == os.geteuid() and not entry.is_dir(follow_symlinks=False):
                    found[entry.name] = status.st_ino
    except OSError:
        pass
    return found


def _new_shm(before: Before) -> list[str]:
    return [
        f"{SHM}/{name}"
        for name, inode in _shm().items()
        if before.shm.get(name) != inode and not name.startswith(OWN_PREFIX)
    ]


def _clear_memory(document: launch.Launch, before: Before, used: set[str]) -> None:
    new = _new_shm(before)
    objects = [
        (kind, number)
        for kind, numbers in _sysv().items()
        for number in numbers
        if number not in before.sysv.get(kind, [])
    ]
    if not new and not objects:
        return
    alone = not _others(f"{names.TREE}={document.tree}".encode())
    in_use = _used(processes.everybody(), set(new))
    for path in new:
        made_by_library = os.path.basename(path).startswith(LIBRARIES)
        if path not in in_use and (path in used or (alone and made_by_library)):
            _try(os.unlink, path)
    for kind, number in objects:
        if alone or f"{kind}:{number}" in used:
            _try(kernel.remove_ipc, kind, number)


def _try(remove: Callable[..., Any], *what: Any) -> None:
    try:
        remove(*what)
    except OSError:
        pass  # gone meanwhile, or not ours after all


def _used(pids: list[int], paths: set[str]) -> set[str]:
    """Those of `paths` that one of these processes maps or has open."""
    found: set[str] = set()
    wanted = {path.encode(): path for path in paths}
    for pid in pids:
        text = _maps(pid)
        found.update(path for raw, path in wanted.items() if raw in text)
        found.update(_open_files(pid))
    return found & paths


def _maps(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    try:
        return [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    except OSError:
        return []


def _others(mark: bytes) -> bool:
    """Whether a process of another tree of this user lives."""
    prefix = f"{names.TREE}=".encode()
    for pid in processes.everybody():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                found = [word for word in file.read().split(b"\0") if word.startswith(prefix)]
        except OSError:
            continue
        if found and mark not in found:
            return True
    return False


def _sysv() -> dict[str, list[int]]:
    """Ids of this user's System V objects without a key; of segments those that are not attached.

    What has a key is meant to be found by others.
    """
    found: dict[str, list[int]] = {}
    for kind, column in SYSV.items():
        try:
            with open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
                head, *rows = [line.split() for line in file]
        except (OSError, ValueError):
            continue
        uid, number, key = head.index("uid"), head.index(column), head.index("key")
        attached = head.index("nattch") if "nattch" in head else -1
        found[kind] = [
            int(row[number])
            for row in rows
            if int(row[uid]) == os.geteuid()
            and int(row[key]) == 0
            and (attached < 0 or row[attached] == "0")
        ]
    return found


# -- mounts ------------------------------------------------------------------------------------


def _mounts_left() -> str:
    """Mounts below the attempt's directory, which are taken away first; for people."""
    here = os.path.realpath(".")
    found = _mounts(here)
    for path in sorted(found, reverse=True):
        _unmount(path)
    left = _mounts(here) if found else []
    return f"still mounted: {', '.join(left[:3])}" if left else ""


def _unmount(path: str) -> None:
    """A file system in user space may be taken away by whoever mounted it."""
    try:
        kernel.unmount(path)
        return
    except OSError:
        pass
    for program in ("fusermount3", "fusermount"):
        try:
            subprocess.run(
                [program, "-uz", path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=UNMOUNT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return


def _mounts(below: str) -> list[str]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            points = [line.split(" ")[4] for line in file]
    except OSError:
        return []
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        points = [point.replace(code, char) for point in points]
    return [point for point in points if point.startswith(f"{below}/")]
