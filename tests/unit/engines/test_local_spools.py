"""What is kept of the records of a job that saves very often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zenkei.engines.local.layout import Layout
from zenkei.engines.local.spools import Spools
from zenkei.model.ids import AttemptId
from zenkei.protocol import names, records

ATTEMPT = AttemptId.parse("7/1")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.node(ATTEMPT, 0).mkdir(parents=True)
    return made


@pytest.fixture
def journal(layout: Layout) -> records.Journal:
    path = str(layout.node(ATTEMPT, 0) / names.SPOOL_FILE)
    records.make(path)
    made = records.Journal(path, attempt=str(ATTEMPT), node=0)
    made.append(records.CLAIMED, at_us=1)
    return made


def saved(journal: records.Journal, *steps: int, **more: Any) -> None:
    for step in steps:
        journal.append(records.SAVED, at_us=100 + step, step=step, paths=[], **more)


def told(spools: Spools) -> list[tuple[str, int]]:
    return [(r["kind"], r.get("step", 0)) for r in spools.read(ATTEMPT, 0)]


def test_of_checkpoints_that_were_reported_only_their_times_are_kept(layout, journal):
    spools = Spools(layout)
    saved(journal, 1, 2, 3)
    assert told(spools) == [("claimed", 0), ("saved", 1), ("saved", 2), ("saved", 3)]
    spools.drop_saved(ATTEMPT, 2)
    saved(journal, 4)
    assert told(spools) == [("claimed", 0), ("saved", 3), ("saved", 4)]
    assert [spools.told_us(ATTEMPT, 0, step) for step in (1, 4, 5)] == [101, 104, 0]


def test_a_checkpoint_for_which_the_attempt_ends_is_kept(layout, journal):
    spools = Spools(layout)
    saved(journal, 1)
    saved(journal, 2, stop="preempted")
    spools.drop_saved(ATTEMPT, 2)
    assert told(spools) == [("claimed", 0), ("saved", 2)]


def test_all_records_are_counted_whatever_is_kept_of_them(layout, journal):
    spools = Spools(layout)
    saved(journal, 1, 2)
    spools.drop_saved(ATTEMPT, 2)
    assert spools.count(ATTEMPT, 0) == 3


def test_what_was_forgotten_is_found_again_in_the_file(layout, journal):
    spools = Spools(layout)
    saved(journal, 1)
    spools.drop_saved(ATTEMPT, 1)
    spools.forget(ATTEMPT)
    assert spools.told_us(ATTEMPT, 0, 1) == 101
    assert told(spools) == [("claimed", 0), ("saved", 1)]
