"""A depot for tests: a folder that counts what is fetched, and can be slow, wrong or gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zenkei.data.depots.depot import Buffer, Stored
from zenkei.data.versions import container
from zenkei.data.versions.table import VersionTable
from zenkei.model.errors import NotFound


class FolderDepot:
    """slow_s: how long each fetch takes. `fetched` counts those of all processes."""

    def __init__(self, folder: Path, *, slow_s: float = 0.0) -> None:
        self.folder = folder
        self.slow_s = slow_s
        (folder / "packs").mkdir(parents=True, exist_ok=True)
        (folder / "versions").mkdir(exist_ok=True)

    @property
    def location(self) -> str:
        return f"file:{self.folder}"

    def keep(self, table: VersionTable, packs: dict[str, bytes]) -> str:
        """Store a version; its digest."""
        table = container.sealed(table)
        for name, content in packs.items():
            self.put(f"packs/{name}", content)
        self.put(f"versions/{table.digest.removeprefix('b3:')}", container.write(table))
        return table.digest

    def fetched(self) -> list[str]:
        log = self.folder / "fetched"
        return log.read_text().split() if log.exists() else []

    def put(self, name: str, content: Buffer) -> None:
        (self.folder / name).write_bytes(content)

    def put_new(self, name: str, content: Buffer) -> bool:
        raise NotImplementedError

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        content = (self.folder / name).read_bytes()[start:]
        return content if size is None else content[:size]

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        log = os.open(self.folder / "fetched", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(log, name.encode() + b"\n")
        os.close(log)
        try:
            content = self.read(name)
        except FileNotFoundError:
            raise NotFound("no-such-object", f"there is no `{name}` in {self.location}") from None
        if self.slow_s:
            time.sleep(self.slow_s)
        with to.open("xb") as file:
            file.write(content)
        if said is not None:
            said(len(content))
        return len(content)

    def stat(self, name: str) -> Stored | None:
        path = self.folder / name
        if not path.exists():
            return None
        found = path.stat()
        return Stored(name=name, size=found.st_size, modified_s=found.st_mtime)

    def touch(self, name: str) -> bool:
        raise NotImplementedError

    def names(self, prefix: str) -> Iterator[Stored]:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def remove_untouched(self, stored: Stored) -> bool:
        raise NotImplementedError

    def remove_garbage(self) -> int:
        raise NotImplementedError

    def now_s(self) -> float:
        return time.time()
