"""The node's cache: one fetch, verified, resumed, evicted; several processes ask at once."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tests.unit.data.dataset_maker import Tree, version
from tests.unit.data.folder_depot import FolderDepot
from zenkei.data.node import owners
from zenkei.data.node.cache import Cache
from zenkei.data.node.claims import Claims
from zenkei.data.node.eviction import Eviction, cached
from zenkei.data.node.holders import Hold, Holders
from zenkei.data.node.layout import CLAIMS, PACKS, TMP, VERSIONS, Layout
from zenkei.model.errors import InvalidInput, NotFound, Unavailable

FORK = multiprocessing.get_context("fork")


def files(start: int, count: int = 40, size: int = 3000) -> Tree:
    return {b"f%d" % n: (b"%d " % n) * (size // 4) for n in range(start, start + count)}


@pytest.fixture
def depot(tmp_path: Path) -> FolderDepot:
    return FolderDepot(tmp_path / "depot")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "cache")
    found.make()
    return found


def is_unchanged(cache: Cache, digest: str, packs: dict[str, bytes]) -> bool:
    record = cache.record(digest)
    contents = [path.read_bytes() for path in cache.packs(record)]
    wanted = [packs[name] + bytes(-len(packs[name]) % 512) for name, _ in record.packs]
    return contents == wanted


def test_what_is_in_the_cache_is_not_fetched_again(depot: FolderDepot, layout: Layout):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    Cache(layout, depot).fill(digest)
    Cache(layout, depot).fill(digest)
    assert sorted(depot.fetched()) == sorted(
        [f"versions/{digest[3:]}", *(f"packs/{name}" for name in packs)]
    )


def test_versions_share_the_packs_they_have_in_common(depot: FolderDepot, layout: Layout):
    first = depot.keep(*version(files(0)))
    table, packs = version(files(0) | {b"zz": b"new" * 100_000})
    second = depot.keep(table, packs)
    Cache(layout, depot).fill(first)
    before = set(depot.fetched())
    Cache(layout, depot).fill(second)
    again = depot.fetched()[len(before) :]
    assert not before & set(again)
    assert is_unchanged(Cache(layout, None), second, packs)


def test_a_version_that_is_neither_here_nor_there_is_not_found(depot: FolderDepot, layout: Layout):
    with pytest.raises(NotFound) as refused:
        Cache(layout, depot).fill("b3:" + "0" * 64)
    assert refused.value.code == "no-such-object"


def test_without_a_depot_only_what_is_here_is_given(depot: FolderDepot, layout: Layout):
    digest = depot.keep(*version(files(0)))
    with pytest.raises(InvalidInput, match="no depot was named"):
        Cache(layout, None).fill(digest)
    Cache(layout, depot).fill(digest)
    assert Cache(layout, None).fill(digest).files == 40


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    path.chmod(0o600)
    if how == "bit":
        content[len(content) // 2] ^= 1
    elif how == "short":
        del content[-513:]
    elif how == "long":
        content += b"\0" * 512
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["bit", "short", "long"])
def test_a_pack_that_was_damaged_in_the_cache_is_fetched_again(
    depot: FolderDepot, layout: Layout, how: str
):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    cache = Cache(layout, depot)
    name = cache.fill(digest).packs[0][0]
    damage(layout.place(PACKS, name), how)
    fresh = Cache(layout, depot)
    fresh.fill(digest)
    assert depot.fetched().count(f"packs/{name}") == 2
    assert is_unchanged(fresh, digest, packs)


@pytest.mark.parametrize("how", ["bit", "short", "long"])
def test_a_pack_that_is_damaged_in_the_depot_is_refused_and_named(
    depot: FolderDepot, layout: Layout, how: str
):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    name = table.packs[0]
    damage(depot.folder / "packs" / name, how)
    with pytest.raises(Unavailable, match=name) as refused:
        Cache(layout, depot).fill(digest)
    assert refused.value.code == "content-damaged"
    assert not layout.place(PACKS, name).exists()
    assert not list((layout.root / TMP).iterdir())


def test_a_table_that_is_damaged_in_the_depot_is_refused_and_named(
    depot: FolderDepot, layout: Layout
):
    digest = depot.keep(*version(files(0)))
    damage(depot.folder / "versions" / digest[3:], "bit")
    with pytest.raises(Unavailable, match=digest[3:]) as refused:
        Cache(layout, depot).fill(digest)
    assert refused.value.code == "content-damaged"


def test_a_table_under_the_name_of_another_is_refused(depot: FolderDepot, layout: Layout):
    one = depot.keep(*version(files(0)))
    other = depot.keep(*version(files(1)))
    (depot.folder / "versions" / one[3:]).write_bytes(
        (depot.folder / "versions" / other[3:]).read_bytes()
    )
    with pytest.raises(Unavailable, match="not have its digest"):
        Cache(layout, depot).fill(one)


def test_a_pack_missing_in_the_depot_is_named(depot: FolderDepot, layout: Layout):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    depot.remove(f"packs/{table.packs[-1]}")
    with pytest.raises(NotFound, match=table.packs[-1]):
        Cache(layout, depot).fill(digest)


def test_after_a_boot_everything_is_looked_at_again_and_nothing_fetched(
    depot: FolderDepot, layout: Layout, monkeypatch: pytest.MonkeyPatch
):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    Cache(layout, depot).fill(digest)
    before = depot.fetched()
    monkeypatch.setattr(owners, "boot", lambda: "another-boot")
    assert layout.stamp(PACKS, table.packs[0]) is None
    Cache(layout, depot).fill(digest)
    assert layout.stamp(PACKS, table.packs[0]) is not None
    assert depot.fetched() == before


def test_a_hard_link_takes_no_room_and_is_verified_as_well(depot: FolderDepot, layout: Layout):
    table, packs = version({b"a": b"x" * 1024, b"b": b"y" * 5000}, pack_bytes=512)
    digest = depot.keep(table, packs)
    Cache(layout, depot, link=True).fill(digest)
    linked, padded = (layout.place(PACKS, name) for name in table.packs)
    assert linked.stat().st_ino == (depot.folder / "packs" / linked.name).stat().st_ino
    assert padded.stat().st_size == 5120
    assert {each.name: each.size for each in cached(layout, Holders(layout))}[linked.name] == 0
    layout.forget(PACKS, linked.name)
    damage(depot.folder / "packs" / linked.name, "bit")
    with pytest.raises(Unavailable, match="not have its digest"):
        Cache(layout, depot, link=True).fill(digest)


# --- several processes ---


def ask(layout: Layout, depot: FolderDepot, digest: str) -> None:
    os._exit(0 if Cache(layout, depot).fill(digest).files == 40 else 1)


def test_sixty_four_askers_make_one_fetch_of_each_object(depot: FolderDepot, layout: Layout):
    table, packs = version(files(0, size=4000), pack_bytes=1 << 14)
    digest = depot.keep(table, packs)
    depot.slow_s = 0.05
    askers = [FORK.Process(target=ask, args=(layout, depot, digest)) for _ in range(64)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert [asker.exitcode for asker in askers] == [0] * 64
    assert sorted(depot.fetched()) == sorted(
        [f"versions/{digest[3:]}", *(f"packs/{name}" for name in packs)]
    )
    assert not list((layout.root / CLAIMS).iterdir())


def test_another_goes_on_when_the_fetcher_is_killed_and_before_it_is_reaped(
    depot: FolderDepot, layout: Layout
):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    stuck = FolderDepot(depot.folder, slow_s=100)
    fetcher = FORK.Process(target=ask, args=(layout, stuck, digest))
    fetcher.start()
    try:
        while not depot.fetched():
            time.sleep(0.005)
        assert fetcher.pid is not None
        os.kill(fetcher.pid, signal.SIGKILL)
        cache = Cache(layout, depot)
        cache.fill(digest)
        assert is_unchanged(cache, digest, packs)
    finally:
        fetcher.join()
    layout.sweep()
    assert not list((layout.root / TMP).iterdir())


def test_a_process_that_ended_is_dead_before_it_is_reaped_and_its_pid_proves_nothing():
    process = FORK.Process(target=time.sleep, args=(100,))
    process.start()
    assert process.pid is not None
    owner = owners.of_process(process.pid)
    assert owners.is_dead(owner) is False
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owners.is_dead(owner) is True, "a zombie has its pid and start time still"
    process.join()
    mine = owners.myself()
    assert owners.is_dead(dataclasses.replace(mine, start=mine.start + 1)) is True
    assert owners.is_dead(dataclasses.replace(mine, boot="another")) is True
    assert owners.is_dead(dataclasses.replace(mine, pids="pid:[1]")) is None


def test_a_claim_of_another_container_is_taken_when_its_heart_stands_still(layout: Layout):
    mine = Claims(layout, stale_s=0.2)
    alien = owners.Owner(boot=owners.boot(), pids="pid:[1]", pid=1, start=1)
    (layout.root / CLAIMS / "x").mkdir()
    beat = layout.root / CLAIMS / "x" / "owner"
    beat.write_text(f"{alien} 1 0")
    assert mine.attempt("x") is None
    os.utime(beat, (1, 1))
    time.sleep(0.25)
    assert mine.attempt("x") is None, "it was heard of since"
    time.sleep(0.25)
    claim = mine.attempt("x")
    assert claim is not None
    claim.release()
    assert not list((layout.root / CLAIMS).iterdir())


def test_a_claim_that_was_taken_over_is_left_to_its_new_owner(layout: Layout):
    old, new = Claims(layout), Claims(layout)
    first = old.attempt("x")
    assert first is not None
    assert new.attempt("x") is None
    (layout.root / CLAIMS / "x" / "owner").unlink()
    second = new.attempt("x")
    assert second is not None
    first.release()
    assert old.attempt("x") is None
    second.release()
    third = old.attempt("x")
    assert third is not None
    third.release()


# --- eviction ---


def evictor(layout: Layout, budget_bytes: int = 0) -> Eviction:
    return Eviction(layout, Holders(layout), Claims(layout), budget_bytes=budget_bytes)


def test_the_least_recently_used_goes_first(depot: FolderDepot, layout: Layout):
    old, new = (depot.keep(*version(files(start))) for start in (0, 100))
    for digest in (old, new, old):
        Cache(layout, depot).fill(digest)
    evictor(layout).evict(1)
    left = {name for name, _ in Cache(layout, None).record(old).packs}
    assert left <= set(layout.names(PACKS))
    assert len(set(layout.names(PACKS))) == 2 * len(left) - 1


def test_what_is_held_is_never_evicted(depot: FolderDepot, layout: Layout):
    table, packs = version(files(0))
    digest = depot.keep(table, packs)
    cache = Cache(layout, depot)
    cache.fill(digest)
    hold = Hold(version=digest[3:], holder="42/1")
    Holders(layout).add(hold)
    assert evictor(layout).evict(1 << 40) == 0
    assert is_unchanged(cache, digest, packs)
    Holders(layout).remove(hold)
    assert evictor(layout).evict(1 << 40) > 0
    assert not list(layout.names(PACKS))
    assert not list(layout.names(VERSIONS))


def test_a_holder_that_named_a_process_holds_until_that_ends(depot: FolderDepot, layout: Layout):
    digest = depot.keep(*version(files(0)))
    Cache(layout, depot).fill(digest)
    process = FORK.Process(target=time.sleep, args=(100,))
    process.start()
    assert process.pid is not None
    owner = owners.of_process(process.pid)
    Holders(layout).add(Hold(version=digest[3:], holder="42/1", owner=owner))
    assert evictor(layout).evict(1 << 40) == 0
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert evictor(layout).evict(1 << 40) > 0


def test_nobody_holds_anything_any_more_after_a_boot(
    depot: FolderDepot, layout: Layout, monkeypatch: pytest.MonkeyPatch
):
    digest = depot.keep(*version(files(0)))
    Holders(layout).add(Hold(version=digest[3:], holder="42/1"))
    assert [hold.holder for hold in Holders(layout).of(digest[3:])] == ["42/1"]
    monkeypatch.setattr(owners, "boot", lambda: "another-boot")
    assert Holders(layout).of(digest[3:]) == []


def test_a_cache_stays_within_its_budget(depot: FolderDepot, layout: Layout):
    digests = [depot.keep(*version(files(start))) for start in (0, 100, 200, 300)]
    budget_bytes = 400_000
    room = evictor(layout, budget_bytes)
    for digest in digests:
        Cache(layout, depot, make_room=room.make_room).fill(digest)
        assert sum(each.size for each in cached(layout, Holders(layout))) <= budget_bytes


def test_a_version_larger_than_what_is_not_held_is_refused(depot: FolderDepot, layout: Layout):
    one, two = (depot.keep(*version(files(start))) for start in (0, 100))
    room = evictor(layout, 200_000)
    Cache(layout, depot, make_room=room.make_room).fill(one)
    Holders(layout).add(Hold(version=one[3:], holder="42/1"))
    with pytest.raises(Unavailable, match="no room") as refused:
        Cache(layout, depot, make_room=room.make_room).fill(two)
    assert refused.value.code == "cache-full"
    Cache(layout, None).fill(one)
