"""The few system calls that Python lacks. Linux only. Called by supervisors and ranks to be."""

from __future__ import annotations

import ctypes
import os
import signal

_LIBC = ctypes.CDLL(None, use_errno=True)
# does not let go of the interpreter's lock during the call: a fork must not
_HELD = ctypes.PyDLL(None, use_errno=True)
_SYS_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MS_RDONLY, _MS_NOSUID, _MS_REMOUNT, _MS_BIND = 1, 2, 32, 4096
_MS_REC, _MS_SLAVE = 16384, 1 << 19
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
_CLONE_NEWIPC = 0x08000000
_MS_NODEV = 4
_MNT_DETACH = 2
_IPC_RMID = 0
_PR_CAPBSET_DROP = 24
_DAC_READ_SEARCH, _SYS_PTRACE, _SYS_ADMIN, _MKNOD = 2, 19, 21, 27


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(number: int) -> None:
    """This process gets signal `number` when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def own_mounts() -> None:
    """A mount namespace of this process's own. Raises OSError."""
    _check(_LIBC.unshare(_CLONE_NEWNS))
    _check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))


def show_read_only(directory: str, at: str = "") -> None:
    """In a mount namespace of this process's own, make `directory` read-only, or show it so at

    another path, which exists. Raises OSError.
    """
    source, target = os.fsencode(directory), os.fsencode(at or directory)
    own_mounts()
    _check(_LIBC.mount(source, target, None, _MS_BIND, None))
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _check(_LIBC.mount(None, target, None, flags, None))


def cover(directory: str) -> None:
    """Let this process and all below it see an empty directory there. Raises OSError."""
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _check(_LIBC.mount(b"hidden", os.fsencode(directory), b"tmpfs", flags, b"mode=0555,size=0"))


def cannot_look_behind() -> None:
    """What is executed from here on can neither undo a mount nor go around it, also as root."""
    for capability in (_DAC_READ_SEARCH, _SYS_PTRACE, _SYS_ADMIN, _MKNOD):
        _check(_LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))


def hide_shared_memory(shm: str) -> None:
    """Shared memory, semaphores and message queues of this process's own. Raises OSError.

    Whatever is made in them goes with the last process that sees them. shm: a directory that holds
    POSIX shared memory; the new one is as large.
    """
    found = os.statvfs(shm)
    options = f"mode=1777,size={found.f_blocks * found.f_frsize}".encode()
    _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWIPC))
    _check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    _check(_LIBC.mount(b"shm", os.fsencode(shm), b"tmpfs", _MS_NOSUID | _MS_NODEV, options))


def remove_ipc(kind: str, number: int) -> None:
    """Remove a System V object: kind `shm`, `sem` or `msg`. Raises OSError."""
    if kind == "shm":
        _check(_LIBC.shmctl(number, _IPC_RMID, None))
    elif kind == "sem":
        _check(_LIBC.semctl(number, 0, _IPC_RMID))
    else:
        _check(_LIBC.msgctl(number, _IPC_RMID, None))


def unmount(path: str) -> None:
    """Take a mount out of sight, in use or not. Raises OSError."""
    _check(_LIBC.umount2(os.fsencode(path), _MNT_DETACH))


def take_host_name(name: str) -> None:
    """A host name of this process's own; as an ordinary user in a user namespace. Raises OSError.

    In the user namespace the process keeps its uid and gid; other ids appear as nobody's.
    """
    uid, gid = os.getuid(), os.getgid()
    if os.geteuid() == 0:
        _check(_LIBC.unshare(_CLONE_NEWUTS))
    else:
        _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWUTS))
        ids = ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")
        for file, text in ids:
            fd = os.open(f"/proc/self/{file}", os.O_WRONLY)
            os.write(fd, text.encode())
            os.close(fd)
    encoded = os.fsencode(name)
    _check(_LIBC.sethostname(encoded, len(encoded)))


def fork_into(group: str) -> int:
    """As os.fork, but the child is born in the control group (v2) with this directory.

    Raises OSError where the kernel cannot (before 5.7, or not allowed). What os.fork does around
    the system call is done here as well; the process must be single-threaded.
    """
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    arguments = (ctypes.c_uint64 * 11)(_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD)
    arguments[10] = folder
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid = int(_HELD.syscall(_SYS_CLONE3, arguments, ctypes.sizeof(arguments)))
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    api.PyOS_AfterFork_Parent()
    os.close(folder)
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return pid


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
