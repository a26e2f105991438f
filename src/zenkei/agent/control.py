"""The socket in an attempt's directory: wake-ups, and commands to start inside the tree.

`mpiexec` starts its daemons on other nodes through such commands (as it would through ssh). Only
this uid can connect (the directory is 0700). Called by the supervisor's loop; nothing here blocks.
"""

from __future__ import annotations

import array
import os
import selectors
import signal
import socket
import struct
from typing import TYPE_CHECKING

from zenkei.agent import mpi, processes, rank_env, spawn
from zenkei.agent.launched_ranks import LaunchedRanks
from zenkei.agent.mpi_ranks import MpiRanks
from zenkei.protocol import names, wire

if TYPE_CHECKING:
    from zenkei.agent.supervisor import Supervisor

READ_BYTES = 65536
# a client that does not read must not fill the supervisor's memory
BACKLOG_BYTES = 1 << 20


class ControlSocket:
    """Listens while the attempt lives."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._socket: socket.socket | None = None
        self._commands: dict[int, Connection] = {}

    def open(self, selector: selectors.BaseSelector) -> None:
        """The current directory is the attempt's: a relative name is always short enough."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.bind(names.CONTROL_SOCKET)
        sock.listen(64)
        selector.register(sock, selectors.EVENT_READ, self._accept)
        self._socket = sock

    def _accept(self, _fd: int) -> None:
        assert self._socket is not None
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        client.setblocking(False)
        Connection(client, self._supervisor, self._commands)

    def command_ended(self, pid: int, status: int) -> bool:
        """True if the process was started for a client."""
        connection = self._commands.pop(pid, None)
        if connection is None:
            return False
        connection.ended(status)
        return True

    def links(self) -> list[int]:
        """Processes that mpiexec has started here, and that live."""
        return [pid for pid, connection in self._commands.items() if connection.is_link]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            try:
                os.unlink(names.CONTROL_SOCKET)
            except FileNotFoundError:
                pass


class Connection:
    """One client: `WAKE` frames, or one command with its input, output and end."""

    def __init__(
        self, client: socket.socket, supervisor: Supervisor, commands: dict[int, Connection]
    ) -> None:
        self._client = client
        self._supervisor = supervisor
        self._selector = supervisor.selector
        self._commands = commands
        self._received = b""
        self._to_send = b""
        self._to_command = b""
        self._input_ended = False
        self._stdin = -1
        self._child: spawn.Child | None = None
        self._pipes: dict[int, bytes] = {}
        self._status: int | None = None
        self._is_told = False
        self.is_link = False
        self._local = 0
        self._rank: int | None = None
        self._rights: list[int] = []
        self._selector.register(client, selectors.EVENT_READ, self._on_client)

    # -- from the client ---------------------------------------------------------------------------

    def _on_client(self, _fd: int) -> None:
        self._send_more()
        try:
            data = self._receive()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            frames, self._received = wire.split(self._received + data)
        except ValueError:
            self._lost()
            return
        for kind, payload in frames:
            self._handle(kind, payload)

    def _receive(self) -> bytes:
        """Bytes, and pipes that come with them."""
        space = socket.CMSG_SPACE(2 * struct.calcsize("i"))
        data, extra, _, _ = self._client.recvmsg(READ_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, rights in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._rights += array.array("i", rights[: len(rights) // 4 * 4])
        return data

    def _handle(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.WAKE:
            self._supervisor.on_wake()
        elif kind in (wire.RUN, wire.LINK) and self._child is None:
            self.is_link = kind == wire.LINK
            self._start(os.fsdecode(payload))
        elif kind in (wire.RANK, wire.RANK_ENDED):
            self._on_rank(kind, payload)
        elif kind in (wire.AS, wire.SIGNAL) and len(payload) != 4:
            self._lost()
        elif kind == wire.AS:
            self._local = struct.unpack(">I", payload)[0]
        elif self._child is None or self._status is not None:
            return
        elif kind == wire.INPUT:
            self._input(payload)
        elif kind == wire.SIGNAL:
            self._signal(struct.unpack(">I", payload)[0])

    def _on_rank(self, kind: bytes, payload: bytes) -> None:
        """From `rank_wrapper`."""
        ranks = self._supervisor.ranks
        if not isinstance(ranks, LaunchedRanks):
            return
        try:
            if kind == wire.RANK:
                pipes, self._rights = self._rights, []
                self._rank = ranks.register(payload, pipes)
                self._supervisor.stopper.ask_late(ranks.processes_of(self._rank))
            elif self._rank is not None:
                rank, self._rank = self._rank, None
                self._supervisor.failed(ranks.rank_ended(rank, payload))
                self._send(wire.RANK_ENDED, b"")
        except (ValueError, KeyError, TypeError, PermissionError):
            # words or descriptors (a plain file cannot be awaited) that no wrapper sends
            self._lost()

    def _start(self, command: str) -> None:
        attempt = self._supervisor.attempt
        document = attempt.document
        first = document.node_rank * document.ranks
        env = rank_env.variables(attempt, first + self._local, self._local)
        if not self.is_link and document.nodes * document.ranks > 1:
            # under launchers that place the ranks themselves it does not come with the variables
            rank_env.place(env, first + self._local, self._local)
        name = document.node if self.is_link and mpi.needs_host_name(document) else ""
        argv = (*document.prefix, "/bin/sh", "-c", command)
        program = spawn.Program(argv, names.WORK_DIR, env, name)
        self._child = spawn.spawn(program, attempt.group, with_input=True)
        if self._child.error:
            self._not_started(self._child)
            return
        self._commands[self._child.pid] = self
        self._stdin = self._child.stdin
        os.set_blocking(self._stdin, False)
        for fd, kind in ((self._child.stdout, wire.OUT), (self._child.stderr, wire.ERR)):
            os.set_blocking(fd, False)
            self._pipes[fd] = kind
            self._selector.register(fd, selectors.EVENT_READ, self._on_pipe)

    def _not_started(self, child: spawn.Child) -> None:
        spawn.close(child)
        code = spawn.exit_code(child.error)
        self._status = code << 8
        self._send(wire.ERR, f"zenkei: cannot start it: {os.strerror(child.error)}\n".encode())
        self._send(wire.EXIT, struct.pack(">i", code))

    def _input(self, payload: bytes) -> None:
        """Bytes for the command; none: the end of its input."""
        if payload:
            self._to_command += payload
        else:
            self._input_ended = True
        self._feed()

    def _feed(self, _fd: int = -1) -> None:
        """Write what the command takes now; the rest when it takes more."""
        fd = self._stdin
        if fd < 0:
            return
        try:
            while self._to_command:
                self._to_command = self._to_command[os.write(fd, self._to_command) :]
        except BlockingIOError:
            pass
        except OSError:
            # it has closed its input, or ended
            self._to_command, self._input_ended = b"", True
        registered = fd in self._selector.get_map()
        if self._to_command and not registered:
            self._selector.register(fd, selectors.EVENT_WRITE, self._feed)
        elif not self._to_command and registered:
            self._selector.unregister(fd)
        if self._input_ended and not self._to_command:
            self._stdin = -1
            os.close(fd)

    def _signal(self, number: int) -> None:
        assert self._child is not None
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    # -- to the client -----------------------------------------------------------------------------

    def _on_pipe(self, fd: int) -> None:
        if len(self._to_send) > BACKLOG_BYTES:
            self._send_more()
            return
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._send(self._pipes[fd], data)
            return
        self._selector.unregister(fd)
        os.close(fd)
        del self._pipes[fd]
        self._maybe_finish()

    def _send(self, kind: bytes, payload: bytes) -> None:
        self._to_send += wire.frame(kind, payload)
        self._send_more()

    def _send_more(self) -> None:
        try:
            while self._to_send:
                self._to_send = self._to_send[self._client.send(self._to_send) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_send = b""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._to_send else 0)
        if self._client.fileno() >= 0:
            self._selector.modify(self._client, wanted, self._on_client)

    # -- ends --------------------------------------------------------------------------------------

    def ended(self, status: int) -> None:
        """The command's process was reaped."""
        self._status = status
        ranks = self._supervisor.ranks
        if self.is_link and isinstance(ranks, MpiRanks):
            self._supervisor.failed(ranks.link_ended())
        self._maybe_finish()

    def _maybe_finish(self) -> None:
        """Tell the end after all output, unless leftovers keep the pipes open."""
        if self._status is None or self._is_told or self._client.fileno() < 0:
            return
        # the end of a pipe comes back here
        self._is_told = True
        for fd in list(self._pipes):
            self._on_pipe(fd)
        if os.WIFEXITED(self._status):
            code = os.WEXITSTATUS(self._status)
        else:
            code = -os.WTERMSIG(self._status)
        self._send(wire.EXIT, struct.pack(">i", code))

    def _lost(self) -> None:
        """The client is gone: what it started ends too, as with a broken ssh connection."""
        if self._client.fileno() < 0:
            return
        self._selector.unregister(self._client)
        self._client.close()
        for fd in self._pipes:
            self._selector.unregister(fd)
            os.close(fd)
        self._pipes.clear()
        self._to_command, self._input_ended = b"", True
        self._feed()
        for fd in self._rights:
            os.close(fd)
        ranks = self._supervisor.ranks
        if self._rank is not None and isinstance(ranks, LaunchedRanks):
            self._supervisor.failed(ranks.rank_lost(self._rank))
        if self._child is not None and self._status is None:
            for pid in [*processes.below(self._child.pid), self._child.pid]:
                processes.send(pid, signal.SIGKILL)
