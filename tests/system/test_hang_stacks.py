"""Stacks of running ranks: taken without disturbing the program, whatever state it is in."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.local_place import LocalPlace, until
from zenkei.model.ids import AttemptId
from zenkei.model.job import EnvRequest, HangPolicy, StopReason
from zenkei.ports.engine import DumpStacks, Released

TEACH = "import os, time\nprint(os.getpid(), flush=True)\n"
WAIT = TEACH + "def wait():\n    time.sleep(1000)\nwait()"


@pytest.fixture
def place(short_tmp: Path):
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


def python(program: str) -> tuple[str, ...]:
    return ("python3", "-c", program)


def dumped(place: LocalPlace, attempt: AttemptId, count: int = 1) -> Any:
    """The newest of `count` dumps, the last of which is asked for here."""
    place.engine.tell(attempt, DumpStacks())

    def dumps() -> list[bytes]:
        return place.engine.read(attempt, "stacks/0", 0, 1 << 20).splitlines()

    until(lambda: len(dumps()) >= count, "a dump")
    return json.loads(dumps()[-1])


def started(place: LocalPlace, number: int, program: str, **options: Any) -> tuple[AttemptId, int]:
    """An attempt whose rank has printed its pid, and that pid."""
    attempt = place.launch(number, python(program), **options)
    return attempt, int(place.until_output(attempt, b"\n").split()[0])


def test_the_stack_of_an_ordinary_python_program_is_seen(place):
    attempt, pid = started(place, 1, WAIT)
    [process] = dumped(place, attempt)["processes"]
    assert (process["rank"], process["pid"], process["how"]) == (0, pid, "faulthandler")
    [main] = process["threads"]
    assert [frame["function"] for frame in main["frames"]] == ["wait", "<module>"]
    assert process["waits"][0]["wait"].startswith("sleeps (for at most ")


def test_stacks_can_be_asked_for_where_nobody_watches_for_hangs(place):
    attempt, _ = started(place, 1, WAIT, hang=HangPolicy(enabled=False))
    assert dumped(place, attempt)["processes"][0]["threads"]


def test_a_stopped_rank_holds_up_no_dump_and_is_shown_as_stopped(place):
    attempt, pid = started(place, 1, WAIT)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T", "stops")
    [process] = dumped(place, attempt)["processes"]
    assert (process["state"], process["how"], process["threads"]) == ("T", "kernel", [])


def test_a_program_that_is_no_python_is_shown_by_what_the_kernel_says(place):
    attempt = place.launch(1, ("/bin/sh", "-c", "echo go; sleep 1000; true"))
    place.until_output(attempt, b"go\n")
    shell, sleep = dumped(place, attempt)["processes"]
    assert shell["waits"][0]["wait"] == "waits for a child process"
    assert sleep["waits"][0]["wait"].startswith("sleeps")


def test_a_program_that_has_closed_its_files_or_takes_the_signal_away_is_left_alone(place):
    closes = "import os\nos.closerange(3, 1000)\nmine = open('mine', 'wb')\n" + WAIT
    resets = "import signal\nsignal.signal(59, signal.SIG_DFL)\n" + WAIT
    for number, program in enumerate((closes, resets), 1):
        attempt, pid = started(place, number, program)
        assert dumped(place, attempt)["processes"][0]["threads"] == []
        assert Path(f"/proc/{pid}").exists()
        work = place.node_dir(attempt) / "work"
        assert [path.stat().st_size for path in work.glob("mine")] in ([], [0])


def test_a_dump_does_not_interrupt_what_the_program_does(place):
    program = TEACH + "time.sleep(1.0)\nimport socket\na, b = socket.socketpair()\n"
    program += "import threading\nthreading.Timer(0.5, b.send, (b'x',)).start()\nprint(a.recv(1))"
    attempt, _ = started(place, 1, program)
    for count in (1, 2):
        dumped(place, attempt, count)
    place.wait(attempt, Released)
    assert place.exited(attempt).exit.code == 0
    assert b"b'x'" in place.output(attempt)


def test_a_py_spy_that_may_not_trace_gives_way_to_what_python_says_itself(place, tmp_path):
    spy = tmp_path / "py-spy"
    spy.write_text("#!/bin/sh\necho Permission denied >&2; exit 1\n")
    spy.chmod(0o755)
    python_dir = place.home / "agent" / "bin"
    env = EnvRequest(vars={"PATH": f"{tmp_path}:{python_dir}:/usr/bin:/bin"})
    attempt, _ = started(place, 1, WAIT, env=env)
    assert dumped(place, attempt)["processes"][0]["how"] == "faulthandler"


def test_a_sitecustomize_of_the_environment_runs_as_before(place, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.customized = 'yes'\n")
    command = f"PYTHONPATH=$PYTHONPATH:{tmp_path} python3 -c 'print(customized)'"
    attempt = place.launch(1, ("/bin/sh", "-c", command))
    place.wait(attempt, Released)
    assert place.output(attempt) == b"yes\n"


def test_a_program_runs_as_before_where_the_file_for_stacks_is_gone(place):
    command = "rm -rf ../stacks; ZENKEI_STACKS=99999:/nowhere python3 -c 'print(1)'"
    attempt = place.launch(1, ("/bin/sh", "-c", f"{command}; python3 -c 'print(2)'"))
    place.wait(attempt, Released)
    assert place.output(attempt) == b"1\n2\n"


def test_a_deadlock_ends_the_attempt_with_the_place_where_it_waits(place):
    program = "import threading, time\nfor i in range(8):\n    print(i, flush=True)\n"
    program += "    time.sleep(0.15)\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()"
    policy = HangPolicy(quiet_s=1.0, startup_s=3.0)
    ended = place.run(1, python(program), hang=policy)
    assert ended.reason is StopReason.HUNG
    assert (ended.exit.rank, ended.exit.node) == (0, "node-1")
    assert ended.exit.detail.endswith("rank 0 waits for a lock at <string>:7 in <module>")
