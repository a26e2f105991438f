"""`rank COMMAND`: runs one rank below a foreign launcher (mpiexec, torchrun).

The rank's output goes to the node's supervisor through pipes of its own, not through the launcher:
so each line is known to be its rank's. The supervisor hears of the rank's end first-hand. The rank
is a session of its own: signals that a launcher sends to what it has started reach this process,
which ignores them, and never the rank. Who stops a rank is the supervisor. COMMAND is one word in
JSON: to mpiexec a `:` among the words begins another program, wherever it stands.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
import time
from typing import Sequence

from zenkei.agent import rank_env
from zenkei.protocol import names, wire

_RANK = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "RANK")
_LOCAL = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK")
NOT_STARTED = 126


def words(command: Sequence[str]) -> tuple[str, ...]:
    """What a launcher is given in place of the command, after the agent's own file."""
    return ("rank", json.dumps(list(command)))


def main(given: list[str]) -> int:
    """The rank's exit status, 128 + signal if one ended it."""
    command = json.loads(given[0]) if given else []
    rank = _number(_RANK)
    if rank is None or not command:
        sys.stderr.write("zenkei: a rank is started by mpiexec or torchrun only\n")
        return NOT_STARTED
    directory = f"{os.environ[names.ATTEMPT_DIR]}/node-{os.environ[names.NODE_RANK]}"
    sock = wire.connect(directory, names.CONTROL_SOCKET)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        sock.close()
        _become(command, rank)
    _register(sock, rank, pid, (out_read, err_read))
    for fd in (out_read, out_write, err_read, err_write):
        os.close(fd)
    _, status = os.waitpid(pid, 0)
    end = {"status": status, "at_us": time.time_ns() // 1000}
    sock.sendall(wire.frame(wire.RANK_ENDED, json.dumps(end).encode()))
    # the answer says that the end is known: nobody may end us for being late before that
    wire.receive(sock)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _register(sock: socket.socket, rank: int, pid: int, pipes: tuple[int, int]) -> None:
    message = wire.frame(wire.RANK, json.dumps({"rank": rank, "pid": pid}).encode())
    rights = array.array("i", pipes).tobytes()
    sent = sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    sock.sendall(message[sent:])


def _become(command: list[str], rank: int) -> None:
    """In the child; never returns."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        rank_env.place(os.environ, rank, _number(_LOCAL))
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"zenkei: cannot start `{command[0]}`: {error.strerror}\n")
        sys.stderr.flush()
    finally:
        os._exit(127)


def _number(variables: tuple[str, ...]) -> int | None:
    for name in variables:
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return None
