"""The line: order, jobs that stand aside, and a clock that may run backwards."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from zenkei.model.ids import MAX_MEMBERS, JobId
from zenkei.model.instants import FURTHEST_US, is_ahead
from zenkei.scheduler import WaitingJob, waiting_columns
from zenkei.scheduler.line import SegmentKey, WaitingLine, job_of, order_of, submitted_of

jobs = st.builds(
    WaitingJob,
    job=st.builds(
        lambda number, member: JobId(number, member).key,
        st.integers(1, 10**12 - 1),
        st.integers(-1, MAX_MEMBERS - 1),
    ),
    job_class=st.integers(0, 2),
    queue=st.integers(0, 1),
    priority=st.integers(-(2**31), 2**31),
    submitted_us=st.integers(0, 2**61),
    not_before_us=st.integers(0, 5) | st.integers(FURTHEST_US, FURTHEST_US + 9),
    user=st.integers(0, 1),
    limit_us=st.integers(0, 1),
    likely_us=st.integers(0, 1),
    worth=st.integers(0, 1),
    served_us=st.integers(0, 1),
)

instants = st.integers(0, 9)


def said(line: WaitingLine) -> dict[SegmentKey, list[int]]:
    return {key: segment.keys[segment.start :] for key, segment in sorted(line.segments())}


@given(jobs, jobs)
def test_the_order_is_priority_then_submission_then_id(one: WaitingJob, other: WaitingJob) -> None:
    def meant(row: WaitingJob) -> tuple[int, int, int]:
        return -row.priority, row.submitted_us, row.job

    assert (order_of(one) < order_of(other)) == (meant(one) < meant(other))
    assert job_of(order_of(one)).key == one.job
    assert submitted_of(order_of(one)) == one.submitted_us


@given(st.lists(jobs, unique_by=lambda row: row.job, max_size=40), st.randoms(), st.data())
def test_however_it_came_about_a_line_is_the_same(
    rows: list[WaitingJob], rng: Random, data: st.DataObject
) -> None:
    gone = set(rng.sample([row.job for row in rows], len(rows) // 3))
    line = WaitingLine()
    for _ in range(3):
        line.due(data.draw(instants))
    shuffled = rng.sample(rows, len(rows))
    line.enter(shuffled[:5])
    line.due(data.draw(instants))
    line.enter(shuffled[5:])
    for job in gone:
        line.leave(job)
    now_us = data.draw(instants)
    line.due(now_us)

    fresh = WaitingLine()
    left = [row for row in rows if row.job not in gone]
    fresh.load(waiting_columns(left))
    fresh.due(now_us)
    assert said(line) == said(fresh)
    assert (line.classes, set(line.queues)) == (fresh.classes, set(fresh.queues))
    assert line.classes == len({key[1] for key in said(line)})
    assert (len(line), line.aside, line.next_us) == (len(fresh), fresh.aside, fresh.next_us)
    assert line.aside == sum(is_ahead(row.not_before_us, now_us) for row in left)


@given(st.lists(jobs, unique_by=lambda row: row.job, max_size=40), st.integers(0, 40), st.randoms())
def test_a_line_that_was_loaded_changes_like_one_that_was_entered(
    rows: list[WaitingJob], number: int, rng: Random
) -> None:
    first, later = rows[:number], rows[number:]
    gone = {row.job for row in first if rng.random() < 0.3}
    loaded, entered = WaitingLine(), WaitingLine()
    loaded.load(waiting_columns(first))
    entered.enter(first)
    for line in (loaded, entered):
        for job in sorted(gone):
            line.leave(job)
        line.enter(later)
        line.due(3)
    left = [row for row in rows if row.job not in gone]
    assert [loaded.segment_of(row.job) for row in left] == [
        entered.segment_of(row.job) for row in left
    ]
    # who looks for classes that may still start sees the same groups, read or not
    assert [
        classes_in(line, queue) for line in (loaded, entered) for queue in sorted(line.queues)
    ] == 2 * [classes_in(entered, queue) for queue in sorted(entered.queues)]
    assert said(loaded) == said(entered)
    assert (loaded.classes, loaded.aside) == (entered.classes, entered.aside)


def classes_in(line: WaitingLine, queue: int) -> dict[tuple[int, int], set[int]]:
    """By user and priority, the classes of which the group says that it has jobs."""
    return {
        key: {job_class for job_class in range(3) if group.mask & line.bit(job_class)}
        for key, group in line.of_queue(queue).items()
    }


def test_who_leaves_twice_or_was_never_there_changes_nothing() -> None:
    line = WaitingLine()
    line.enter([WaitingJob(5, 0, 0, 0, 1)])
    line.leave(6)
    line.leave(5)
    line.leave(5)
    assert (len(line), said(line)) == (0, {})


def test_the_place_in_line_counts_all_classes_and_not_those_aside() -> None:
    line = WaitingLine()
    line.enter(
        [WaitingJob(key, key % 3, 0, 0, key, not_before_us=9 * (key == 2)) for key in range(9)]
    )
    assert [line.ahead_of(key) for key in (0, 1, 3, 8)] == [0, 1, 2, 7]


def test_many_jobs_that_come_at_once_are_merged_into_the_line() -> None:
    line = WaitingLine()
    for start in (500, 0, 250):
        rows = [WaitingJob(key, 0, 0, 0, key) for key in range(start, start + 250)]
        line.enter(reversed(rows))
        line.leave(start)
    assert said(line) == {
        (0, 0, 0, 0, 0, 0, 0, 0): [
            order_of(WaitingJob(k, 0, 0, 0, k)) for k in range(750) if k % 250
        ]
    }


def test_a_long_segment_gives_back_the_room_of_those_who_left() -> None:
    line = WaitingLine()
    line.enter(WaitingJob(key, 0, 0, 0, key) for key in range(1000))
    for key in range(990):
        line.leave(key)
    ((_, segment),) = line.segments()
    assert len(segment) == 10
    assert len(segment.keys) < 40


def test_jobs_of_one_segment_differ_in_their_age_only() -> None:
    line = WaitingLine()
    first = WaitingJob(1, 0, 0, 0, 1)
    others: tuple[dict[str, int], ...] = (
        {},
        {"job_class": 1},
        {"queue": 1},
        {"user": 1},
        {"priority": 1},
        {"limit_us": 1},
        {"likely_us": 1},
        {"worth": 1},
        {"served_us": 1},
    )
    line.enter(first._replace(job=job, **other) for job, other in enumerate(others, 2))
    line.enter([first])
    assert sorted(map(len, said(line).values())) == [1, 1, 1, 1, 1, 1, 1, 1, 2]
    assert [list(group.segments) for group in line.of_queue(1).values()] == [
        [(1, 0, 0, 0, 0, 0, 0, 0)]
    ]
    assert set(line.of_queue(0)) == {(0, 0), (1, 0), (0, 1)}
    assert line.of_queue(2) == {}
