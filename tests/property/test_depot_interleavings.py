"""A collection beside commits loses nothing, at any interleaving; every one is looked at.

The programs are the production's: `collect`, the keeper of a commit, intents. See `depot_worlds`.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

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

    def __enter__(self) -> Serial:
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
BEFORE = pytest.mark.parametrize(
    "before",
    [NOTHING, OLD_PACK, OLD_VERSION, BROKEN],
    ids=["an empty depot", "an old pack", "an old version", "a version without its pack"],
)
LEAPS = pytest.mark.parametrize(
    "leaps",
    [(), (STALE,), (OVERNIGHT,), (STALE, OVERNIGHT), (OVERNIGHT, OVERNIGHT)],
    ids=["awake", "one seems dead", "one sleeps overnight", "both", "two nights"],
)


@BEFORE
@LEAPS
def test_a_commit_beside_a_collection_loses_nothing(wired: Wired, before, leaps):
    explorer = Explorer([wired.commit(X), wired.collection], lost, enter=wired.enter)
    assert explorer.explore(before, leaps) == ""
    print(explorer.states, explorer.ended)
    assert TABLE.digest in explorer.ended
    assert "collected" in explorer.ended
