"""Examples of the section "Time" in the page about scheduling, by whole plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cluster_life import HOUR, Life, gpu_nodes, gpus, teams
from tests.docs.scheduling_page import (
    code,
    nodes_of,
    obeyed,
    open_to_all,
    planned,
    promised,
    says,
    started,
)
from tests.planner_worlds import SECOND, ask
from zenkei.model.ids import JobId
from zenkei.model.queue import Policy, Queue, Reservation

NODE = ask(gpus=4)
MINUTE_S = 60
DISKS = Reservation(name="disks", nodes=("n0",), from_us=14 * HOUR, to_us=15 * HOUR)


def reserved(nodes: int, booked: Reservation = DISKS) -> Life:
    """At 13:00; the first node is reserved from 14:00 to 15:00."""
    life = Life(replace(teams(Policy()), reservations=(booked,)), gpu_nodes(nodes))
    life.now_us = 13 * HOUR
    return life


def test_reservations() -> None:
    assert says("The only node is reserved from 14:00 to 15:00 for new disks.")
    assert says("At 13:00 a job with a limit of 50 minutes starts; one of 61 minutes, or without a")
    life = reserved(1)
    short = life.submit(ask(gpus=1), "vision", limit_s=50 * MINUTE_S)
    long = life.submit(ask(gpus=1), "vision", limit_s=61 * MINUTE_S)
    endless = life.submit(ask(gpus=1), "vision")
    made = obeyed(life)
    assert started(made) == [short]
    assert code(made, long) == code(made, endless)
    assert says(f"waits with `{code(made, long)}` until 15:00.")
    life.passes(7200 - 1)
    assert started(planned(life)) == []
    life.passes(1)
    assert started(planned(life)) == [long, endless]


def test_reservations_for_a_queue() -> None:
    assert says("Were it reserved for `speech`, jobs of `speech` would start at any time.")
    for hour in (13, 14):
        life = reserved(1, replace(DISKS, queues=("speech",)))
        life.now_us = hour * HOUR
        other, own = life.submit(ask(gpus=1), "vision"), life.submit(ask(gpus=1), "speech")
        made = planned(life)
        assert (started(made), code(made, other)) == ([own], "reserved")


def four_nodes(at_us: int, tolerance_s: float = 0) -> Life:
    """Busy to 10:00, to 11:00, without an end, and free."""
    life = Life(open_to_all(tolerance_s=tolerance_s), gpu_nodes(4))
    life.now_us = 8 * HOUR
    for hours in (2, 3, 0):
        life.submit(NODE, "vision", limit_s=hours * 3600)
    obeyed(life)
    life.now_us = at_us
    return life


@pytest.mark.parametrize(
    ("at", "limit_min", "tolerance_min", "starts"),
    [
        (9.0, 60, 0, True),
        (9.5, 60, 0, False),
        (9.0, 0, 0, False),
        (9.0, 65, 5, True),
        (9.0, 66, 5, False),
    ],
)
def test_promises(at: float, limit_min: int, tolerance_min: int, starts: bool) -> None:
    life = four_nodes(int(at * HOUR), tolerance_min * MINUTE_S)
    gang = life.submit(ask(gpus=4, nodes=2), "vision", "bob", limit_s=3600)
    behind = life.submit(NODE, "vision", "bob", limit_s=limit_min * MINUTE_S)
    made = planned(life)
    time, nodes = promised(made, gang)
    assert started(made) == ([behind] if starts else [])
    assert sorted(nodes) == ["n0", "n3"], "the first and the fourth"
    if tolerance_min:
        assert says("With a `tolerance` of 5 minutes, 65 minutes would do at 9:00.")
    else:
        assert says(f"is promised {time}, on the fourth node and the first.")
    assert says("a job with a limit of one hour starts on the fourth node at 9:00 but not at 9:30")
    assert nodes_of(made, behind) == (["n3"] if starts else [])


def test_a_reservation_in_its_way() -> None:
    life = reserved(2)
    gang = life.submit(ask(gpus=4, nodes=2), "vision", limit_s=7200)
    short = life.submit(ask(gpus=1), "vision", limit_s=50 * MINUTE_S)
    life.submit(ask(gpus=1), "vision")
    made = planned(life)
    assert says(f"which may take 2 hours, is promised {promised(made, gang)[0]}.")
    assert says("A job of 50 minutes starts meanwhile, one without a limit does not.")
    assert started(made) == [short]


def test_room_under_limits() -> None:
    policy = Policy(preempt=False)
    capped = teams(policy, guests=Queue(name="guests", cap=gpus(16)))
    life = Life(capped, gpu_nodes(6))
    four = ask(gpus=4)
    busy = [life.submit(four, "guests") for _ in range(3)]
    obeyed(life)
    assert says("A queue with a cap of 16 GPUs holds 12 in jobs of 4, and more of these come in")
    gang = life.submit(ask(gpus=4, nodes=4), "guests", "bob")
    assert started(obeyed(life)) == []
    life.passes(policy.starvation_s - 1)
    busy.append(life.submit(four, "guests", "cho"))
    assert says("For half an hour a job of 4 takes each place that falls free.")
    assert started(obeyed(life)) == [busy[-1]]
    life.passes(1)
    free, made = [], planned(life)
    for place, job in enumerate(busy):
        other = life.submit(four, "guests", "cho")
        life.end(job.key)
        made = planned(life)
        if place < 3:
            free.append(4 * (place + 1))
            assert (started(made), code(made, other)) == ([], "limit_kept")
    assert says(f"Then {free[0]}, {free[1]}, {free[2]} GPUs stay free as jobs end, and the gang")
    assert started(made) == [gang]


def expects(life: Life, job: JobId, minutes: float) -> JobId:
    """Nine of ten jobs like a waiting one end within so many minutes."""
    likely_us = int(minutes * MINUTE_S * SECOND)
    life.waiting[job.key] = life.waiting[job.key]._replace(likely_us=likely_us)
    return job


def test_without_time_limits() -> None:
    life = Life(open_to_all(), gpu_nodes(2))
    life.now_us = 9 * HOUR
    long = life.submit(NODE, "vision")
    obeyed(life)
    row = life.running[long.key]
    life.running[long.key] = row._replace(likely_end_us=13 * HOUR)
    life.now_us = 10 * HOUR
    gang = life.submit(ask(gpus=4, nodes=2), "vision")
    other = expects(life, life.submit(NODE, "vision"), 240)
    assert code(planned(life), other) == "would_delay"
    short = expects(life, life.submit(NODE, "vision"), 5)
    made = planned(life)
    assert says(f"10:00 a gang of both is promised {promised(made, gang)[0]}.")
    assert says("A job that likely ends within 5 minutes starts meanwhile, one that")
    assert started(made) == [short]


def test_collecting() -> None:
    policy = Policy()
    life = Life(open_to_all(), gpu_nodes(10, each=8))
    busy = [life.submit(ask(gpus=8), "vision") for _ in range(10)]
    obeyed(life)
    gang = life.submit(ask(gpus=8, nodes=5), "vision", "bob")
    life.passes(policy.starvation_s - 1)
    assert code(planned(life), gang) == "gpus_busy"
    life.passes(1)
    assert says("a gang of 5 nodes has waited half an hour.")
    assert policy.starvation_s == 1800

    other = life.submit(ask(gpus=8), "vision", "bob")
    kept = -1
    while not started(planned(life)):
        assert code(planned(life), gang) == "collecting"
        kept += 1
        life.end(busy[kept].key)
    share = f"{policy.collect_gpus_milli / 1000:g}"
    assert says(
        f"The first {kept} nodes that fall free are kept for it: {8 * kept} of 80 GPUs, as much as "
        f"`collect: {share}` allows. The fourth is given to others."
    )
    assert started(obeyed(life)) == [other]
    for job in busy[kept + 1 : kept + 3]:
        life.end(job.key)
    assert says("When two more are free at a time, it starts.")
    assert started(planned(life)) == [gang]
