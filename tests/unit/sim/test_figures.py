"""Figures of a run, by hand."""

from __future__ import annotations

import pytest

from zenkei.sim.clock import START_US
from zenkei.sim.figures import by, figures, isolated_s, quantile
from zenkei.sim.replaying import Costs, Story
from zenkei.sim.traces import TraceJob, read_nodes


def story(came_s: int, duration_s: int, *held: tuple[int, int], gpus: int = 1) -> Story:
    """One that was over with its last span of holding."""
    job = TraceJob(
        "j", "u", f"q{gpus}", "", came_s * 10**6, duration_s * 10**6, gpu_count=gpus, gpu_milli=1000
    )
    spans = [(START_US + a * 10**6, START_US + b * 10**6) for a, b in held]
    ended_us = spans[-1][1] if spans else 0
    return Story(job, first_us=spans[0][0] if spans else -1, ended_us=ended_us, held=spans)


def test_times_count_from_submission_and_utilisation_from_the_first() -> None:
    told = [story(100, 50, (100, 150), gpus=2), story(100, 50, (150, 200), gpus=2)]
    found = figures(told, read_nodes("1x4"), round_s=0.0, costs=Costs())
    assert (found.jct_mean_s, found.wait_mean_s, found.wait_max_s) == (75.0, 25.0, 50.0)
    assert (found.makespan_s, found.utilisation, found.lost_gpu_hours) == (100.0, 0.5, 0.0)


def test_what_was_done_twice_is_lost() -> None:
    told = [story(0, 3600, (0, 1800), (1800, 5400), gpus=2)]
    told[0].displaced = 1
    found = figures(told, read_nodes("1x2"), round_s=0.0, costs=Costs())
    assert (found.preemptions, found.lost_gpu_hours, found.utilisation) == (1, 1.0, 1.0)


def test_a_job_that_never_ran_counts_as_unfinished_and_in_no_mean() -> None:
    found = figures(
        [story(0, 10, (0, 10)), story(0, 10)], read_nodes("1x1"), round_s=0.0, costs=Costs()
    )
    assert (found.jobs, found.unfinished, found.jct_mean_s) == (2, 1, 10.0)


def test_nothing_at_all_has_no_figures() -> None:
    found = figures([], read_nodes("1x1"), round_s=0.0, costs=Costs())
    assert (found.jct_mean_s, found.utilisation, found.ftf_over_1_05) == (None, None, None)


def test_quantiles_fall_between_values() -> None:
    assert [quantile([1.0, 2.0, 4.0], q) for q in (0.0, 0.5, 0.75, 1.0)] == [1.0, 2.0, 3.0, 4.0]


# -- finish-time fairness ------------------------------------------------------------------------


def test_alone_a_job_runs_at_full_speed_and_two_that_want_all_at_half() -> None:
    assert isolated_s([(0.0, 100.0, 4)], 4) == [100.0]
    assert isolated_s([(0.0, 100.0, 4), (0.0, 100.0, 4)], 4) == [200.0, 200.0]


def test_small_jobs_are_not_slowed_where_their_share_is_enough() -> None:
    """Each may have 2 of 4: the large one runs at half its speed until the small one ends."""
    small, large = isolated_s([(0.0, 100.0, 1), (0.0, 100.0, 4)], 4)
    assert small == 100.0
    assert large == pytest.approx(100.0 + 50.0)


def test_who_comes_later_slows_who_is_there() -> None:
    first, second = isolated_s([(0.0, 100.0, 4), (50.0, 100.0, 4)], 4)
    assert first == pytest.approx(150.0)
    assert second == pytest.approx(150.0)


def test_a_job_is_treated_unfairly_that_took_longer_than_with_its_even_share() -> None:
    in_turn = [story(0, 100, (0, 100), gpus=4), story(0, 100, (100, 200), gpus=4)]
    late = [story(0, 100, (0, 100), gpus=4), story(0, 100, (120, 220), gpus=4)]
    nodes = read_nodes("1x4")
    assert figures(in_turn, nodes, round_s=0.0, costs=Costs()).ftf_over_1_05 == 0.0
    assert figures(late, nodes, round_s=0.0, costs=Costs()).ftf_over_1_05 == 0.5
    # who starts alone waits for the round and for the start too
    assert figures(late, nodes, round_s=0.0, costs=Costs(start_s=30)).ftf_over_1_05 == 0.0


def test_parts_are_told_by_name_or_in_an_order() -> None:
    told = [story(0, 10, (0, 10), gpus=2), story(0, 10, (5, 15)), story(0, 30, (7, 37))]
    one, two = by(told, lambda each: each.job.queue)
    assert (one.name, one.jobs, one.wait_mean_s, two.name) == ("q1", 2, 6.0, "q2")
    assert [part.name for part in by(told, lambda each: each.job.queue, ("q2", "q1"))] == [
        "q2",
        "q1",
    ]
