"""A test run that leaves a process behind fails, names it and ends it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.architecture.source_tree import REPO

HEADER = "import os, subprocess, sys\nSLEEP = [sys.executable, '-c', 'input()']\n"
# each leaves one process, seen by another of its marks
LEAKS = {
    "a child": "subprocess.Popen(SLEEP, stdin=open(fifo), env={})",
    "an orphan that carries the run's id": (
        "subprocess.run([sys.executable, '-c', 'import subprocess, sys;"
        'subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True,'
        " stdin=open(sys.argv[1]))', fifo])"
    ),
    "an orphan that works in the run's folder": (
        "subprocess.run([sys.executable, '-c', 'import subprocess, sys;"
        'subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True, env={},'
        " stdin=open(sys.argv[1]))', fifo], cwd=os.environ['ZENKEI_TEST_DIR'])"
    ),
}


def run_inner(folder: Path, body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A test run of its own, with one test whose body is `body`."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    # held open here, for reading and writing: the sleepers wait on it until they are killed
    held = os.open(fifo, os.O_RDWR)
    test = f"{HEADER}fifo = {str(fifo)!r}\ndef test_inner():\n    {body}\n"
    (folder / "test_inner.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "tests.process_guard", "-p", "no:schemathesis"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    try:
        return subprocess.run(
            [*command, *arguments, str(folder / "test_inner.py")],
            cwd=REPO,
            env={**os.environ, "ZENKEI_TEST_PATIENCE_S": "0.2"},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    finally:
        os.close(held)


def pids_listed(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("pid ")]


def is_dead(pid: int) -> bool:
    """Gone, or a zombie that whoever inherited it has not collected yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("body", LEAKS.values(), ids=LEAKS.keys())
def test_a_run_fails_that_leaves(body, tmp_path):
    done = run_inner(tmp_path, body)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 passed" in done.stdout.splitlines()[-1]
    (pid,) = pids_listed(done.stdout)
    assert is_dead(pid)


def test_a_run_under_xdist_fails_that_leaves_an_orphan(tmp_path):
    done = run_inner(tmp_path, LEAKS["an orphan that carries the run's id"], "-n", "1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert len(pids_listed(done.stdout)) == 1


def test_a_run_passes_that_ends_what_it_starts(tmp_path):
    done = run_inner(tmp_path, "p = subprocess.Popen(SLEEP, stdin=open(fifo)); p.kill(); p.wait()")
    assert done.returncode == 0, done.stdout + done.stderr
    assert pids_listed(done.stdout) == []


def test_a_run_within_a_run_leaves_the_outer_one_alone(tmp_path):
    outer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        done = run_inner(tmp_path, "pass")
        assert done.returncode == 0, done.stdout + done.stderr
        assert outer.poll() is None
    finally:
        outer.kill()
        outer.communicate()
