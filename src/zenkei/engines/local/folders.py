"""Folders that attempts of forgotten jobs have left. Implements `ports.upkeep.AttemptFolders`.

Called by `control.upkeep`. Ranks may have made parts of their folders unreadable or unremovable;
what cannot be removed stays, is logged, and is tried again by the next run.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from zenkei.engines.local.fences import fenced_attempts
from zenkei.engines.local.layout import Layout
from zenkei.model.errors import InvalidInput
from zenkei.model.ids import JobId

log = logging.getLogger(__name__)


class LocalFolders:
    """home: the daemon's."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home)

    def jobs(self) -> tuple[JobId, ...]:
        found = []
        for name in os.listdir(self._layout.attempts) if self._layout.attempts.exists() else ():
            try:
                found.append(JobId.parse(name))
            except InvalidInput:
                continue  # our own marks and socket
        return tuple(sorted(found))

    def kept(self, job: JobId) -> Path:
        """Where the checkpoints of a job are kept; it goes with the rest of the job."""
        return self._layout.attempts / str(job) / "kept"

    def remove(self, job: JobId) -> int:
        held = [*self._layout.active_attempts(), *fenced_attempts(self._layout.fenced)]
        if any(attempt.job == job for attempt in held):
            return 0
        folder = self._layout.attempts / str(job)
        size = _bytes(folder)
        shutil.rmtree(folder, onerror=_open_and_repeat)
        left = _bytes(folder) if folder.exists() else 0
        return size - left


def _open_and_repeat(remove: Callable[[str], object], path: str, error: object) -> None:
    """A directory without our own rights is opened and tried once more."""
    try:
        parent = os.path.dirname(path)
        for folder in (parent, path):
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                os.chmod(folder, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, onerror=_log)
        else:
            os.unlink(path)
    except OSError as why:
        log.warning("folder not removed path=%s why=%s", path, why)


def _log(_remove: object, path: str, error: tuple[type, BaseException, object]) -> None:
    log.warning("folder not removed path=%s why=%s", path, error[1])


def _bytes(folder: Path) -> int:
    """Bytes on disk; links are not followed."""
    total = 0
    for where, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
