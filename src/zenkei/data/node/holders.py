"""Who uses which version on this node: what is held is neither evicted nor unmounted.

Called by `service` and `eviction`. A holder is a name that the caller chose (an attempt's id). It
holds until it is released or the machine boots again, or, if it named a process, until that ends.
The same holder may hold by several processes, as the supervisors of an attempt do.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from zenkei.data.node import owners
from zenkei.data.node.layout import HOLDERS, Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """version: 64 digits. kind, path: what it was given; empty while that is being prepared."""

    version: str
    holder: str
    kind: str = ""
    path: str = ""
    owner: owners.Owner | None = None
    boot: str = ""

    def is_live(self) -> bool:
        if self.boot != owners.boot():
            return False
        # a process in another container cannot be asked: it holds until it is released
        return self.owner is None or owners.is_dead(self.owner) is not True


class Holders:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.root / HOLDERS

    def add(self, hold: Hold) -> None:
        folder = self._folder / hold.version
        folder.mkdir(mode=0o700, exist_ok=True)
        noted = {
            "holder": hold.holder,
            "kind": hold.kind,
            "path": hold.path,
            "owner": str(hold.owner) if hold.owner else "",
            "boot": owners.boot(),
        }
        with self._layout.temporary() as aside:
            (aside / "hold").write_text(json.dumps(noted), encoding="utf-8")
            (aside / "hold").rename(folder / _file_name(hold))

    def remove(self, hold: Hold) -> None:
        (self._folder / hold.version / _file_name(hold)).unlink(missing_ok=True)

    def of(self, version: str) -> list[Hold]:
        """Those that live."""
        return [hold for hold in self.ever(version) if hold.is_live()]

    def ever(self, version: str) -> list[Hold]:
        """Those that died and were not swept away yet, too."""
        folder = self._folder / version
        found = [_read(path) for path in folder.iterdir()] if folder.is_dir() else []
        return [hold for hold in found if hold is not None]

    def all(self) -> Iterator[Hold]:
        """The dead among them, too."""
        for folder in self._folder.iterdir():
            yield from self.ever(folder.name)

    def sweep(self) -> list[Hold]:
        """Forget the dead; who they were."""
        dead = [hold for hold in self.all() if not hold.is_live()]
        for hold in dead:
            self.remove(hold)
        return dead


def _file_name(hold: Hold) -> str:
    words = f"{hold.holder}\0{hold.owner or ''}\0{hold.path}"
    return blake3(words.encode("utf-8", "surrogateescape")).hexdigest(16)


def _read(path: Path) -> Hold | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(path.read_text(encoding="utf-8"))
        return Hold(
            version=path.parent.name,
            holder=noted["holder"],
            kind=noted["kind"],
            path=noted["path"],
            owner=owners.parse(noted["owner"]),
            boot=noted["boot"],
        )
    return None
