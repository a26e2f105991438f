"""Commits and collections of one depot keep out of each other's way, with objects alone.

Called by `versions` (a commit holds an intent) and `collect`. No lock of a file system is needed:

- A commit writes `intents/<id>` when it begins, and again as a sign of life every HEARTBEAT_S.
- Before its version becomes visible it *seals*: it says so in its intent, then looks for a
  collection. If there is one it steps back, waits, and looks again; else it makes sure that all its
  packs are there, puts the version, and ends.
- A collection puts `intents/collection` (`put_new`: one at a time), then waits until nobody seals.
  Each side writes first and reads second, so never do both believe to be alone.
- Who gives no sign of life for STALE_S, by the depot's clock, is dead. One that only slept must
  not do harm when it wakes: its packs are younger than any grace, and it looks for them once more
  after the version is put.
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

from zenkei.data.depots.depot import Depot
from zenkei.model.errors import Conflict, NotFound, Unavailable

HEARTBEAT_S: Final = 10.0
STALE_S: Final = 60.0
AGAIN_S: Final = 0.2
COLLECTION: Final = "intents/collection"
WORKING, SEALING = "working", "sealing"


class Promise:
    """An intent while it is held. `confirm` right before the version is put."""

    def __init__(self, depot: Depot, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = f"intents/{os.getpid()}-{secrets.token_hex(8)}"
        self._depot = depot
        self._sleep = sleep
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
            self._sleep(AGAIN_S)

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


@contextmanager
def collection(depot: Depot, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Alone: no other collection, and no commit seals. Raises Conflict if there is another one."""
    mine = json.dumps({"id": secrets.token_hex(8)}).encode()
    if not depot.put_new(COLLECTION, mine):
        if is_live(depot, COLLECTION):
            raise Conflict(
                "collection-running",
                f"another collection of {depot.location} is going on",
                hint="wait until it has ended",
            )
        depot.remove(COLLECTION)
        if not depot.put_new(COLLECTION, mine):
            raise Conflict(
                "collection-running", "another collection was faster", hint="wait for it"
            )
    try:
        with _alive(lambda: depot.put(COLLECTION, mine)):
            while sealing(depot):
                sleep(AGAIN_S)
            yield
    finally:
        if _content(depot, COLLECTION) == mine:
            depot.remove(COLLECTION)


def sealing(depot: Depot) -> list[str]:
    """Living intents that are about to make a version visible; dead ones are removed."""
    found = []
    for stored in list(depot.names("intents/")):
        if stored.name == COLLECTION:
            continue
        if not is_live(depot, stored.name):
            depot.remove(stored.name)
        elif SEALING.encode() in _content(depot, stored.name):
            found.append(stored.name)
    return found


def is_live(depot: Depot, name: str) -> bool:
    """Whether it is there and has given a sign of life."""
    stored = depot.stat(name)
    return stored is not None and depot.now_s() - stored.modified_s < STALE_S


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
