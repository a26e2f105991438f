"""What every book of results promises: verdicts stay with both jobs, names have a history."""

from dataclasses import replace

import pytest

from tests.builders import do, submit
from tests.conformance.store.conftest import START_US, World
from zenkei.lifecycle import commands as c
from zenkei.model.data import ResultTag
from zenkei.model.ids import JobId
from zenkei.model.verdict import Comparison, Difference, Tolerance, Verdict, Verification

FIRST = Difference(kind="metric", name="損失", step=7, rank=0, a="nan", b="0.5", relative=None)
VERDICT = Verification(
    job="1",
    against="2",
    comparison=Comparison(
        verdict=Verdict.DIFFERENT, first=FIRST, others=(FIRST,), relative=None, notes=("x",)
    ),
    tolerance=Tolerance(everywhere=1e-6, named=(("loss*", 0.1),), ignored=("t",)),
    by="ada",
)


@pytest.fixture
def book(world: World):
    return world.open().book


def test_a_verdict_is_found_from_both_of_its_jobs_as_it_was(book):
    kept = book.keep(VERDICT)
    assert kept == replace(VERDICT, at_us=START_US)
    assert book.verdicts(JobId(1)) == (kept,)
    assert book.verdicts(JobId(2)) == (kept,)
    assert book.verdicts(JobId(3)) == ()


def test_verdicts_of_a_job_are_told_oldest_first(book):
    for other in ("3", "2.7", "2"):
        book.keep(replace(VERDICT, against=other))
    assert [v.against for v in book.verdicts(JobId(1))] == ["3", "2.7", "2"]
    assert len(book.verdicts(JobId(2, 7))) == 1


def test_a_name_moves_with_its_history_and_can_be_taken_away(book):
    for attempt in ("1/1", "2/3", ""):
        book.tag(ResultTag(project="p", tag="best", attempt=attempt, by="ada"))
    assert book.tags() == ()
    history = book.history("p", "best")
    assert [one.attempt for one in history] == ["1/1", "2/3", ""]
    assert [one.seq for one in history] == [1, 2, 3]
    assert history[0].at_us == START_US


def test_names_belong_to_a_project(book):
    for project, attempt in (("p", "1/1"), ("q", "2/1")):
        book.tag(ResultTag(project=project, tag="best", attempt=attempt, by="ada"))
    assert [(one.project, one.attempt) for one in book.tags()] == [("p", "1/1"), ("q", "2/1")]
    assert [one.attempt for one in book.tags("q")] == ["2/1"]


def test_another_controller_on_the_same_database_finds_it_all(world: World):
    world.open().book.keep(VERDICT)
    assert len(world.open("b").book.verdicts(JobId(1))) == 1


def test_a_job_that_is_forgotten_takes_its_lines_along_and_the_other_job_keeps_the_verdict(world):
    store = world.open()
    first, second = submit(store, members=2)
    do(store, first, c.Cancel())
    store.book.keep(replace(VERDICT, job=str(first), against=str(second)))
    store.book.tag(ResultTag(project="p", tag="best", attempt=f"{first}/1", by="ada"))
    assert store.forget([first]) == 1
    assert store.book.verdicts(first) == ()
    assert len(store.book.verdicts(second)) == 1
    assert store.book.tags() == ()
