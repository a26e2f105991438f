"""What every registry of datasets promises: changes are whole, and the slower of two is told."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tests.conformance.store.conftest import START_US, World
from zenkei.model.data import Digest
from zenkei.model.dataset import (
    Dataset,
    DatasetEvent,
    DatasetEventKind,
    DatasetVersion,
    Grant,
    Permission,
)
from zenkei.ports.datasets import DatasetChange

A, B = (Digest("b3:" + letter * 64) for letter in "ab")


def version(number: int, digest: Digest = A, **more) -> DatasetVersion:
    return DatasetVersion(
        dataset="digits", number=number, digest=digest, files=3, size_bytes=30, by="ada", **more
    )


def event(kind: DatasetEventKind, **more) -> DatasetEvent:
    return DatasetEvent(dataset="digits", kind=kind, by="ada", **more)


def born(*versions: DatasetVersion, **tags: int) -> DatasetChange:
    return DatasetChange(
        name="digits",
        read=0,
        dataset=Dataset(name="digits", owner="ada", newest=len(versions)),
        versions=versions,
        tags=tags,
        events=(event(DatasetEventKind.CREATED),),
    )


@pytest.fixture
def registry(world: World):
    return world.open().datasets


def test_a_dataset_that_nobody_made_is_not_there(registry):
    assert registry.dataset("digits") is None
    assert registry.datasets() == ()
    assert registry.history("digits") == ()


def test_what_was_written_is_read_back_with_the_time_it_was_written(registry):
    grants = (Grant(to="group:vision", permission=Permission.WRITE),)
    change = born(version(1, inputs=("raw@" + B,), message="naïve \N{SNOWMAN}"), latest=1)
    assert change.dataset is not None
    assert registry.apply(replace(change, dataset=replace(change.dataset, grants=grants)))
    rows = registry.dataset("digits")
    assert rows.dataset.grants == grants
    assert (rows.dataset.revision, rows.dataset.created_us) == (1, START_US)
    assert rows.versions[1].inputs == ("raw@" + B,)
    assert rows.versions[1].message == "naïve \N{SNOWMAN}"
    assert rows.versions[1].at_us == START_US
    assert rows.tags == {"latest": 1}
    assert [e.kind for e in registry.history("digits")] == [DatasetEventKind.CREATED]


def test_a_change_decided_on_an_older_revision_changes_nothing(registry):
    assert registry.apply(born(version(1), latest=1))
    row = registry.dataset("digits").dataset
    change = DatasetChange(name="digits", read=1, dataset=row, versions=(version(2, B),))
    assert registry.apply(change)
    late = DatasetChange(name="digits", read=1, dataset=row, tags={"latest": 2})
    assert not registry.apply(late)
    assert registry.dataset("digits").tags == {"latest": 1}
    assert not registry.apply(born(version(1)))


def test_of_many_at_once_exactly_one_wins(registry):
    assert registry.apply(born(version(1), latest=1))
    row = registry.dataset("digits").dataset
    won: list[int] = []

    def move(number: int) -> None:
        change = DatasetChange(name="digits", read=1, dataset=row, tags={"latest": number})
        if registry.apply(change):
            won.append(number)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert registry.dataset("digits").tags == {"latest": won[0]}


def test_versions_and_tags_that_are_removed_are_gone_and_the_history_stays(registry):
    assert registry.apply(born(version(1), version(2, B), latest=2, v1=1))
    row = registry.dataset("digits").dataset
    gone = DatasetChange(name="digits", read=1, dataset=row, removed=(2,), tags={"latest": 0})
    assert registry.apply(gone)
    rows = registry.dataset("digits")
    assert set(rows.versions) == {1}
    assert rows.tags == {"v1": 1}
    assert registry.digests() == {A}
    removed = (event(DatasetEventKind.REMOVED),)
    assert registry.apply(DatasetChange(name="digits", read=2, dataset=None, events=removed))
    assert registry.dataset("digits") is None
    assert registry.digests() == frozenset()
    kinds = [e.kind for e in registry.history("digits")]
    assert kinds == [DatasetEventKind.CREATED, DatasetEventKind.REMOVED]


def test_a_content_is_found_in_every_dataset_that_has_it(registry):
    assert registry.apply(born(version(1), version(2, B)))
    other = Dataset(name="again", owner="bob", newest=1)
    mine = replace(version(1), dataset="again")
    assert registry.apply(DatasetChange(name="again", read=0, dataset=other, versions=(mine,)))
    assert [(v.dataset, v.number) for v in registry.version_of(A)] == [("again", 1), ("digits", 1)]
    assert [d.name for d in registry.datasets()] == ["again", "digits"]


def test_only_the_newest_lines_of_a_long_history_are_told(registry):
    events = tuple(event(DatasetEventKind.TAGGED, number=n) for n in range(1, 6))
    assert registry.apply(replace(born(version(1)), events=events))
    assert [e.number for e in registry.history("digits", limit=2)] == [4, 5]


def test_what_one_controller_wrote_the_other_reads(world: World):
    one, two = world.open("a").datasets, world.open("b").datasets
    assert one.apply(born(version(1), latest=1))
    assert two.dataset("digits").tags == {"latest": 1}
