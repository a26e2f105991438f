"""How much silence is unusual for a job, learned from its own intervals."""

from __future__ import annotations

import pytest

from zenkei.agent.rhythm import Rhythm


def rhythm_of(intervals_s: list[float], quiet_s: float = 3.0, startup_s: float = 10.0) -> Rhythm:
    rhythm = Rhythm(quiet_s, startup_s)
    now = 100.0
    rhythm.begin(now)
    rhythm.sign(now + 1.0)
    now += 1.0
    for interval_s in intervals_s:
        now += interval_s
        rhythm.sign(now)
    return rhythm


def test_before_the_first_signs_the_startup_time_counts():
    assert rhythm_of([]).blocked_limit_s() == 10.0
    assert rhythm_of([0.5, 0.5]).blocked_limit_s() == 10.0


def test_a_fast_job_may_be_silent_for_the_quiet_time():
    assert rhythm_of([0.2] * 30).blocked_limit_s() == 3.0


def test_a_slow_job_may_be_silent_for_ten_times_its_usual_interval():
    limit_s = rhythm_of([5.0] * 30).blocked_limit_s()
    assert limit_s == pytest.approx(50.0, rel=0.01)


def test_a_rare_long_silence_that_ended_well_raises_all_limits():
    seen = rhythm_of([0.2] * 30 + [60.0] + [0.2] * 30)
    assert seen.blocked_limit_s() == pytest.approx(180.0)
    assert seen.busy_limit_s() == pytest.approx(240.0)


def test_an_evaluation_twenty_times_longer_than_a_step_is_within_the_limit_of_a_busy_job():
    for step_s in (0.05, 0.5, 2.0, 30.0):
        assert rhythm_of([step_s] * 20).busy_limit_s() > 20 * step_s


def test_lines_printed_at_once_are_one_sign():
    seen = rhythm_of([0.001] * 50)
    assert seen.signs == 1
    assert not seen.is_known


def test_a_slow_start_does_not_become_the_usual():
    seen = rhythm_of([40.0, 8.0] + [0.2] * 40)
    assert seen.usual_s == pytest.approx(0.2, rel=0.2)
    assert seen.blocked_limit_s() == 120.0


@pytest.mark.parametrize("interval_s", [0.11, 1.0, 7.0, 90.0, 4000.0])
def test_no_rhythm_ever_lowers_the_limits_below_what_the_job_file_says(interval_s):
    seen = rhythm_of([interval_s] * 50, quiet_s=20.0, startup_s=60.0)
    assert seen.blocked_limit_s() >= 20.0
    assert seen.collective_limit_s() >= 80.0
    assert seen.busy_limit_s() >= 15 * 20.0
