"""Start one process of a tree; called by the supervisor (which is single-threaded: fork is safe).

The child enters the tree's control groups before it executes anything, is a session leader, dies
with the supervisor (its descendants may not: that is the cleaner's work), has default signals,
/dev/null as input and no inherited descriptor.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import NamedTuple

from zenkei.agent import kernel

NOT_FOUND = 127
NOT_EXECUTABLE = 126


class Child(NamedTuple):
    """stdin: -1 unless asked for. error: why it never ran (0: it runs)."""

    pid: int
    stdin: int
    stdout: int
    stderr: int
    error: int


def spawn(
    argv: tuple[str, ...],
    *,
    cwd: str,
    env: dict[str, str],
    entrances: list[str],
    with_input: bool = False,
    host_name: str = "",
) -> Child:
    """Returns when the program runs or has failed to start (`error`, an errno).

    host_name: one that only this process and those below it see.
    """
    in_read, in_write = os.pipe() if with_input else (os.open(os.devnull, os.O_RDONLY), -1)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    report_read, report_write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        setting = Setting(cwd, env, entrances, host_name, parent)
        _become(argv, setting, (in_read, out_write, err_write), report_write)
    for fd in (in_read, out_write, err_write, report_write):
        os.close(fd)
    failure = os.read(report_read, 16)
    os.close(report_read)
    return Child(pid, in_write, out_read, err_read, int(failure or b"0"))


def exit_code(error: int) -> int:
    """As a shell says it."""
    return NOT_FOUND if error in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


class Setting(NamedTuple):
    """What a child changes about itself before it becomes the program."""

    cwd: str
    env: dict[str, str]
    entrances: list[str]
    host_name: str
    parent: int


def _become(
    argv: tuple[str, ...], setting: Setting, descriptors: tuple[int, int, int], report: int
) -> None:
    """In the child; never returns."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() != setting.parent:
            os._exit(NOT_EXECUTABLE)
        os.setsid()
        for path in setting.entrances:
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)
        for target, fd in enumerate(descriptors):
            os.dup2(fd, target)
        if setting.host_name:
            kernel.take_host_name(setting.host_name)
        os.chdir(setting.cwd)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(argv[0], argv, setting.env)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(report, b"%d" % (error.errno or errno.ENOEXEC))
    except ValueError:
        # a NUL in a word or a variable
        os.write(report, b"%d" % errno.EINVAL)
    finally:
        os._exit(NOT_EXECUTABLE)
