"""A depot from its location: a path, `file:/path`, or `s3://bucket/prefix?endpoint=…&region=…`.

Called by the processes that work on content. Credentials come from the environment only.
"""

from __future__ import annotations

from pathlib import Path

from zenkei.data.depots.depot import Depot
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.model.errors import InvalidInput


def open_depot(location: str) -> Depot:
    """Raises InvalidInput for a location that means nothing, Unavailable."""
    path = location.removeprefix("file:")
    if path.startswith("/"):
        return DirectoryDepot(Path(path))
    if location.startswith("s3://"):
        from zenkei.data.depots.s3 import S3Depot  # slow to import, and few have one

        return S3Depot(location)
    raise InvalidInput(
        "bad-depot-location",
        f"`{location.partition('?')[0].rpartition('@')[2][:100]}` is not a place for datasets",
        hint="write an absolute path, or s3://bucket/prefix",
    )
