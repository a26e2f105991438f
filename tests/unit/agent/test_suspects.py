"""Who merely waits, and who may be waiting for what is done outside the job: real processes."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.unit.agent.programs import helpers, running, settled
from zenkei.agent import processes, waits
from zenkei.agent.suspects import LIVES, State, Suspects
from zenkei.protocol import hangs

LATER_S = 10_000.0
DATAGRAMS = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0))\n"
LIBC = "import ctypes; libc = ctypes.CDLL(None)\n"
THREAD = "import threading; t = threading.Thread(target={}); t.start(); t.join()"
OUTSIDE = {
    "a datagram": (
        DATAGRAMS + "s.recv(1)",
        waits.SOCKET,
    ),
    "a thread that waits for a datagram": (
        DATAGRAMS + THREAD.format("lambda: s.recv(1)"),
        waits.LOCK,
    ),
    "a timer of the kernel": (
        LIBC
        + "import select; t = libc.timerfd_create(1, 0); e = select.epoll(); e.register(t, 1)\n"
        "e.poll()",
        waits.POLL,
    ),
    "a change of a folder": (
        LIBC + "import select; w = libc.inotify_init(); p = select.poll(); p.register(w, 1)\n"
        "p.poll()",
        waits.POLL,
    ),
    "a child that watches a file": (
        "import subprocess; subprocess.Popen(['tail', '-f', 'log'], stdout=-1).stdout.read()",
        waits.PIPE_READ,
    ),
    "a question on a terminal": ("import os; os.read(os.openpty()[1], 1)", waits.OTHER),
    "another turn of a loop": (
        "import threading\nwhile True: threading.Event().wait(500)",
        waits.LOCK,
    ),
}


def judged(pid: int, *, alone: bool = False, joins: bool = False) -> State:
    """What a rank with this process and all below it is said to do, a long time after it began."""

    def groups() -> dict[int, list[int]]:
        return {0: [pid, *processes.below(pid)]}

    suspects = Suspects(groups, (), alone=alone)
    for now in (0.0, LATER_S):
        suspects.look(now)
    return suspects.states(LATER_S, 2.0, joins=frozenset({0} if joins else ()))[0]


@pytest.mark.parametrize("what", OUTSIDE)
def test_who_waits_for_what_is_done_outside_is_in_doubt(tmp_path, what):
    program, kind = OUTSIDE[what]
    (tmp_path / "log").touch()
    with running(program, str(tmp_path)) as pid:
        assert settled(pid, kind).kind == kind
        for child in processes.below(pid):
            settled(child, waits.OTHER)
        for thread in helpers(pid):
            settled(pid, waits.SOCKET, thread)  # its starter waits for a lock, too
        assert judged(pid).kind == hangs.POLLS


def test_who_waits_for_a_lock_on_a_file_is_in_doubt_unless_the_job_itself_holds_it(
    tmp_path: Path,
) -> None:
    takes = "import fcntl, os; f = open('lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    with open(tmp_path / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with running(takes, str(tmp_path)) as pid:
            settled(pid, waits.FILE_LOCK)
            assert judged(pid).kind == hangs.POLLS
    twice = takes + "\nos.fork(); g = open('lock'); fcntl.flock(g, fcntl.LOCK_EX)"
    with running(twice, str(tmp_path)) as pid:
        settled(pid, waits.FILE_LOCK)
        for child in processes.below(pid):
            settled(child, waits.FILE_LOCK)
        assert judged(pid).kind == hangs.WAITS


def test_who_accepts_connections_lives_if_no_other_rank_could_come(tmp_path: Path) -> None:
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('s'); s.listen(); s.accept()"
    )
    with running(program, str(tmp_path)) as pid:
        settled(pid, waits.ACCEPT)
        assert judged(pid, alone=True) == State(LIVES, "waits for clients")
        assert judged(pid).kind == hangs.WAITS


def test_a_server_in_a_thread_lives_if_the_main_thread_waits_for_its_threads(
    tmp_path: Path,
) -> None:
    program = "import socket; s = socket.create_server(('127.0.0.1', 0))\n"
    with running(program + THREAD.format("s.accept"), str(tmp_path)) as pid:
        settled(pid, waits.LOCK)
        assert judged(pid, alone=True, joins=True) == State(LIVES, "waits for clients")
        unsure = judged(pid, alone=True)
        assert (unsure.kind, unsure.woke) == (hangs.WAITS, True)


def test_a_program_that_has_a_port_but_waits_for_its_worker_is_no_server(tmp_path: Path) -> None:
    program = (
        "import multiprocessing, os, socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "r, w = multiprocessing.Pipe()\nr.poll(None)"
    )
    with running(program, str(tmp_path)) as pid:
        settled(pid, waits.POLL)
        assert judged(pid, alone=True).kind == hangs.WAITS


def test_a_thread_that_will_wake_by_itself_may_be_what_the_main_thread_waits_for(
    tmp_path: Path,
) -> None:
    program = THREAD.format("lambda: threading.Event().wait(500)")
    with running(program, str(tmp_path)) as pid:
        settled(pid, waits.LOCK)
        assert judged(pid).woke
