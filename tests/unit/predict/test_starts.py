"""Start estimates: who waits for whom, on lines small enough to work out by hand."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from zenkei.predict.durations import Durations, Forecaster
from zenkei.predict.facts import Facts
from zenkei.predict.starts import Newcomers, Running, Serving, Waiting, estimate

HOUR_S = 3600.0
SHORT = Facts(queue="lab", name="short", gpus_milli=1000)
LONG = Facts(queue="lab", name="long", gpus_milli=1000)
FEW = Serving(samples=32)


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    """Short jobs run about ten minutes, long ones about a day."""
    durations = Durations()
    for number in range(300):
        at_us = number * 400_000_000
        durations.ended(SHORT._replace(submitted_us=at_us), 600.0)
        durations.ended(LONG._replace(submitted_us=at_us), 24 * HOUR_S)
    return durations.freeze()


def one(facts: Facts = SHORT, gpus: int = 1, parts: int = 1) -> Waiting:
    return Waiting(facts, parts, 1000 * gpus)


def p50(capacity, running, waiting, forecaster, **more) -> list[float]:
    more.setdefault("serving", FEW)
    found = estimate(capacity, running, waiting, forecaster, seed=1, **more)
    return [float(start) for start in found.quantile(0.5)]


def test_what_fits_starts_now(forecaster):
    assert p50([8000], [], [one(gpus=8)], forecaster) == [0.0]


def test_who_waits_for_a_running_job_starts_when_that_ends(forecaster):
    running = [Running(SHORT, 300.0, (0,), 8000)]
    (start,) = p50([8000], running, [one()], forecaster)
    assert 150.0 < start < 450.0


def test_the_longer_a_job_is_likely_to_run_the_later_starts_the_next(forecaster):
    short = p50([8000], [Running(SHORT, 0.0, (0,), 8000)], [one()], forecaster)
    long = p50([8000], [Running(LONG, 0.0, (0,), 8000)], [one()], forecaster)
    assert short[0] < HOUR_S < 12 * HOUR_S < long[0]


def test_the_line_is_served_in_order(forecaster):
    running = [Running(SHORT, 0.0, (0,), 8000)]
    starts = p50([8000], running, [one(gpus=8) for _ in range(4)], forecaster)
    assert starts == sorted(starts)
    assert starts[3] > 3 * 450.0


def test_a_small_job_passes_what_does_not_fit(forecaster):
    running = [Running(LONG, 0.0, (0,), 4000)]
    starts = p50([8000], running, [one(gpus=8), one(gpus=2)], forecaster)
    assert starts[0] > 12 * HOUR_S
    assert starts[1] == 0.0


def test_where_nobody_passes_a_small_job_waits_behind(forecaster):
    running = [Running(LONG, 0.0, (0,), 4000)]
    strict = FEW._replace(strict=True)
    starts = p50([8000], running, [one(gpus=8), one(gpus=2)], forecaster, serving=strict)
    assert starts[1] >= starts[0] > 12 * HOUR_S


def test_parts_of_a_gang_need_nodes_of_their_own(forecaster):
    gang = one(gpus=4, parts=2)
    assert p50([8000, 8000], [], [gang], forecaster) == [0.0]
    busy = [Running(SHORT, 0.0, (1,), 8000)]
    assert p50([8000, 8000], busy, [gang], forecaster)[0] > 100.0


def test_a_gang_that_runs_gives_back_all_its_parts(forecaster):
    running = [Running(SHORT, 300.0, (0, 1), 8000)]
    (start,) = p50([8000, 8000], running, [one(gpus=8, parts=2)], forecaster)
    assert start < HOUR_S


def test_small_jobs_leave_whole_nodes_whole(forecaster):
    running = [Running(LONG, 0.0, (0,), 6000)]
    starts = p50([8000, 8000], running, [one(gpus=2), one(gpus=8)], forecaster)
    assert starts == [0.0, 0.0]


def test_who_may_be_displaced_holds_nothing_longer_than_that(forecaster):
    running = [Running(LONG, 0.0, (0,), 8000, cap_s=60.0)]
    assert p50([8000], running, [one()], forecaster) == [60.0]


def test_newcomers_that_pass_make_a_wide_job_wait_longer(forecaster):
    running = [Running(SHORT, 0.0, (0,), 4000), Running(SHORT, 0.0, (0,), 4000)]
    stream = Newcomers(
        jobs=[one(gpus=4)] * 20, came_s=[150.0 * n for n in range(20)], span_s=HOUR_S
    )
    alone = p50([8000], running, [one(gpus=8)], forecaster)
    crowded = p50([8000], running, [one(gpus=8)], forecaster, newcomers=stream)
    assert crowded[0] > 3 * alone[0]


def test_newcomers_stand_behind_those_who_wait(forecaster):
    running = [Running(SHORT, 0.0, (0,), 8000)]
    stream = Newcomers(jobs=[one(gpus=8)] * 4, came_s=[1.0, 2.0, 3.0, 4.0], span_s=5.0)
    alone = p50([8000], running, [one(gpus=8)], forecaster)
    crowded = p50([8000], running, [one(gpus=8)], forecaster, newcomers=stream)
    assert crowded[0] < 2 * alone[0]


def test_what_can_never_fit_has_no_start(forecaster):
    starts = p50([8000], [], [one(gpus=16), one()], forecaster)
    assert starts == [inf, 0.0]


def test_a_small_budget_answers_for_the_head_of_the_line(forecaster):
    running = [Running(SHORT, 0.0, (0,), 8000)]
    waiting = [one(gpus=8) for _ in range(50)]
    found = estimate(
        [8000], running, waiting, forecaster, seed=1, serving=Serving(samples=32, most_steps=20)
    )
    starts = found.quantile(0.9)
    assert np.isfinite(starts[:3]).all()
    assert np.isinf(starts[-1])
    assert starts[0] < found.reached_s < inf


def test_a_wide_answer_is_later_at_90_percent(forecaster):
    running = [Running(Facts(user="new", gpus_milli=8000), 60.0, (0,), 8000)]
    found = estimate([8000], running, [one()], forecaster, seed=1)
    assert found.quantile(0.9)[0] > 2 * found.quantile(0.5)[0]


def test_a_long_line_is_not_foretold_better_than_its_jobs(forecaster):
    running = [Running(SHORT, 0.0, (0,), 8000)]
    waiting = [one(gpus=8) for _ in range(100)]
    found = estimate([8000], running, waiting, forecaster, seed=1)
    assert found.quantile(0.9)[-1] > 1.3 * found.quantile(0.5)[-1]


def test_asking_for_one_gives_the_same_answer_as_asking_for_all(forecaster):
    running = [Running(SHORT, 0.0, (0,), 8000)]
    waiting = [one(gpus=8) for _ in range(10)]
    every = estimate([8000], running, waiting, forecaster, seed=3)
    third = estimate([8000], running, waiting, forecaster, seed=3, asked=[3])
    assert third.quantile(0.9)[3] == every.quantile(0.9)[3]
    assert third.steps < every.steps


def test_the_same_seed_gives_the_same_answer(forecaster):
    running = [Running(LONG, 0.0, (0,), 8000)]
    one_time = estimate([8000], running, [one()] * 5, forecaster, seed=7).starts_s
    again = estimate([8000], running, [one()] * 5, forecaster, seed=7).starts_s
    other = estimate([8000], running, [one()] * 5, forecaster, seed=8).starts_s
    assert np.array_equal(one_time, again)
    assert not np.array_equal(one_time, other)


def test_jobs_without_gpus_start_beside_full_nodes(forecaster):
    running = [Running(LONG, 0.0, (0,), 8000)]
    starts = p50([8000], running, [one(gpus=8), one(gpus=0), one(gpus=0)], forecaster)
    assert starts[0] > 12 * HOUR_S
    assert starts[1:] == [0.0, 0.0]


def test_an_empty_line_has_no_estimates(forecaster):
    assert p50([8000], [], [], forecaster) == []
