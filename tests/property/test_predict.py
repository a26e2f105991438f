"""Estimates: what always holds, whatever has ended and whoever asks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from zenkei.predict.durations import Durations
from zenkei.predict.facts import Facts
from zenkei.predict.starts import Running, Serving, Waiting, estimate
from zenkei.predict.survival import PRIOR, Survival

SECONDS = st.floats(0.0, 1e7)
SHARES = st.floats(0.0, 0.99)
FACTS = st.builds(
    Facts,
    user=st.sampled_from(["", "ann", "bob"]),
    queue=st.sampled_from(["", "lab"]),
    name=st.sampled_from(["", "train-1", "eval-22"]),
    gpus_milli=st.sampled_from([0, 500, 1000, 8000]),
    submitted_us=st.integers(0, 10**13),
)
ENDS = st.lists(st.tuples(FACTS, SECONDS, st.booleans()), max_size=40)


def learned(ends: list[tuple[Facts, float, bool]], limit: int = 50) -> Durations:
    durations = Durations(limit=limit)
    for facts, served_s, censored in ends:
        durations.ended(facts, served_s, censored=censored)
    return durations


@settings(max_examples=tries(100))
@given(ends=ENDS, facts=FACTS)
def test_ever_fewer_are_alive(ends, facts):
    alive = learned(ends).freeze().law(facts).alive
    assert alive[0] == 1.0
    assert (np.diff(alive) <= 0.0).all()
    assert (alive >= 0.0).all()


@settings(max_examples=tries(100))
@given(ends=ENDS, facts=FACTS, age_s=SECONDS, shares=st.tuples(SHARES, SHARES))
def test_a_greater_share_takes_longer_and_nobody_ends_before_its_age(ends, facts, age_s, shares):
    forecaster = learned(ends).freeze()
    less, more = (forecaster.quantile(facts, q, age_s=age_s) for q in sorted(shares))
    assert age_s <= less <= more < np.inf


@settings(max_examples=tries(100))
@given(
    ends=ENDS,
    facts=FACTS,
    ages=st.tuples(SECONDS, SECONDS),
    q=SHARES,
)
def test_who_has_run_longer_ends_no_earlier(ends, facts, ages, q):
    forecaster = learned(ends).freeze()
    young, old = sorted(ages)
    early = forecaster.quantile(facts, q, age_s=young)
    late = forecaster.quantile(facts, q, age_s=old)
    assert late >= early * (1 - 1e-9)


@settings(max_examples=tries(100))
@given(done=st.floats(0.0, 1.0), seen_s=SECONDS, more_s=SECONDS, shares=st.tuples(SHARES, SHARES))
def test_progress_keeps_quantiles_in_order(done, seen_s, more_s, shares):
    told = Survival.of(PRIOR).narrowed(done, seen_s)
    age_s = seen_s + more_s
    less, more = (told.quantile(q, age_s) for q in sorted(shares))
    assert age_s <= less <= more < np.inf


@settings(max_examples=tries(50))
@given(ends=ENDS, served_s=st.floats(20.0, 1e6), more=st.integers(1, 30))
def test_evidence_of_its_own_moves_a_group_towards_it(ends, served_s, more):
    facts = Facts(user="eve", queue="lab", gpus_milli=1000, submitted_us=10**13)
    distances = []
    durations = learned(ends)
    for count in (0, more, 10 * more):
        for _ in range(count):
            durations.ended(facts, served_s)
        at = durations.freeze().law(facts).share_alive
        distances.append(1.0 - (at(served_s / 1.25) - at(served_s * 1.25)))
    assert all(later <= before + 1e-9 for before, later in pairwise(distances))


@settings(max_examples=tries(100))
@given(ends=ENDS, limit=st.integers(2, 12))
def test_a_small_tree_forgets_groups_but_no_totals(ends, limit):
    small, large = learned(ends, limit), learned(ends, 1000)
    assert len(small) <= limit
    assert np.isclose(small.seen(Facts()), large.seen(Facts()))


@settings(max_examples=tries(50))
@given(ends=ENDS, more=ENDS, facts=FACTS, q=SHARES, limit=st.integers(2, 12))
def test_a_state_that_is_read_again_learns_and_answers_alike(ends, more, facts, q, limit):
    one = learned(ends, limit)
    other = Durations.from_state(one.state())
    for durations in (one, other):
        for told, served_s, censored in more:
            durations.ended(told, served_s, censored=censored)
    assert other.state() == one.state()
    assert other.freeze().quantile(facts, q) == one.freeze().quantile(facts, q)


JOBS = st.lists(
    st.builds(
        Waiting,
        FACTS,
        st.integers(1, 3),
        st.sampled_from([500, 1000, 4000, 8000]),
        cap_s=st.sampled_from([60.0, np.inf]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=tries(50), deadline=None)
@given(ends=ENDS, waiting=JOBS, seed=st.integers(0, 2**32), strict=st.booleans())
def test_every_job_that_fits_an_empty_cluster_gets_a_start(ends, waiting, seed, strict):
    running = [Running(Facts(), 100.0, (node,), 8000) for node in range(3)]
    found = estimate(
        [8000] * 3,
        running,
        waiting,
        learned(ends).freeze(),
        seed=seed,
        serving=Serving(samples=8, strict=strict),
    )
    p50, p90 = found.quantile(0.5), found.quantile(0.9)
    assert np.isfinite(p90).all()
    assert ((p50 >= 0.0) & (p50 <= p90)).all()
    if strict:
        assert (np.diff(p50) >= 0.0).all()
