"""Where things lie in a node's cache, and stamps: what is known to be whole since this boot.

Called by the other modules of this room. Nothing here is fsynced: after a power cut no stamp counts
any more, so every object is looked at anew before it is used again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zenkei.data import disk
from zenkei.data.node import owners

PACKS, VERSIONS, IMAGES, INDEXES = "packs", "versions", "images", "indexes"
OBJECTS: Final = (PACKS, VERSIONS, IMAGES, INDEXES)
MOUNTS, COPIES, CLAIMS, HOLDERS, STAMPS, TMP = (
    *("mounts", "copies", "claims", "holders"),
    *("stamps", "tmp"),
)
_counter = itertools.count()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """extra: what makers of the object noted about it (JSON values)."""

    size: int
    used_s: float
    extra: dict[str, object]


class Layout:
    """A cache directory, private to its owner. Jobs get at a version by a bind mount or a copy."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        with disk.disk_errors(self.root):
            disk.private_directory(self.root)
            for name in (*OBJECTS, MOUNTS, COPIES, CLAIMS, HOLDERS, STAMPS, TMP):
                (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def place(self, kind: str, name: str) -> Path:
        return self.root / kind / (f"{name}.erofs" if kind == IMAGES else name)

    def mount(self, name: str) -> Path:
        return self.root / MOUNTS / name

    def stamp(self, kind: str, name: str) -> Stamp | None:
        """None if the object is not there or was changed since, or nobody looked at it yet."""
        path = self.root / STAMPS / f"{kind}-{name}"
        try:
            with path.open("rb") as file:
                noted = json.load(file)
                used_s = os.fstat(file.fileno()).st_mtime
            if noted["state"] != _state(self.place(kind, name)):
                return None
            return Stamp(size=noted["state"][1], used_s=used_s, extra=noted["extra"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def set_stamp(self, kind: str, name: str, extra: dict[str, object] | None = None) -> None:
        """After the object was looked at; by the holder of its claim."""
        noted = {"state": _state(self.place(kind, name)), "extra": extra or {}}
        with self.temporary() as folder:
            (folder / "stamp").write_text(json.dumps(noted), encoding="ascii")
            (folder / "stamp").rename(self.root / STAMPS / f"{kind}-{name}")

    def touch(self, kind: str, name: str) -> None:
        """It was used now."""
        with contextlib.suppress(OSError):
            os.utime(self.root / STAMPS / f"{kind}-{name}")

    def used_s(self, kind: str, name: str) -> float:
        """When it was used last; 0 for what nobody finished."""
        try:
            return (self.root / STAMPS / f"{kind}-{name}").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove_tree(self, path: Path) -> None:
        """It is gone from its place at once, and from the disk soon."""
        with self.temporary() as folder, contextlib.suppress(FileNotFoundError):
            path.rename(folder / "removed")

    def forget(self, kind: str, name: str) -> None:
        for path in (self.place(kind, name), self.root / STAMPS / f"{kind}-{name}"):
            path.unlink(missing_ok=True)

    def names(self, kind: str) -> Iterator[str]:
        for path in (self.root / kind).iterdir():
            yield path.name.removesuffix(".erofs") if kind == IMAGES else path.name

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """A folder of this process on the same file system; gone afterwards."""
        owner = str(owners.myself()).replace(" ", "_").replace("/", "_")
        folder = self.root / TMP / f"{owner}_{threading.get_ident()}_{next(_counter)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        for folder in (self.root / TMP).iterdir():
            owner = owners.parse(" ".join(folder.name.split("_")[:4]))
            if owner is None or owners.is_dead(owner):
                shutil.rmtree(folder, ignore_errors=True)


def _state(path: Path) -> list[object]:
    found = path.lstat()
    return [
        *(owners.boot(), found.st_size, found.st_mtime_ns, found.st_ctime_ns),
        *(found.st_ino, found.st_dev),
    ]
