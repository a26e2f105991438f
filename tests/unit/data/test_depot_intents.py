"""Commits and collections of one depot wait for each other, and do not wait for the dead."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from zenkei.data.depots import intents
from zenkei.data.depots.collect import collect
from zenkei.data.depots.directory import DirectoryDepot
from zenkei.data.depots.intents import COLLECTION, collection, intent
from zenkei.model.errors import Conflict, InvalidInput

LONG_AGO = (1e9, 1e9)
PACKS = ["packs/" + digit * 64 for digit in "abc"]
VERSION = "versions/" + "d" * 64


@pytest.fixture
def depot(tmp_path: Path) -> DirectoryDepot:
    return DirectoryDepot(tmp_path)


def is_dead(depot: DirectoryDepot, name: str) -> None:
    """It gave its last sign of life long ago."""
    os.utime(depot.path(name), LONG_AGO)


def old(depot: DirectoryDepot, *names: str) -> None:
    for name in names:
        depot.put(name, b"content")
        os.utime(depot.path(name), LONG_AGO)


def test_a_second_collection_is_told_of_the_first(depot: DirectoryDepot):
    with collection(depot), pytest.raises(Conflict) as caught, collection(depot):
        pass
    assert caught.value.code == "collection-running"
    with collection(depot):
        pass


def test_a_dead_collection_is_taken_over_and_stops_when_it_wakes(depot: DirectoryDepot):
    with collection(depot) as first:
        is_dead(depot, COLLECTION)
        with collection(depot) as second:
            first.beat()
            with pytest.raises(Conflict) as caught:
                first.check()
            second.check()
    assert caught.value.code == "collection-lost"


def test_a_collection_that_slept_stops(depot: DirectoryDepot, monkeypatch: pytest.MonkeyPatch):
    with collection(depot) as alone:
        now_s = intents._here_s()
        monkeypatch.setattr(intents, "_here_s", lambda: now_s + intents.STALE_S)
        with pytest.raises(Conflict):
            alone.check()


def test_a_collection_waits_for_a_commit_that_seals(depot: DirectoryDepot):
    began = threading.Event()

    def collected() -> None:
        with collection(depot):
            began.set()

    with intent(depot) as promise:
        promise.confirm()
        thread = threading.Thread(target=collected)
        thread.start()
        while depot.stat(COLLECTION) is None:
            pass
        assert not began.wait(0.3)
    thread.join(20)
    assert began.is_set()


def test_a_commit_that_seals_waits_for_a_collection(depot: DirectoryDepot):
    sealed = threading.Event()

    def committed() -> None:
        with intent(depot) as promise:
            promise.confirm()
            sealed.set()

    with collection(depot):
        thread = threading.Thread(target=committed)
        thread.start()
        assert not sealed.wait(0.3)
    thread.join(20)
    assert sealed.is_set()


def test_nobody_waits_for_the_dead(depot: DirectoryDepot):
    depot.put("intents/1-dead", b'{"state": "sealing"}')
    is_dead(depot, "intents/1-dead")
    with collection(depot):
        assert depot.stat("intents/1-dead") is None
    depot.put(COLLECTION, b"{}")
    is_dead(depot, COLLECTION)
    with intent(depot) as promise:
        promise.confirm()


def test_a_collection_leaves_what_is_named_and_what_is_young(depot: DirectoryDepot):
    old(depot, *PACKS, VERSION)
    depot.touch(PACKS[2])
    swept = collect(depot, ["b3:" + "d" * 64], packs_of=lambda content: ["a" * 64])
    assert {stored.name for stored in depot.names("packs/")} == {PACKS[0], PACKS[2]}
    assert (swept.packs, swept.versions, swept.freed_bytes, swept.kept_bytes) == (1, 0, 7, 14)


def test_a_dry_run_removes_nothing_and_says_what_would_go(depot: DirectoryDepot):
    old(depot, *PACKS, VERSION)
    swept = collect(depot, ["b3:" + "e" * 64], packs_of=lambda content: [], dry_run=True)
    assert (swept.packs, swept.versions, swept.freed_bytes) == (3, 1, 28)
    assert swept.missing == ("b3:" + "e" * 64,)
    assert len(list(depot.names("packs/"))) == 3
    assert depot.stat(VERSION) is not None


def test_a_version_that_cannot_be_read_stops_a_collection_before_it_removes(depot: DirectoryDepot):
    old(depot, *PACKS, VERSION)

    def damaged(content: bytes) -> list[str]:
        raise InvalidInput("bad-version", "it is damaged")

    with pytest.raises(InvalidInput):
        collect(depot, ["b3:" + "d" * 64], packs_of=damaged)
    assert len(list(depot.names("packs/"))) == 3
    assert depot.stat(COLLECTION) is None
