"""Commits and collections of one depot keep out of each other's way, with objects alone.

Called by `versions` (a commit holds an intent) and `collect`. No lock of a file system is needed:

- A commit writes `intents/<id>` when it begins, and again as a sign of life every HEARTBEAT_S.
- Before its version becomes visible it *seals*: it says so in its intent, then looks for a
  collection. If there is one it steps back, waits, and looks again; else it touches all its packs
  (one that is gone is stored again), puts the version, and touches them once more.
- A collection puts `intents/collection` (`put_new`: one at a time), then waits until nobody seals.
  Each side writes first and reads second, so never do both believe to be alone.
- Who gives no sign of life for STALE_S, by the depot's clock, counts as dead. If it only slept it
  does no harm when it wakes: a collection removes only what nobody touched since it listed it,
  having listed packs before versions, and only while its own sign of life is fresh; a commit has
  ended only when its packs were there after its version.

Where removal on a condition is the depot's own (a directory) the last point alone is enough, at any
interleaving and any pause. S3 looks, then removes: there a collection must not be stopped for
longer than STALE_S within the instant between the two.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from zenkei.data.depots.depot import Depot, Stored
from zenkei.model.errors import Conflict, NotFound, Unavailable

HEARTBEAT_S: Final = 10.0
STALE_S: Final = 60.0
AGAIN_S: Final = 0.2
COLLECTION: Final = "intents/collection"
WORKING, SEALING = "working", "sealing"


class Promise:
    """An intent while it is held. `confirm` right before the version is put."""

    def __init__(self, depot: Depot) -> None:
        self.name = f"intents/{os.getpid()}-{secrets.token_hex(8)}"
        self._depot = depot
        self._state = WORKING
        self._lock = threading.Lock()

    def beat(self) -> None:
        """A sign of life."""
        with self._lock:
            self._depot.put(self.name, json.dumps({"state": self._state}).encode())

    def confirm(self) -> None:
        """Returns when no collection runs and none can begin until this intent has ended."""
        while True:
            self._say(SEALING)
            if not is_live(self._depot, COLLECTION):
                return
            self._say(WORKING)
            time.sleep(AGAIN_S)

    def end(self) -> None:
        with self._lock:
            self._depot.remove(self.name)

    def _say(self, state: str) -> None:
        self._state = state
        self.beat()


@contextmanager
def intent(depot: Depot) -> Iterator[Promise]:
    """Held for the time of a commit; a thread gives the signs of life."""
    promise = Promise(depot)
    promise.beat()
    with _alive(promise.beat):
        yield promise
    promise.end()


class Alone:
    """A collection while it is held. `check` before each removal."""

    def __init__(self, depot: Depot, mine: bytes) -> None:
        self._depot = depot
        self._mine = mine
        self._beaten_s = _here_s()
        self._lost = False

    def beat(self) -> None:
        """A sign of life, if nobody else has taken over."""
        now_s = _here_s()  # before it is given: it is not younger than this
        if _content(self._depot, COLLECTION) != self._mine:
            self._lost = True
            return
        self._depot.put(COLLECTION, self._mine)
        self._beaten_s = now_s

    def check(self) -> None:
        """Raises Conflict if others may believe that this collection is dead."""
        if self._lost or _here_s() - self._beaten_s > STALE_S / 2:
            raise Conflict(
                "collection-lost",
                f"this collection of {self._depot.location} gave no sign of life for too long",
                hint="nothing is lost; start it again",
            )

    def end(self) -> None:
        if _content(self._depot, COLLECTION) == self._mine:
            self._depot.remove(COLLECTION)


@contextmanager
def collection(depot: Depot) -> Iterator[Alone]:
    """Alone: no other collection, and no commit seals. Raises Conflict if there is another one."""
    mine = json.dumps({"id": secrets.token_hex(8)}).encode()
    if not depot.put_new(COLLECTION, mine):
        there = depot.stat(COLLECTION)
        if there is not None and not (_is_stale(depot, there) and depot.remove_untouched(there)):
            raise _running(depot)
        if not depot.put_new(COLLECTION, mine):
            raise _running(depot)
    alone = Alone(depot, mine)
    try:
        with _alive(alone.beat):
            while sealing(depot):
                time.sleep(AGAIN_S)
            yield alone
    finally:
        alone.end()


def _running(depot: Depot) -> Conflict:
    return Conflict(
        "collection-running",
        f"another collection of {depot.location} is going on",
        hint="wait until it has ended",
    )


def sealing(depot: Depot) -> list[str]:
    """Living intents that are about to make a version visible; dead ones are removed."""
    found = []
    for stored in list(depot.names("intents/")):
        if stored.name == COLLECTION:
            continue
        if _is_stale(depot, stored):
            depot.remove_untouched(stored)
        elif SEALING.encode() in _content(depot, stored.name):
            found.append(stored.name)
    return found


def is_live(depot: Depot, name: str) -> bool:
    """Whether it is there and has given a sign of life."""
    stored = depot.stat(name)
    return stored is not None and not _is_stale(depot, stored)


def _is_stale(depot: Depot, stored: Stored) -> bool:
    return depot.now_s() - stored.modified_s >= STALE_S


def _here_s() -> float:
    """Goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _content(depot: Depot, name: str) -> bytes:
    try:
        return depot.read(name)
    except NotFound:
        return b""


@contextmanager
def _alive(beat: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(HEARTBEAT_S):
            try:
                beat()
            except Unavailable:
                continue  # the store's next answer will do; until then we count as dead

    thread = threading.Thread(target=run, name="intent", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
