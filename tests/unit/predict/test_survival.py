"""Laws of run times: quantiles, what is left, the Gittins index, progress."""

from __future__ import annotations

import numpy as np
import pytest

from zenkei.predict.survival import BINS, EDGES_S, HORIZON_S, PRIOR, Survival, bin_of


def law_of(alive_at: dict[float, float]) -> Survival:
    """The law that falls linearly between the given edges."""
    alive = np.interp(EDGES_S, list(alive_at), list(alive_at.values()))
    return Survival(alive)


def bimodal() -> Survival:
    """Half of the jobs end within a minute, the others in about a day."""
    hazards = np.full(BINS, 1e-9)
    hazards[bin_of(50.0)] = 0.5
    hazards[bin_of(86_400.0)] = 1.0 - 1e-9
    return Survival.of(hazards)


@pytest.mark.parametrize("seconds", [0.0, 15.0, 15.1, 3600.0, 1e9])
def test_a_run_ends_in_the_bin_that_holds_it(seconds):
    place = bin_of(seconds)
    assert EDGES_S[place] <= seconds <= EDGES_S[place + 1] or seconds > HORIZON_S


def test_quantiles_lie_where_that_share_has_ended():
    law = law_of({0.0: 1.0, 240.0: 0.0})
    assert law.quantile(0.5) == pytest.approx(120.0)
    assert law.quantile(0.5, age_s=120.0) == pytest.approx(180.0)


def test_who_has_outlived_the_short_ones_is_a_long_one():
    assert bimodal().quantile(0.4) < 61.0
    assert bimodal().quantile(0.4, age_s=120.0) > 70_000.0


def test_a_job_older_than_all_that_is_known_still_has_quantiles():
    law = Survival.of(PRIOR)
    old = 2.0 * HORIZON_S
    assert old < law.quantile(0.5, age_s=old) < law.quantile(0.9, age_s=old) < np.inf


def test_samples_of_what_is_left_have_the_quantiles_of_the_law():
    law = Survival.of(PRIOR)
    draws = (np.arange(1000) + 0.5) / 1000
    totals = law.totals(600.0, draws)
    assert np.quantile(totals, 0.9) == pytest.approx(law.quantile(0.9, age_s=600.0), rel=0.01)


def test_without_memory_the_index_is_the_rate_of_ending():
    rate = 1 / 7200.0
    law = Survival(np.exp(-rate * EDGES_S))
    assert law.value(60.0) == pytest.approx(rate, rel=0.05)
    assert law.value(20_000.0) == pytest.approx(rate, rel=0.05)


def test_the_index_falls_when_a_job_turns_out_to_be_a_long_one():
    law = bimodal()
    assert law.value(0.0) > 100 * law.value(120.0)


def test_the_index_rises_towards_the_end_of_a_long_job():
    law = bimodal()
    assert law.value(70_000.0) > law.value(120.0)


def test_progress_narrows_the_law():
    law = Survival.of(PRIOR)
    told = law.narrowed(0.5, 3600.0)
    assert 5400.0 < told.quantile(0.5, age_s=3600.0) < 9000.0
    wide = law.quantile(0.9, age_s=3600.0) - law.quantile(0.1, age_s=3600.0)
    narrow = told.quantile(0.9, age_s=3600.0) - told.quantile(0.1, age_s=3600.0)
    assert narrow < 0.5 * wide


def test_progress_near_the_end_leaves_little_doubt():
    told = Survival.of(PRIOR).narrowed(0.95, 36_000.0)
    assert told.quantile(0.8, age_s=36_000.0) < 39_500.0


def test_the_first_steps_say_nothing_yet():
    law = Survival.of(PRIOR)
    assert law.narrowed(0.001, 60.0) is law


def test_a_job_that_outlives_its_progress_is_not_given_up():
    told = Survival.of(PRIOR).narrowed(0.9, 3600.0)
    assert 36_000.0 < told.quantile(0.5, age_s=36_000.0) < 1e7
