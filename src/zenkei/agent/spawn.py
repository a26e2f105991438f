"""Start one process of a tree; called by the supervisor, which is single-threaded.

The child is in the tree's control groups before it executes anything, is a session leader, has
default signals, /dev/null as input and no inherited descriptor. The supervisor steps into the
groups for that moment, because a child made by vfork (no copy of page tables: 2 ms less) can do
nothing for itself; only a child with a host name of its own is forked.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import NamedTuple

from zenkei.agent import kernel
from zenkei.agent.groups import Group

NOT_FOUND = 127
NOT_EXECUTABLE = 126


class Child(NamedTuple):
    """stdin: -1 unless asked for. error: why it never ran (an errno, pid 0); 0: it runs."""

    pid: int
    stdin: int
    stdout: int
    stderr: int
    error: int


class Program(NamedTuple):
    """What is executed. host_name: one that only this process and those below it see."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    host_name: str = ""


def spawn(program: Program, group: Group, *, with_input: bool = False) -> Child:
    """Returns when the program runs or has failed to start."""
    in_read, in_write = os.pipe() if with_input else (os.open(os.devnull, os.O_RDONLY), -1)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    descriptors = (in_read, out_write, err_write)
    make = _fork if program.host_name else _vfork
    try:
        with group.entered():
            pid, error = make(program, descriptors), 0
    except OSError as failure:
        pid, error = 0, failure.errno or errno.ENOEXEC
    except ValueError:
        # a NUL in a word or a variable
        pid, error = 0, errno.EINVAL
    finally:
        for fd in descriptors:
            os.close(fd)
    return Child(pid, in_write, out_read, err_read, error)


def close(child: Child) -> None:
    """The pipes of one that never ran."""
    for fd in (child.stdin, child.stdout, child.stderr):
        if fd >= 0:
            os.close(fd)


def exit_code(error: int) -> int:
    """As a shell says it."""
    return NOT_FOUND if error in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


def _vfork(program: Program, descriptors: tuple[int, int, int]) -> int:
    """The child's pid. Raises OSError, ValueError."""
    process = subprocess.Popen(
        program.argv,
        stdin=descriptors[0],
        stdout=descriptors[1],
        stderr=descriptors[2],
        cwd=program.cwd,
        env=program.env,
        start_new_session=True,
        close_fds=False,  # all others close by themselves on exec
    )
    # the supervisor reaps all its children itself
    process.returncode = 0
    return process.pid


def _fork(program: Program, descriptors: tuple[int, int, int]) -> int:
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, descriptors, report_write)
    os.close(report_write)
    failure = os.read(report_read, 16)
    os.close(report_read)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)))
    return pid


def _become(program: Program, descriptors: tuple[int, int, int], report: int) -> None:
    """In the child; never returns."""
    try:
        os.setsid()
        for target, fd in enumerate(descriptors):
            os.dup2(fd, target)
        kernel.take_host_name(program.host_name)
        os.chdir(program.cwd)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(program.argv[0], program.argv, program.env)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(report, b"%d" % (error.errno or errno.ENOEXEC))
    except ValueError:
        os.write(report, b"%d" % errno.EINVAL)
    finally:
        os._exit(NOT_EXECUTABLE)
