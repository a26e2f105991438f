"""The process of a commit that speaks for it to the depot: intent, what is there, the version.

Called by `commit`. A process of its own because clients of S3 do not survive the forks that follow,
and because an intent must be kept alive while the parent is busy. Packs are put by the readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from zenkei.data.depots.intents import Promise, intent
from zenkei.data.depots.opening import open_depot
from zenkei.data.digests import to_raw
from zenkei.data.versions import container
from zenkei.data.versions.table import VersionTable
from zenkei.data.versions.workers import Workers
from zenkei.model.errors import InvalidInput, NotFound

AT_ONCE: Final = 16
TRIES: Final = 3
YOUNG_S: Final = 900.0
"""How old the touch of what was committed is at most; collections spare what is younger than a day.
"""


def version_name(digest: str) -> str:
    """Of the object. Raises InvalidInput for what is no digest."""
    return f"versions/{to_raw(digest).hex()}"


class Keeper:
    """The parent's side."""

    def __init__(self, depot: str) -> None:
        self._workers = Workers(1, lambda: _Kept(depot))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._workers.close()  # also after an error: the intent is taken back

    def location(self) -> str:
        """Of the depot, in the one way in which the depot itself writes it."""
        text: str = self._workers.ask(("location",))
        return text

    def begin(self) -> None:
        """From here on a collection leaves alone what this commit puts or touches."""
        self._workers.ask(("start",))

    def versions(self, digests: Iterable[str]) -> list[bytes]:
        """Objects of those that are there."""
        found: list[bytes] = self._workers.ask(("versions", tuple(digests)))
        return found

    def gone(self, packs: set[str]) -> set[str]:
        """Those that are not in the depot any more; the others are young again."""
        missing: set[str] = self._workers.ask(("gone", tuple(sorted(packs))))
        return missing

    def put(self, table: VersionTable) -> bool:
        """The commit point. False if packs are gone: what they held must be stored again."""
        whole: bool = self._workers.ask(("put", table.digest, container.write(table), table.packs))
        return whole


class _Kept:
    """In the process."""

    def __init__(self, depot: str) -> None:
        self._depot = open_depot(depot)
        self._stack = ExitStack()
        self._promise: Promise | None = None

    def __call__(self, task: tuple[Any, ...]) -> Any:
        verb: Callable[..., Any] = getattr(self, f"_{task[0]}")
        return verb(*task[1:])

    def close(self) -> None:
        self._stack.close()

    def _location(self) -> str:
        return self._depot.location

    def _start(self) -> None:
        self._begin()

    def _begin(self) -> Promise:
        if self._promise is None:
            self._promise = self._stack.enter_context(intent(self._depot))
        return self._promise

    def _versions(self, digests: tuple[str, ...]) -> list[bytes]:
        found = []
        for digest in digests:
            try:
                found.append(self._depot.read(version_name(digest)))
            except NotFound:
                continue
        return found

    def _gone(self, packs: tuple[str, ...]) -> set[str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            there = pool.map(lambda name: self._depot.touch(f"packs/{name}"), packs)
        return {name for name, is_there in zip(packs, there, strict=True) if not is_there}

    def _put(self, digest: str, content: bytes, packs: tuple[str, ...]) -> bool:
        """True: the version is there, whole, and all of it was young a moment ago.

        Packs are looked for before, as nobody may see a version that lacks something; and after, as
        we may have slept so long that a collection took us for dead: it has not seen this version
        then, and removes only what nobody has touched since.
        """
        self._begin().confirm()
        if self._gone(packs):
            return False
        name = version_name(digest)
        for _ in range(TRIES):
            began_s = self._depot.now_s()
            if not self._depot.touch(name):
                if not self._depot.put_new(name, content):
                    continue
                whole = not self._gone(packs)
            else:
                found = self._depot.stat(name)
                whole = self._is_whole(name)
                if not whole and found is not None:
                    self._depot.remove_untouched(found)  # unless somebody has mended it meanwhile
                    continue
            if self._depot.now_s() - began_s < YOUNG_S:
                return whole
        return False

    def _is_whole(self, name: str) -> bool:
        """The same content was committed before; its packs may be others, or be gone."""
        try:
            packs = container.pack_names(self._depot.read(name))
        except (InvalidInput, NotFound):
            return False
        return not self._gone(packs)
