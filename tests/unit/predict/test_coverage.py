"""Promises are kept as often as they say, whatever the raw estimates are worth."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from zenkei.predict.coverage import Coverage, quantile_of_censored


def kept(coverage: Coverage, factor: float, *, jobs: int = 1500, drift: float = 0.0) -> float:
    """The share kept where waits are `factor` × lognormal, and estimates say 1000 to 3600 s."""
    rng = Random(5)
    now_s, hits = 0.0, []
    open_until: list[tuple[float, str]] = []
    for number in range(jobs):
        now_s += 300.0
        for at_s, name in sorted(open_until):
            if at_s <= now_s:
                coverage.started(name, at_s)
        open_until = [(at_s, name) for at_s, name in open_until if at_s > now_s]
        coverage.passed(now_s)
        wait_s = 1000.0 * factor * rng.lognormvariate(0.0, 1.0) * (1.0 + drift * number / jobs)
        shown_s = coverage.promise(str(number), 1000.0, 3600.0, now_s)
        open_until.append((now_s + wait_s, str(number)))
        if number > jobs // 5:
            hits.append(wait_s <= shown_s)
    return sum(hits) / len(hits)


@pytest.mark.parametrize("factor", [0.9, 1.2, 1.5])
@pytest.mark.parametrize("target", [0.8, 0.9])
def test_promises_are_kept_as_often_as_they_say(target, factor):
    assert kept(Coverage(target), factor) == pytest.approx(target, abs=0.03)


def test_promises_are_kept_while_waits_grow():
    assert kept(Coverage(0.9), 0.7, drift=1.0) == pytest.approx(0.9, abs=0.03)


def test_an_estimate_is_shown_as_it_is_before_anything_is_known():
    shown_s = Coverage(0.9).promise("first", 3600.0, 7200.0, 0.0)
    assert shown_s == pytest.approx(7200.0, rel=0.1)


def test_a_few_bad_promises_do_not_make_all_wide():
    coverage = Coverage(0.9)
    for number in range(5):
        coverage.promise(str(number), 100.0, 200.0, 0.0)
        coverage.started(str(number), 500_000.0)
    assert coverage.promise("next", 3600.0, 7200.0, 500_000.0) < 15_000.0


def test_a_certain_estimate_stays_narrow_beside_uncertain_ones():
    coverage = Coverage(0.9)
    kept(coverage, 1.5, jobs=300)
    narrow = coverage.promise("sure", 100_000.0, 101_000.0, 1e6)
    wide = coverage.promise("unsure", 100_000.0, 300_000.0, 1e6)
    assert narrow < 104_000.0
    assert wide > 300_000.0


def test_a_promise_that_has_passed_counts_before_the_job_starts():
    coverage = Coverage(0.9)
    coverage.promise("late", 100.0, 700.0, 0.0)
    coverage.passed(1000.0)
    assert coverage.observed() == (0.0, 0)
    coverage.passed(2000.0)
    assert coverage.observed() == (0.0, 1)
    assert coverage.level > 0.9


def test_a_late_start_is_one_miss_not_two():
    coverage = Coverage(0.9)
    coverage.promise("late", 100.0, 700.0, 0.0)
    coverage.passed(2000.0)
    coverage.started("late", 5000.0)
    assert coverage.observed() == (0.0, 1)


def test_the_first_promise_is_the_one_that_counts():
    coverage = Coverage(0.9)
    coverage.promise("job", 100.0, 700.0, 0.0)
    coverage.promise("job", 10_000.0, 20_000.0, 90.0)
    coverage.started("job", 3000.0)
    assert coverage.observed() == (0.0, 1)


def test_a_cancelled_job_counts_for_nothing():
    coverage = Coverage(0.9)
    coverage.promise("gone", 100.0, 700.0, 0.0)
    coverage.withdrawn("gone")
    coverage.passed(1e6)
    assert coverage.observed() == (0.0, 0)


def test_jobs_that_still_wait_count_as_long_waits():
    coverage = Coverage(0.9)
    for number in range(50):
        coverage.promise(f"quick-{number}", 1000.0, 2000.0, 0.0)
        coverage.promise(f"stuck-{number}", 1000.0, 2000.0, 0.0)
    for number in range(50):
        coverage.started(f"quick-{number}", 100.0 + number)
    before = coverage.widening(200.0)
    assert coverage.widening(90_000.0) > before + 0.3
    assert quantile_of_censored(np.arange(50.0), np.full(50, 100.0), 0.25) > 20.0


def test_where_all_scores_are_known_the_quantile_is_the_plain_one():
    scores = np.arange(1.0, 101.0)
    assert quantile_of_censored(scores, np.zeros(0), 0.9) == 90.0


def test_a_state_that_is_read_again_goes_on_alike():
    one = Coverage(0.9)
    kept(one, 3.0, jobs=200)
    other = Coverage.from_state(one.state())
    assert other.state() == one.state()
    for coverage in (one, other):
        coverage.promise("next", 500.0, 900.0, 1e6)
        coverage.started("next", 1.1e6)
    assert other.widening(1.2e6) == one.widening(1.2e6)


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 7"):
        Coverage.from_state(b'{"version":7}')


def test_a_share_must_be_one():
    with pytest.raises(ValueError, match=r"1\.5"):
        Coverage(1.5)
