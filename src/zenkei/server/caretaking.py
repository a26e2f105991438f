"""What keeps a home's history safe: a copy of the database each day, and no start without it.

Called by `app`: `refuse_lost_history` before the database is opened, `DailyCopies` as a thread
while the daemon runs. A copy is made at the first look of a day (UTC), the KEPT newest stay, and
what others put into the folder is left alone. Cost: one look a minute, and the file's size a day.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from zenkei.model.errors import Conflict, ZenkeiError
from zenkei.model.ids import JobId
from zenkei.model.wording import count
from zenkei.ports.store import Maintenance

log = logging.getLogger(__name__)

KEPT = 7
LOOK_EVERY_S = 60.0
FIRST_AFTER_S = 1.0
"""Whoever started the daemon waits for an answer: that comes before a copy."""


def refuse_lost_history(database: Path, jobs: tuple[JobId, ...]) -> None:
    """No new database beside the attempts of jobs it would not know. Raises Conflict."""
    if not jobs or (database.exists() and database.stat().st_size):
        return
    raise Conflict(
        "store-missing",
        f"the database {database} is gone, but the home holds the attempts of "
        f"{count(len(jobs), 'job')}",
        hint="put a copy from backups/ in its place; to begin anew, use another ZENKEI_HOME",
    )


class DailyCopies:
    """`start` once; `stop` waits for a copy that is being made."""

    def __init__(self, maintenance: Maintenance, folder: Path) -> None:
        self._maintenance = maintenance
        self._folder = folder
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause_s = FIRST_AFTER_S
        while not self._stopping.wait(pause_s):
            pause_s = LOOK_EVERY_S
            try:
                self.look(time.strftime("%Y-%m-%d", time.gmtime()))
            except (ZenkeiError, OSError) as error:
                log.warning("no copy of the database was made why=%s", error)

    def look(self, day: str) -> None:
        """Make the copy of `day` (YYYY-MM-DD) if there is none; let the oldest go."""
        copy = self._folder / f"daily-{day}.sqlite3"
        if copy.exists():
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._maintenance.backup(str(copy))
        for old in sorted(self._folder.glob("daily-????-??-??.sqlite3"))[:-KEPT]:
            old.unlink()
        log.info("copied the database to=%s", copy)
