"""The few system calls that Python lacks. Linux only. Called by supervisors and ranks to be."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MS_RDONLY, _MS_NOSUID, _MS_REMOUNT, _MS_BIND = 1, 2, 32, 4096
_MS_REC, _MS_SLAVE = 16384, 1 << 19
_CLONE_NEWNS = 0x00020000


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(number: int) -> None:
    """This process gets signal `number` when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def show_read_only(directory: str) -> None:
    """In a mount namespace of this process's own, make `directory` read-only. Raises OSError."""
    path = os.fsencode(directory)
    _check(_LIBC.unshare(_CLONE_NEWNS))
    _check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    _check(_LIBC.mount(path, path, None, _MS_BIND, None))
    _check(_LIBC.mount(None, path, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID, None))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
