"""What a store of datasets promises, whatever is behind it. Implemented by the modules beside it.

Objects are named `packs/<64 digits>`, `versions/<64 digits>`, `intents/<name>`, `epoch`. An object
is visible whole or not at all, and is durable when `put` returns. Contents of packs and versions
never change; only `intents/` and `epoch` may be written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from zenkei.model.errors import InternalError, NotFound

Buffer = bytes | bytearray | memoryview
_NAME: Final = re.compile(
    r"(?:packs|versions)/[0-9a-f]{64}|intents/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}|epoch"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An object's name, bytes, and when it was last put or touched by the depot's own clock."""

    name: str
    size: int
    modified_s: float


class Depot(Protocol):
    """All methods do I/O, may be called from any thread and process, and raise Unavailable when

    the store does not answer or is full, NotFound (`no-such-object`) for what is not there.
    """

    @property
    def location(self) -> str:
        """What `open_depot` makes the same depot from; without secrets."""

    def put(self, name: str, content: Buffer) -> None:
        """Store it under `name`; whoever was there before with the same content stays."""

    def put_new(self, name: str, content: Buffer) -> bool:
        """As `put`, but False if there is one already: of two at once exactly one gets True.

        In a store without conditional put that holds for who is not stopped for a minute within.
        """

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes: ...

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        """Write the object into the new file `to`, without holding it in memory; bytes written.

        said: told the bytes of each part.
        """

    def stat(self, name: str) -> Stored | None: ...

    def touch(self, name: str) -> bool:
        """Make it young, so that a collection leaves it; False if it is not there."""

    def names(self, prefix: str) -> Iterator[Stored]:
        """Every object below `prefix` (`packs/`), in no order."""

    def remove(self, name: str) -> None:
        """Safe to repeat."""

    def remove_untouched(self, stored: Stored) -> bool:
        """Remove it unless it was put or touched since it was listed so; then False.

        In a directory nothing can come between; S3 looks just before it removes.
        """

    def remove_garbage(self) -> int:
        """What writers that died have left; returns how many."""

    def now_s(self) -> float:
        """By the clock that gives objects their times."""


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """Raises InternalError for what names no object."""
    if not is_name(name):
        raise InternalError("bad-object-name", f"`{ascii(name)[:80]}` names no object")
    return name


def no_object(name: str) -> NotFound:
    return NotFound(
        "no-such-object",
        f"`{name}` is not in the store of datasets",
        hint="`zenkei dataset verify` tells what is missing, and which versions need it",
    )
