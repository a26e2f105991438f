"""What is kept of each built environment: one JSON file, whose appearance commits the build.

Called by `realising` and `inventory`. The file's own mtime is the last use.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from zenkei.envs import files
from zenkei.model.data import Digest


class EnvironmentState(StrEnum):
    """Of an environment on this machine."""

    READY = "ready"
    BUILDING = "building"
    CHANGED = "changed"  # something wrote into it; the next use builds it again
    MISSING = "missing"  # its directory is gone; the next use builds it again


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """tree: name of its directory. retired: directories that were changed, perhaps still in use.

    packages: `name==version` lines. signature: see `signature`. interpreter: the base Python's
    file.
    """

    lock: Digest
    python: str
    interpreter: str
    platform: str
    tree: str
    signature: str
    packages: tuple[str, ...]
    entries: int
    size_bytes: int
    built_at_us: int
    built_in_s: float
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A row of `zenkei env list`. path: empty while it is being built."""

    lock: Digest
    python: str
    packages: tuple[str, ...]
    size_bytes: int
    built_at_us: int
    used_at_us: int
    state: EnvironmentState
    path: str


class Records:
    """root: one file per environment, named by its key."""

    def __init__(self, root: Path) -> None:
        self._root = files.private(root)

    def get(self, key: str) -> Record | None:
        """None if there is none or it is damaged: the environment is then built again."""
        found = files.read_json(self._path(key))
        try:
            return Record(
                **{
                    **found,
                    "lock": Digest(found["lock"]),
                    "packages": tuple(found["packages"]),
                    "retired": tuple(found["retired"]),
                }
            )
        except (TypeError, KeyError):
            return None

    def put(self, key: str, record: Record) -> None:
        files.write(self._path(key), json.dumps(asdict(record)).encode())

    def drop(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def names(self) -> list[str]:
        return sorted(p.stem for p in self._root.iterdir() if p.suffix == ".json")

    def touch(self, key: str) -> None:
        os.utime(self._path(key))

    def used_at_us(self, key: str) -> int:
        try:
            return self._path(key).stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return 0

    def _path(self, key: str) -> Path:
        return self._root / f"{key}.json"
