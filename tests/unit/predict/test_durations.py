"""What is learned from jobs that ended, and how groups fall back on wider ones."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest

from zenkei.predict.durations import Durations
from zenkei.predict.facts import Facts

DAY_US = 86_400_000_000
NIGHT = Facts(user="ann", queue="lab", name="night-1", gpus_milli=8000)
QUICK = Facts(user="bob", queue="lab", name="check-1", gpus_milli=1000)


def learned(*, ann: int = 30, bob: int = 30) -> Durations:
    """Ann's jobs run 10 hours, Bob's two minutes; an hour between submissions."""
    durations = Durations()
    for number in range(max(ann, bob)):
        at_us = number * DAY_US // 24
        if number < ann:
            durations.ended(NIGHT._replace(submitted_us=at_us), 36_000.0)
        if number < bob:
            durations.ended(QUICK._replace(submitted_us=at_us), 120.0)
    return durations


def later(facts: Facts) -> Facts:
    """Of no burst that is known."""
    return facts._replace(submitted_us=10 * DAY_US)


def test_nothing_ended_yet_gives_the_prior_and_no_error():
    forecaster = Durations().freeze()
    assert 60.0 < forecaster.quantile(NIGHT, 0.5) < forecaster.quantile(NIGHT, 0.9) < 3e5
    assert forecaster.value(NIGHT) > 0.0


def test_each_group_has_its_own_law():
    forecaster = learned().freeze()
    assert 25_000.0 < forecaster.quantile(later(NIGHT), 0.5) < 45_000.0
    assert 80.0 < forecaster.quantile(later(QUICK), 0.5) < 160.0


def test_a_new_name_of_a_user_is_like_the_others_of_that_user():
    other = later(NIGHT)._replace(name="morning", gpus_milli=4000)
    assert learned().freeze().quantile(other, 0.5) > 20_000.0


def test_a_stranger_is_like_everybody():
    stranger = Facts(user="eve", queue="lab", gpus_milli=2000, submitted_us=10 * DAY_US)
    forecaster = learned().freeze()
    assert forecaster.quantile(stranger, 0.3) < 200.0
    assert forecaster.quantile(stranger, 0.8) > 20_000.0


def test_a_trace_that_knows_only_gpus_is_enough():
    durations = Durations()
    for _ in range(20):
        durations.ended(Facts(gpus_milli=8000), 36_000.0)
        durations.ended(Facts(gpus_milli=1000), 120.0)
    forecaster = durations.freeze()
    assert forecaster.quantile(Facts(gpus_milli=8000), 0.5) > 20_000.0
    assert forecaster.quantile(Facts(gpus_milli=1000), 0.5) < 200.0


def test_jobs_that_were_cancelled_do_not_make_jobs_look_short():
    durations = learned()
    for number in range(60):
        at_us = (number % 30) * DAY_US // 24
        durations.ended(NIGHT._replace(submitted_us=at_us), 60.0, censored=True)
    assert durations.freeze().quantile(later(NIGHT), 0.5) > 25_000.0


def test_jobs_that_still_run_count_for_as_long_as_they_ran():
    durations = Durations()
    facts = Facts(queue="lab", gpus_milli=1000)
    for _ in range(10):
        durations.ended(facts, 120.0)
    alone = durations.freeze().quantile(facts, 0.9)
    beside = durations.freeze([(facts, 50_000.0)] * 10).quantile(facts, 0.9)
    assert alone < 1000.0
    assert beside > 50_000.0


def test_what_is_submitted_together_runs_alike():
    durations = learned()
    now_us = 3 * DAY_US
    for number in range(3):
        durations.ended(NIGHT._replace(submitted_us=now_us + number * 1_000_000), 300.0)
    forecaster = durations.freeze()
    sibling = NIGHT._replace(submitted_us=now_us + 60_000_000)
    assert forecaster.quantile(sibling, 0.5) < 1000.0
    assert forecaster.quantile(later(NIGHT), 0.5) > 10_000.0


def test_what_people_do_now_counts_more_than_what_they_did():
    durations = Durations()
    facts = Facts(queue="lab", gpus_milli=1000)
    for number in range(100):
        durations.ended(facts._replace(submitted_us=number * 1000), 36_000.0)
    for number in range(30):
        durations.ended(facts._replace(submitted_us=20 * DAY_US + number * 1000), 120.0)
    assert durations.freeze().quantile(facts._replace(submitted_us=30 * DAY_US), 0.5) < 300.0


def test_years_do_not_overflow():
    durations = Durations()
    for year in range(20):
        durations.ended(NIGHT._replace(submitted_us=year * 365 * DAY_US), 36_000.0)
    assert 0.9 < durations.seen(NIGHT) < 2.0
    late = NIGHT._replace(submitted_us=20 * 365 * DAY_US)
    assert durations.freeze().quantile(late, 0.5) < 1e6


def test_what_was_frozen_does_not_change():
    durations = learned(ann=5)
    frozen = durations.freeze()
    before = frozen.quantile(later(NIGHT), 0.9)
    for _ in range(50):
        durations.ended(NIGHT, 10.0)
    assert frozen.quantile(later(QUICK), 0.5) == pytest.approx(120.0, rel=0.3)
    assert frozen.quantile(later(NIGHT), 0.9) == before


def test_freezing_changes_nothing_of_what_was_learned():
    durations = learned()
    before = durations.state()
    durations.freeze([(NIGHT, 50_000.0)], now_us=900 * DAY_US)
    assert durations.state() == before


def test_who_has_run_for_weeks_tells_how_long_jobs_run_now():
    durations = Durations()
    facts = Facts(queue="lab", gpus_milli=1000)
    now_us = 30 * DAY_US
    for number in range(20):
        durations.ended(facts, 86_400.0, now_us=number * DAY_US // 20)
    running = [(facts, 20 * 86_400.0)] * 20
    old = durations.freeze(running, now_us=now_us).quantile(facts, 0.5, age_s=10 * 86_400.0)
    alone = durations.freeze(now_us=now_us).quantile(facts, 0.5, age_s=10 * 86_400.0)
    assert old > 18 * 86_400.0 > alone


def test_versions_tell_whether_something_was_learned():
    durations = learned()
    first = durations.freeze().version
    durations.ended(NIGHT, 1.0)
    assert durations.freeze().version > first


def test_groups_unused_longest_make_room():
    small, large = Durations(limit=40), Durations()
    for durations in (small, large):
        for number in range(200):
            durations.ended(Facts(user=f"u{number}", queue="lab", gpus_milli=1000), 600.0)
            durations.ended(NIGHT, 36_000.0)
    assert len(small) <= 40 < len(large)
    assert small.seen(Facts()) == large.seen(Facts()) > 300.0
    assert small.freeze().quantile(later(NIGHT), 0.5) > 20_000.0


def test_a_state_of_another_version_is_refused():
    state = zlib.compress(b'{"version":99}')
    with pytest.raises(ValueError, match="version 99"):
        Durations.from_state(state)


def test_what_is_kept_is_small():
    assert len(learned().state()) < 20_000


ASK = """
from zenkei.predict.durations import Durations
from zenkei.predict.facts import Facts
durations = Durations(limit=30)
for n in range(300):
    facts = Facts(user=f"u{n % 17}", name=f"job-{n % 5}", gpus_milli=1000 * (n % 3), submitted_us=n)
    durations.ended(facts, 10.0 * n, censored=n % 7 == 0)
print(durations.state())
print(durations.freeze().quantile(Facts(user="u3", name="job-3"), 0.9))
"""


def test_nothing_depends_on_the_hash_seed():
    told = {
        subprocess.run(
            [sys.executable, "-c", ASK],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert np.isfinite(float(told.pop().split()[-1]))
