"""The warm process: forks a supervisor per launch, adopts and ends what a dead one leaves.

Started by an engine with one end of a socket pair as its standard input. It is only a speed-up: its
death ends no job, a launch works without it, and another can be started at any time. It ends when
the engine is gone and its last supervisor has ended. Every child that it has not forked itself was
adopted from a dead supervisor and is killed.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import selectors
import signal
import socket

from zenkei.agent import diary, groups, kernel, processes, remains, supervisor
from zenkei.protocol import names, records, wire

AGAIN_S = 0.02


def serve(without: tuple[str, ...] = ()) -> None:
    """Until the engine is gone and nothing is left to look after."""
    kernel.become_subreaper()
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    control.setblocking(False)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.set_blocking(read_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    places = groups.find_places(without)
    groups.sweep(places)
    processes.boot_id()
    gc.collect()
    gc.disable()
    gc.freeze()
    Server(control, read_end, places).run()


class Server:
    """children: directory of the attempt by process id. orphaned: whose supervisor has died."""

    def __init__(self, control: socket.socket, signals: int, places: groups.Places) -> None:
        self._control = control
        self._signals = signals
        self._places = places
        self._selector = selectors.DefaultSelector()
        self._received = b""
        self._children: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._orphaned: list[str] = []
        self._used: set[str] = set()
        self._open = True
        self._selector.register(control, selectors.EVENT_READ, self._on_control)
        self._selector.register(signals, selectors.EVENT_READ, self._on_signal)

    def run(self) -> None:
        while self._open or self._children or self._orphaned:
            timeout = AGAIN_S if self._orphaned else None
            for key, _ in self._selector.select(timeout):
                key.data()
            self._reap()
            self._settle()

    def _on_control(self) -> None:
        try:
            data = self._control.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._open = False
            self._selector.unregister(self._control)
            self._control.close()
            return
        frames, self._received = wire.split(self._received + data)
        for kind, payload in frames:
            if kind == wire.SUPERVISE:
                directory, secrets, tree = read_order(payload)
                self._supervise(directory, secrets, tree)

    def _on_signal(self) -> None:
        try:
            os.read(self._signals, 4096)
        except BlockingIOError:
            pass

    def _supervise(self, directory: str, secrets: dict[str, bytes], tree: str) -> None:
        """tree: its supervisor is born in the tree's group; empty: it must stay outside."""
        group = groups.unified_folder(self._places, tree) if tree else ""
        pid, inside = _fork(group)
        if pid == 0:
            self._become_supervisor(directory, secrets, inside=inside)
        self._children[pid] = directory
        if inside:
            self._groups[pid] = group

    def _become_supervisor(
        self, directory: str, secrets: dict[str, bytes], *, inside: bool
    ) -> None:
        """In the fork; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            os.closerange(3, 64)
            os.setsid()
            used = frozenset(self._used)
            supervisor.main(directory, secrets, self._places, inside=inside, used=used)
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may return from a fork
            diary.note_exception()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            directory = self._children.pop(pid, None)
            group = self._groups.pop(pid, "")
            if group:
                groups.remove_empty(group)
            if directory is not None and not _is_finished(directory):
                self._orphaned.append(directory)

    def _settle(self) -> None:
        """End what was adopted; when nothing of it is left, let a fork write the records."""
        if not self._orphaned:
            return
        adopted = [p for p in processes.children(os.getpid()) if p not in self._children]
        for pid in adopted:
            found = [*processes.below(pid), pid]
            self._used |= remains.shared_by(found)
            for each in found:
                processes.send(each, signal.SIGKILL)
        if not adopted:
            waiting, self._orphaned = self._orphaned, []
            for directory in waiting:
                self._supervise(directory, {}, "")
            self._used.clear()


def _fork(group: str) -> tuple[int, bool]:
    """The child's pid, and whether it was born in the group."""
    if group and groups.make(group):
        try:
            return kernel.fork_into(group), True
        except OSError:
            groups.remove_empty(group)
    return os.fork(), False


def read_order(payload: bytes) -> tuple[str, dict[str, bytes], str]:
    """Directory, secret values and tree of a SUPERVISE frame."""
    order = json.loads(payload)
    values = {name: base64.b64decode(text) for name, text in order.get("secrets", {}).items()}
    return str(order["dir"]), values, str(order.get("tree", ""))


def _is_finished(directory: str) -> bool:
    """True if nothing remains to be recorded, or the directory is gone."""
    path = os.path.join(directory, names.SPOOL_FILE)
    if not os.path.exists(path):
        return True
    found = records.read(path)
    return bool(found) and found[-1]["kind"] == records.RELEASED
