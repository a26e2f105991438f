"""What must lie ready before ranks start: the private copy of the code, folders, secret files.

Called by the supervisor. Copying runs in a child, so that a stop order is heard meanwhile; the
child's exit status tells what went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal

from zenkei.agent import datasets, diary, health, kernel, mpi, rank_env
from zenkei.agent.attempt import FULL, Attempt, Cause
from zenkei.protocol import launch, names

_DISK_FULL = 3
_FAILED = 4
_UNHEALTHY = 5
_NO_DATA = 6
_DATA_LATER = 7
HEALTH_FILE = "health"


def start(attempt: Attempt) -> int:
    """Check the node and copy the code in a child process; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = _FAILED
    try:
        kernel.die_with_parent(signal.SIGKILL)
        problems = health.check(health.of(attempt.document))
        if problems:
            _tell(problems)
            status = _UNHEALTHY
        else:
            if attempt.document.code_dir:
                shutil.copytree(attempt.document.code_dir, names.WORK_DIR, symlinks=True)
            if attempt.document.data is None:
                prepare(attempt)
            else:
                datasets.fetch(attempt.document, os.getppid())
            status = 0
    except datasets.NoData as error:
        _tell([str(error)])
        status = _NO_DATA if error.lasting else _DATA_LATER
    except (OSError, shutil.Error) as error:
        full = any(str(os.strerror(number)) in str(error) for number in FULL)
        status = _DISK_FULL if full else _FAILED
        diary.note(f"{attempt.directory}: staging failed: {error}")
        # half a copy is of no use, and its space may be what the record of this end needs
        shutil.rmtree(names.WORK_DIR, ignore_errors=True)
    finally:
        os._exit(status)


def verdict(status: int) -> Cause | None:
    """What the child's status means; None: all is ready."""
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _FAILED
    if code == 0:
        return None
    if code == _UNHEALTHY:
        return unfit(_told())
    if code == _NO_DATA:
        return datasets.refused("; ".join(_told()))
    if code == _DATA_LATER:
        return Cause("launch_failed", detail="; ".join(_told()))
    if code == _DISK_FULL:
        return Cause("disk_full", detail="the disk is full: the code could not be copied")
    return Cause("launch_failed", detail="the code could not be copied to the attempt's directory")


def unfit(problems: list[str]) -> Cause | None:
    """The end of an attempt on a node that is not fit for it; None if it is."""
    detail = f"the node is not fit: {'; '.join(problems)}"
    return Cause("health_check", detail=detail) if problems else None


def _tell(problems: list[str]) -> None:
    with open(HEALTH_FILE, "w", encoding="utf-8") as file:
        json.dump(problems, file)


def _told() -> list[str]:
    try:
        with open(HEALTH_FILE, encoding="utf-8") as file:
            return [str(problem) for problem in json.load(file)]
    except (OSError, ValueError):
        return ["a check failed and could not say why"]


def cause_of(error: OSError) -> Cause:
    """Why nothing could be laid out."""
    reason = "disk_full" if error.errno in FULL else "launch_failed"
    return Cause(reason, detail=f"the directory could not be made ready: {error.strerror}")


def prepare(attempt: Attempt) -> None:
    """Folders and files beside the code."""
    document = attempt.document
    os.makedirs(names.WORK_DIR, mode=0o700, exist_ok=True)
    _link_outputs(document)
    if any(slot.as_file for slot in document.secrets):
        folder = rank_env.secret_folder(document)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for slot in document.secrets:
            if slot.as_file:
                _write_private(os.path.join(folder, slot.variable), attempt.secrets[slot.variable])


def _link_outputs(document: launch.Launch) -> None:
    """`work/<outputs>` leads to the directory that becomes the result.

    Files that the code brings at that place move there, so that the program finds them.
    """
    outputs = os.path.abspath(names.OUTPUTS_DIR)
    link = os.path.normpath(os.path.join(names.WORK_DIR, document.outputs))
    if not link.startswith(names.WORK_DIR + os.sep):
        return
    if os.path.isdir(link) and not os.path.islink(link):
        shutil.copytree(link, outputs, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(link)
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if not os.path.lexists(link):
        os.symlink(outputs, link)


def _write_private(path: str, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


def protect_environment(document: launch.Launch) -> bool:
    """Show the environment read-only to this process and all below it, where that is allowed."""
    if not document.env_dir:
        return False
    try:
        kernel.show_read_only(document.env_dir)
    except OSError:
        return False
    return True


def show_data(attempt: Attempt) -> Cause | None:
    """Folders and secrets, then the datasets in their places; why the attempt ends if that fails.

    Secrets that are files lie in the shared memory that the attempt has for itself by now.
    """
    try:
        prepare(attempt)
        datasets.show(attempt)
    except datasets.NoData as error:
        return datasets.refused(str(error))
    except (OSError, ValueError) as error:
        diary.note_exception()
        return Cause("launch_failed", detail=f"the datasets could not be shown: {error}")
    return None


def remove_private(document: launch.Launch) -> None:
    """After the end: temporary files, secrets, what MPI left in shared memory."""
    if document.launcher == "mpi":
        mpi.sweep_shared_memory()
    if document.data is not None:
        datasets.remove_copies()
    shutil.rmtree(names.TMP_DIR, ignore_errors=True)
    shutil.rmtree(rank_env.secret_folder(document), ignore_errors=True)
