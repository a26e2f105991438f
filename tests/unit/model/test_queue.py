"""Past usage, and switches over a configuration."""

import pytest

from zenkei.model.clusterlog import EVERYTHING, Switch, in_force
from zenkei.model.queue import ClusterConfig, PastUsage, Queue, counted_s

DAY_US = 86_400_000_000
DAY_S = 86_400.0


def test_use_counts_half_after_the_half_life():
    used = PastUsage("q", "ann", 4.0, 8.0, 2.0, 0).as_of(DAY_US, DAY_S)
    assert used == PastUsage("q", "ann", 2.0, 4.0, 1.0, DAY_US)


def test_a_clock_that_went_back_leaves_past_usage_alone():
    used = PastUsage("q", "ann", 4.0, 8.0, 2.0, DAY_US)
    assert used.as_of(0, DAY_S) == used
    assert counted_s(DAY_US, 0, DAY_S) == 0.0


def test_one_long_job_counts_like_two_short_ones_after_each_other():
    first = PastUsage("q", "ann", counted_s(0, DAY_US, DAY_S), 0.0, 0.0, DAY_US)
    both = first.as_of(3 * DAY_US, DAY_S).cpu_milli_s + counted_s(DAY_US, 3 * DAY_US, DAY_S)
    assert both == pytest.approx(counted_s(0, 3 * DAY_US, DAY_S))


def test_a_short_use_counts_as_long_as_it_was():
    assert counted_s(0, 60_000_000, 7 * DAY_S) == pytest.approx(60.0, rel=1e-3)


def test_switches_pause_their_queues_and_all_starts():
    config = ClusterConfig(queues=(Queue(name="a"), Queue(name="b")))
    switches = (
        Switch(queue="a", by="ann", reason="disks", since_us=1),
        Switch(queue=EVERYTHING, by="bob", reason="", since_us=2),
    )
    found = in_force(config, switches)
    assert [queue.paused for queue in found.queues] == ["disks (by ann)", ""]
    assert found.paused == "paused by bob"
    assert in_force(config, ()) == config
