"""What a thread of a real process waits for, and how long it says it will."""

from __future__ import annotations

import socket
import time

import pytest

from tests.unit.agent.programs import running, settled
from zenkei.agent import sockets, vitals, waits

CASES = [
    ("a long sleep", "import time; time.sleep(500)", waits.SLEEP, 400, 500),
    ("a lock", "import threading as t; x = t.Lock(); x.acquire(); x.acquire()", waits.LOCK, -1, -1),
    ("an event with a limit", "import threading as t; t.Event().wait(50)", waits.LOCK, 40, 50),
    ("an empty pipe", "import os; r, w = os.pipe(); os.read(r, 1)", waits.PIPE_READ, -1, -1),
    (
        "a full pipe",
        "import os; r, w = os.pipe(); os.write(w, bytes(10**6))",
        waits.PIPE_WRITE,
        -1,
        -1,
    ),
    ("a socket", "import socket; a, b = socket.socketpair(); a.recv(1)", waits.SOCKET, -1, -1),
    ("a child", "import subprocess; subprocess.call(['sleep', '600'])", waits.CHILD, -1, -1),
    ("a signal", "import signal; signal.pause()", waits.SIGNAL, -1, -1),
    ("a fifo", "import os; os.mkfifo('f'); open('f')", waits.OPEN, -1, -1),
    ("an event loop", "import asyncio; asyncio.run(asyncio.sleep(70))", waits.POLL, 60, 70),
]


def inodes(pid: int) -> list[int]:
    return sockets.inodes_of(sockets.files_of(pid).values())


ON = [
    ("a pipe", "import os; r, w = os.pipe(); os.read(r, 1)", waits.PIPE_READ, ["pipe:"]),
    (
        "poll",
        "import os, select; p = select.poll(); p.register(os.pipe()[0], 1); p.poll()",
        waits.POLL,
        ["pipe:"],
    ),
    ("select", "import os, select; select.select([os.pipe()[0]], [], [])", waits.POLL, ["pipe:"]),
    (
        "an event loop",
        "import asyncio; asyncio.run(asyncio.sleep(70))",
        waits.POLL,
        ["socket:"],
    ),
]


@pytest.mark.parametrize(("program", "kind", "on"), [pytest.param(*c[1:], id=c[0]) for c in ON])
def test_what_a_thread_waits_on_is_known(tmp_path, program, kind, on):
    with running(program, str(tmp_path)) as pid:
        found = settled(pid, kind).on
        assert [target.partition(":")[0] + ":" for target in found] == on


@pytest.mark.parametrize(
    ("program", "kind", "least_s", "most_s"), [pytest.param(*c[1:], id=c[0]) for c in CASES]
)
def test_a_wait_is_known_with_its_end(tmp_path, program, kind, least_s, most_s):
    with running(program, str(tmp_path)) as pid:
        found = settled(pid, kind)
        assert (found.kind, found.sure) == (kind, True)
        assert least_s <= found.left_s <= most_s


def test_a_process_that_is_gone_waits_for_nothing_that_is_known():
    assert not waits.of_thread(2**22 + 1, 2**22 + 1).sure


def test_bytes_that_a_process_receives_into_memory_are_seen(tmp_path):
    program = (
        "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\n"
        "c = socket.create_connection(s.getsockname()); p, _ = s.accept()\n"
        "threading.Thread(target=p.sendall, args=(bytes(300_000),)).start()\n"
        "while c.recv(4096): pass\n"
    )
    with running(program, str(tmp_path)) as pid:
        settled(pid, waits.SOCKET)
        moved = 0
        for _ in range(500):
            moved = sockets.Sockets().bytes_moved(inodes(pid))
            if moved >= 600_000:
                break
            time.sleep(0.01)
        assert moved >= 600_000  # sent and received


def test_a_process_that_computes_is_busy_and_one_that_waits_is_not(tmp_path):
    for program, busy in (("while True: pass", True), ("import time; time.sleep(500)", False)):
        with running(program, str(tmp_path)) as pid:
            if not busy:
                settled(pid, waits.SLEEP)
            before = vitals.look(time.monotonic(), [pid], None)
            time.sleep(0.5)
            motion = vitals.compare(before, vitals.look(time.monotonic(), [pid], None))
            assert motion.busy is busy
            assert not motion.flows


def test_the_other_end_of_a_connection_is_known_as_the_jobs_own_or_foreign(tmp_path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "daemon"))
    server.listen()
    program = (
        "import socket\nown, peer = socket.socketpair()\nwork = socket.socket(socket.AF_UNIX)\n"
        "work.connect('daemon')\nprint(own.fileno(), work.fileno(), flush=True)\nwork.recv(1)"
    )
    with server, running(program, str(tmp_path)) as pid:
        connection, _ = server.accept()
        settled(pid, waits.SOCKET)
        net, own = sockets.Sockets(), frozenset(inodes(pid))
        foreign = [inode for inode in own if net.is_foreign(inode, own, ("127.0.0.1",))]
        assert foreign == sockets.inodes_of(waits.of_thread(pid, pid).on)
        connection.close()
