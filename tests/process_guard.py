"""No process that a test run starts may outlive it.

Called by pytest through tests/conftest.py (and with `-p tests.process_guard` by its own test). The
controlling process gives the run an id and a folder and hands both down in the environment; at the
end it looks for what is still there: its own children, processes that carry the run's id in their
environment, processes that work inside the run's folders, and everything below any of these. What
is found is killed by pid, listed, and fails the run.

Cannot see: a process that has left all four behind (re-parented, clean environment, other folder).
Cost: one walk of /proc at the end of a run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

RUN_ID = "ZENKEI_TEST_RUN"
RUN_DIR = "ZENKEI_TEST_DIR"
# Time for what has been told to stop to be gone; a condition is awaited, not a time.
PATIENCE_S = float(os.environ.get("ZENKEI_TEST_PATIENCE_S", "3"))


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One process that outlived the run."""

    pid: int
    why: str
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.why}): {self.command}"


_LEAKS = pytest.StashKey[list[Leak]]()
_BEFORE = pytest.StashKey[set[int]]()


def is_controller(config: pytest.Config) -> bool:
    """False in a worker of pytest-xdist."""
    return not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not is_controller(config):
        return
    # A run within a run extends the outer id: the outer run still sees its processes, the inner
    # one never takes the outer's for its own.
    outer = os.environ.get(RUN_ID, "")
    os.environ[RUN_ID] = f"{outer}/{uuid.uuid4().hex[:12]}"
    # Short, because socket paths end at 107 bytes; open for other users, because some tests run
    # as one.
    folder = Path(tempfile.mkdtemp(prefix="zkt-")).resolve()
    folder.chmod(0o755)
    os.environ[RUN_DIR] = str(folder)
    # whoever forgets to choose a home must not meet the real one
    os.environ["ZENKEI_HOME"] = str(folder / "stray")
    config.stash[_BEFORE] = {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    result = yield
    if is_controller(session.config):
        leaks = _collect(session.config)
        session.config.stash[_LEAKS] = leaks
        if leaks and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    leaks = terminalreporter.config.stash.get(_LEAKS, [])
    if leaks:
        terminalreporter.section("processes that outlived the tests (killed now)", red=True)
        for leak in leaks:
            terminalreporter.line(str(leak))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_controller(config):
        return
    shutil.rmtree(os.environ[RUN_DIR], ignore_errors=True)
    outer = os.environ[RUN_ID].rpartition("/")[0]
    if outer:
        os.environ[RUN_ID] = outer
    else:
        del os.environ[RUN_ID]


def _collect(config: pytest.Config) -> list[Leak]:
    """The processes still there after `PATIENCE_S`, killed."""
    found = _suspects(config)
    _, alive = psutil.wait_procs(list(found), timeout=PATIENCE_S)
    leaks = []
    for process in sorted(alive, key=lambda p: p.pid):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline()) or process.name()
            process.kill()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            command = "(not ours to kill)"
        leaks.append(Leak(pid=process.pid, why=found[process], command=command[:300]))
    psutil.wait_procs(alive, timeout=PATIENCE_S)
    return leaks


def _suspects(config: pytest.Config) -> dict[psutil.Process, str]:
    """Processes of this run, each with what gives it away."""
    folders = _run_folders(config)
    found: dict[psutil.Process, str] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        why = _mark_of(process.pid, folders)
        if why:
            found[process] = why
    for root in [psutil.Process(), *found]:
        try:
            below = root.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        for process in below:
            if process.pid not in config.stash[_BEFORE]:
                found.setdefault(process, f"started below pid {root.pid}")
    return found


def _run_folders(config: pytest.Config) -> list[str]:
    factory = getattr(config, "_tmp_path_factory", None)
    folders = [os.environ[RUN_DIR]]
    if factory is not None:
        folders.append(str(factory.getbasetemp()))
    return folders


def _mark_of(pid: int, folders: list[str]) -> str:
    """Why the process belongs to this run; empty if it does not, or may not be looked at."""
    proc = Path("/proc") / str(pid)
    run = f"{RUN_ID}={os.environ[RUN_ID]}".encode()
    try:
        variables = (proc / "environ").read_bytes().split(b"\0")
        if any(v == run or v.startswith(run + b"/") for v in variables):
            return "carries the run's id"
        folder = os.readlink(proc / "cwd")
    except OSError:
        return ""
    return "works in the run's folder" if _is_within(folder, folders) else ""


def _is_within(folder: str, roots: list[str]) -> bool:
    return any(folder == root or folder.startswith(root + "/") for root in roots)
