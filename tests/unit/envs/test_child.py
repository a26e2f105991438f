"""A program of the builder's runs within limits and leaves nothing behind."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import psutil
import pytest

from zenkei.envs import child
from zenkei.envs.child import Children, Outcome
from zenkei.model.errors import Unavailable


def gone(pid: int) -> bool:
    """Waits for the death of what was killed; who adopts it reaps it in his own time."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(10) is None
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Outcome]:
    children = Children()

    def call(script: str, timeout_s: float = 30.0, **more) -> Outcome:
        argv = ["/bin/sh", "-c", script]
        return children.run(
            argv, env={"A": "1"}, cwd=tmp_path, timeout_s=timeout_s, mask=str.lower, **more
        )

    return call


def test_lines_are_masked_stripped_of_escapes_and_told_as_they_come(run):
    said: list[str] = []
    outcome = run(r"printf 'ONE\n\033[31mTWO\033[0m\rTHREE\000'; exit 3", on_line=said.append)
    assert outcome.code == 3
    assert outcome.lines == ("one", "two", "three")
    assert said == ["one", "two", "three"]


def test_only_the_given_environment_is_seen(run):
    names = {line.partition("=")[0] for line in run("/usr/bin/env").lines}
    assert names <= {"a", "pwd", "shlvl", "_", "oldpwd"}


def test_what_takes_too_long_is_killed_with_all_that_it_started(run, tmp_path: Path):
    outcome = run("sleep 60 & echo $! >pid; wait", timeout_s=0.5)
    assert outcome.timed_out
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_grandchild_that_keeps_the_pipe_open_does_not_delay_the_end(run, tmp_path: Path):
    outcome = run("sleep 60 & echo $! >pid; echo done", timeout_s=20)
    assert outcome == Outcome(code=0, lines=("done",))
    assert gone(int((tmp_path / "pid").read_text()))


def test_endless_output_is_ended(run, monkeypatch):
    monkeypatch.setattr(child, "MOST_BYTES", 100_000)
    outcome = run("while :; do echo y; done")
    assert outcome.too_long
    assert len(outcome.lines) == child.MOST_LINES


def test_a_program_that_closes_its_output_is_waited_for(run):
    assert run("exec >&- 2>&-; sleep 0.2; exit 5").code == 5


def test_a_killed_program_shows_its_signal(run):
    assert run("kill -9 $$").code == -9


def test_stop_ends_what_runs_and_starts_nothing_more(tmp_path: Path):
    children = Children()
    errors: list[BaseException] = []
    started = tmp_path / "started"
    os.mkfifo(started)

    def work() -> None:
        argv = [sys.executable, "-c", "import time; open('started', 'w').close(); time.sleep(60)"]
        try:
            children.run(argv, env={}, cwd=tmp_path, timeout_s=60, mask=str)
        except Unavailable as error:
            errors.append(error)

    thread = Thread(target=work)
    thread.start()
    started.read_text()
    children.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert len(errors) == 1
    with pytest.raises(Unavailable):
        children.run(["/bin/true"], env={}, cwd=tmp_path, timeout_s=1, mask=str)
