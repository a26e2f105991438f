"""The kernel's mount calls, through ctypes: an EROFS image over its packs, read-only.

Called by `ladder`. Needs CAP_SYS_ADMIN in the caller's mount namespace, and a kernel that mounts
EROFS from files (Linux 6.12 and later). Cost: 0.5 ms. Packs are given one by one, so their number
is not limited by the length of an option.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

EROFS_MAGIC: Final = 0xE0F5E1E2

_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6
_RDONLY, _NOSUID, _NODEV = 1, 2, 4
_MOVE_FROM_EMPTY_PATH = 0x4
_AT_FDCWD = -100
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_LONGEST_STRING = 255


class NotMounted(Exception):
    """The kernel refused; the text says which call, and what that means."""

    def __init__(self, why: str, code: int = 0) -> None:
        super().__init__(why)
        self.code = code

    @property
    def is_missing(self) -> bool:
        """A file was gone: fetching again may help."""
        return self.code == errno.ENOENT


def _refused(call: str, code: int, said: str = "") -> NotMounted:
    more = f" (the kernel says: {said})" if said else ""
    return NotMounted(_meaning(call, code) + more, code)


def mount_image(image: Path, packs: Sequence[Path], at: Path) -> None:
    """Mount `image` at the directory `at`: read-only, nosuid, nodev. Raises NotMounted."""
    context = _call("fsopen", _SYS_FSOPEN, b"erofs", _FSOPEN_CLOEXEC)
    folders: list[int] = []
    try:
        settings = [(b"source", image)] + [(b"device", pack) for pack in packs]
        for key, path in settings:
            _configure(context, _SET_STRING, key, _short(path, folders))
        _configure(context, _SET_FLAG, b"ro", None)
        _configure(context, _CMD_CREATE, None, None)
        attributes = _RDONLY | _NOSUID | _NODEV
        mount = _call("fsmount", _SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)
    finally:
        for descriptor in (context, *folders):
            os.close(descriptor)
    try:
        target = os.fsencode(at)
        _call(
            *("move_mount", _SYS_MOVE_MOUNT, mount, b"", _AT_FDCWD, target, _MOVE_FROM_EMPTY_PATH)
        )
    finally:
        os.close(mount)


def unmount(at: Path) -> bool:
    """False if nothing was mounted there. A mount in use goes from the tree now, for good later."""
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_UMOUNT_NOFOLLOW, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        if libc.umount2(os.fsencode(at), flags) == 0:
            return True
        code = ctypes.get_errno()
        if code in {errno.EINVAL, errno.ENOENT}:
            return False
        if code != errno.EBUSY:
            raise _refused("umount2", code)
    raise _refused("umount2", errno.EBUSY)


def is_mount(at: Path) -> bool:
    """In the caller's mount namespace."""
    try:
        return at.lstat().st_dev != at.parent.stat().st_dev
    except FileNotFoundError:
        return False


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    try:
        _call("fsconfig", _SYS_FSCONFIG, context, command, key, value, 0)
    except NotMounted as refused:
        raise _refused("fsconfig", refused.code, _said(context)) from None


def _said(context: int) -> str:
    """What the kernel wrote about the last failure, one line."""
    lines: list[str] = []
    while len(lines) < 8:
        try:
            lines.append(os.read(context, 1024).decode("utf-8", "replace").strip())
        except OSError:
            break
    return "; ".join(line[2:] for line in lines if line.startswith("e "))


def _short(path: Path, folders: list[int]) -> bytes:
    """The kernel takes strings of up to 255 bytes: longer paths go by their open directory."""
    text = os.fsencode(path)
    if len(text) <= _LONGEST_STRING:
        return text
    folders.append(os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{folders[-1]}/".encode() + os.fsencode(path.name)


def _call(name: str, number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    typed = [
        ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each)
        for each in arguments
    ]
    result: int = libc.syscall(ctypes.c_long(number), *typed)
    if result < 0:
        raise _refused(name, ctypes.get_errno())
    return result


def _meaning(call: str, code: int) -> str:
    meanings = {
        errno.EPERM: f"uid {os.geteuid()} may not mount here (no CAP_SYS_ADMIN in this mount "
        "namespace)",
        errno.ENODEV: f"the kernel ({platform.release()}) knows no EROFS",
        errno.ENOSYS: f"the kernel ({platform.release()}) has no {call}",
        errno.ENOTBLK: f"the kernel ({platform.release()}) does not mount EROFS from files of the "
        "file system that the cache is on",
        errno.ENOENT: "a pack or the image is gone",
    }
    return meanings.get(code, f"{call} was refused: {os.strerror(code)}")
