"""The daemon's log: one JSON object a line, bounded by rotation. Set up once by `app.main`.

Every line has `at` (UTC), `level`, `room` (the logger), `text`, and `trace` for an exception.
Messages are written as `what happened key=value …`, so that one grep finds a job's story.
"""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
import sys
from pathlib import Path

MOST_BYTES = 8 << 20
KEPT = 3


class JsonLines(logging.Formatter):
    """One line per record, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "room": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class LogFile(logging.handlers.RotatingFileHandler):
    """A disk without room costs lines; the first that can be written again says how many.

    The first that could not be written is kept by the stream and counted all the same.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MOST_BYTES, backupCount=KEPT, encoding="utf-8")
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        lost = self._lost
        super().emit(record)
        if lost and self._lost == lost:
            self._lost = 0
            text = f"the log had no room lines_lost<={lost}"
            super().emit(logging.makeLogRecord({**_OWN, "msg": text}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], OSError):
            self._lost += 1
        else:
            super().handleError(record)


_OWN = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}


def install(path: Path, level: str) -> None:
    """Everything that is logged in this process goes to `path`."""
    handler = LogFile(path)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # it tells of streams that a stopping daemon cuts off; of defects the gate tells
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
