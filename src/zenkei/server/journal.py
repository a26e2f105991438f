"""The daemon's log: one JSON object a line, bounded by rotation. Set up once by `app.main`.

Every line has `at` (UTC), `level`, `room` (the logger), `text`, and `trace` for an exception.
Messages are written as `what happened key=value …`, so that one grep finds a job's story.
"""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
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


def install(path: Path, level: str) -> None:
    """Everything that is logged in this process goes to `path`."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=MOST_BYTES, backupCount=KEPT, encoding="utf-8"
    )
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # it tells of streams that a stopping daemon cuts off; of defects the gate tells
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
