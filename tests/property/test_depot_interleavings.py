"""A collection beside commits loses nothing, at any interleaving; every one is looked at.

The programs are the production's: `collect`, the keeper of a commit, intents. See `depot_worlds`.
"""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Self

import pytest

from tests.dataset_trees import table_of
from tests.property.depot_worlds import Explorer, Objects, Program, Stub
from zenkei.data.depots import intents
from zenkei.data.depots.collect import collect
from zenkei.data.versions import container, keeper

GRACE_S = 1000.0
OLD_S = -1e9
STALE, OVERNIGHT = intents.STALE_S + 10, GRACE_S + 10
TABLE = container.sealed(table_of({b"file": b"content"}))
X, Y = "ab" * 32, "cd" * 32
VERSION = f"versions/{TABLE.digest.removeprefix('b3:')}"
CONTENT = {pack: container.write(replace(TABLE, packs=(pack,))) for pack in (X, Y)}
PACKS = {CONTENT[pack]: pack for pack in CONTENT}


class Serial:
    """In place of a pool of threads: a program has one order of calls."""

    def __init__(self, size: int) -> None:
        self.map = map

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return


class Wired:
    """What the programs get from elsewhere: names from no dice, waiting as a step of theirs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = ""
        self.stub: Stub | None = None
        monkeypatch.setattr(intents, "secrets", SimpleNamespace(token_hex=lambda size: self.name))
        monkeypatch.setattr(intents, "time", SimpleNamespace(sleep=self._sleep))
        monkeypatch.setattr(intents, "_here_s", lambda: 0.0)
        # nobody ever gives a second sign of life: the worst that can happen
        monkeypatch.setattr(intents, "_alive", lambda beat: nullcontext())
        monkeypatch.setattr(keeper, "ThreadPoolExecutor", Serial)
        monkeypatch.setattr(keeper, "open_depot", lambda location: self.stub)

    def _sleep(self, seconds: float) -> None:
        assert self.stub is not None
        self.stub.ask("sleep")

    def enter(self, index: int) -> None:
        self.name = f"p{index}"

    def commit(self, pack: str) -> Program:
        """The version, with its content in `pack`: as `commit` does it."""

        def program(stub: Stub) -> None:
            self.stub = stub
            kept = keeper._Kept("stub")
            kept(("start",))
            for _ in range(3):
                if kept(("gone", (pack,))):
                    stub.put(f"packs/{pack}", b"pack")
                if kept(("put", TABLE.digest, CONTENT[pack], (pack,))):
                    # whoever waits for it enters it in the registry while it is young
                    stub.result = str(TABLE.digest)
                    kept.close()
                    return
            stub.result = "gave up"

        return program

    def collection(self, stub: Stub) -> None:
        self.stub = stub
        collect(
            stub,
            keep=stub.registry(),
            packs_of=lambda content: [PACKS[content]],
            grace_s=GRACE_S,
        )
        stub.result = "collected"


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Wired:
    return Wired(monkeypatch)


def lost(objects: Objects, results: list[str | None]) -> str:
    """What was committed must be there, and all that it needs."""
    if TABLE.digest not in results:
        return ""
    if VERSION not in objects:
        return "the version is gone"
    pack = PACKS[objects[VERSION][0]]
    return "" if f"packs/{pack}" in objects else f"pack {pack[:4]} is gone"


NOTHING: Objects = {}
OLD_PACK: Objects = {f"packs/{X}": (b"pack", OLD_S)}
OLD_VERSION: Objects = {**OLD_PACK, VERSION: (CONTENT[X], OLD_S)}
BROKEN: Objects = {VERSION: (CONTENT[X], OLD_S)}
BEFORE = {
    "an empty depot": NOTHING,
    "an old pack": OLD_PACK,
    "an old version": OLD_VERSION,
    "a version without its pack": BROKEN,
}
LEAPS = {
    "all awake": (),
    "somebody seems dead": (STALE,),
    "somebody sleeps overnight": (OVERNIGHT,),
    "two nights": (OVERNIGHT, OVERNIGHT),
}
QUICK = {
    ("somebody seems dead", "an old version"),
    ("somebody sleeps overnight", "a version without its pack"),
}


def cases():
    for leaps, seconds in LEAPS.items():
        for before in BEFORE:
            quick = not seconds or (leaps, before) in QUICK
            marks = [] if quick else [pytest.mark.slow, pytest.mark.timeout(1200)]
            yield pytest.param(before, leaps, marks=marks)


@pytest.mark.parametrize(("before", "leaps"), list(cases()))
def test_a_commit_beside_a_collection_loses_nothing(wired: Wired, before, leaps):
    explorer = Explorer([wired.commit(X), wired.collection], lost, enter=wired.enter)
    assert explorer.explore(BEFORE[before], LEAPS[leaps]) == ""
    assert {TABLE.digest, "collected"} <= explorer.ended


@pytest.mark.parametrize("before", BEFORE)
def test_it_loses_nothing_where_removal_looks_first(wired: Wired, before):
    programs = [wired.commit(X), wired.collection]
    explorer = Explorer(programs, lost, enter=wired.enter, atomic=False)
    assert explorer.explore(BEFORE[before]) == ""
    assert {TABLE.digest, "collected"} <= explorer.ended


@pytest.mark.parametrize("before", BEFORE)
def test_many_commits_and_collections_lose_nothing(wired: Wired, before):
    """Too many for every order: some, drawn by seed. Two of the commits have other packs."""
    commits = [wired.commit(X), wired.commit(Y), wired.commit(X)]
    programs = [*commits, wired.collection, wired.collection]
    explorer = Explorer(programs, lost, enter=wired.enter)
    walks = int(os.environ.get("ZENKEI_SOAK_DEPOT_WALKS", "150"))
    leaps = (STALE, OVERNIGHT, OVERNIGHT)
    assert explorer.wander(BEFORE[before], leaps, random.Random(7), walks) == ""
    assert {TABLE.digest, "collected"} <= explorer.ended


def test_a_collection_that_does_not_look_is_found_out(wired: Wired, monkeypatch):
    """The explorer sees what it is for: without the condition a sleeper does harm."""
    monkeypatch.setattr(Stub, "remove_untouched", lambda stub, stored: stub.remove(stored.name))
    explorer = Explorer([wired.commit(X), wired.collection], lost, enter=wired.enter)
    assert explorer.explore(OLD_VERSION, (STALE,)).endswith("is gone")


def test_a_commit_that_does_not_ask_is_found_out(wired: Wired, monkeypatch):
    """Where removal only looks first, nothing but the exclusion helps."""
    monkeypatch.setattr(intents.Promise, "confirm", lambda promise: None)
    programs = [wired.commit(X), wired.collection]
    explorer = Explorer(programs, lost, enter=wired.enter, atomic=False)
    assert explorer.explore(OLD_PACK).endswith("is gone")
