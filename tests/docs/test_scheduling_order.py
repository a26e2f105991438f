"""Examples of the section "Order" in the page about scheduling, by what the planner asks."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from tests.cluster_life import Life, gpu_nodes, gpus, teams
from tests.docs.pages import REPO
from tests.docs.scheduling_page import PAGE, obeyed, planned, queue, says, started
from tests.planner_worlds import ask
from tests.queue_worlds import HOUR, NOW, QueueWorld, shape
from zenkei.model.ids import JobId
from zenkei.model.queue import Order, PastUsage, Policy, Queue
from zenkei.scheduler import Preempt, PreemptReason
from zenkei.scheduler.snapshot import WORTH

WEEK_S = 7 * 86_400
MANY = 60


def shared(world: QueueWorld, *names: str) -> dict[str, int]:
    """How many jobs of 1 GPU each queue runs if all have enough of them in line."""
    for name in names:
        world.submit(name, times=MANY)
    return world.counts(world.fill())


def test_within_quota() -> None:
    queues = queue("vision", quota=gpus(16)), queue("speech", quota=gpus(8))
    got = shared(QueueWorld(*queues, gpus=12), "vision", "speech")
    assert says(f"`vision` gets {got['vision']} and `speech` {got['speech']}: half of its quota")
    assert got["vision"] * 2 == 16
    assert got["speech"] * 2 == 8


def test_beyond_quota() -> None:
    queues = queue("vision", quota=gpus(8), weight_milli=2000), queue("speech", quota=gpus(8))
    got = shared(QueueWorld(*queues, gpus=28), "vision", "speech")
    assert says(f"`vision` holds {got['vision']} and `speech` {got['speech']}: of the 12 that are")
    assert says(f"`vision` borrows {got['vision'] - 8} and `speech` {got['speech'] - 8}.")


def test_levels() -> None:
    queues = (
        queue("research"),
        queue("vision", "research", weight_milli=2000),
        queue("speech", "research"),
        queue("guests"),
    )
    got = shared(QueueWorld(*queues, gpus=24), "vision", "speech", "guests")
    assert says(
        f"Of 24 GPUs `guests` gets {got['guests']}, `vision` {got['vision']} and `speech` "
        f"{got['speech']}."
    )


def test_several_resources() -> None:
    world = QueueWorld(queue("vision"), queue("speech"), gpus=18, cpus=90)
    world.submit("vision", shape(4, cpus=10), times=MANY)
    world.submit("speech", shape(1, cpus=30), times=MANY)
    got = world.counts(world.fill())
    vision, speech = got["vision"], got["speech"]
    assert says(f"`vision` runs {vision} jobs ({4 * vision} of 18 GPUs)")
    assert says(f"`speech` {speech} ({30 * speech} of 90 CPUs): two thirds each")
    assert 4 * vision / 18 == 30 * speech / 90 == pytest.approx(2 / 3)


def test_past_use() -> None:
    """A week of 8 GPUs, as its sum with a half-life of a week is at the end of it."""
    policy = Policy(ageing_s=0)
    assert policy.half_life_s == WEEK_S
    used = 8000 * WEEK_S / math.log(2) * (1 - 0.5)
    assert used * math.log(2) / WEEK_S == pytest.approx(4000), "a mean of 4"
    got = []
    for weeks in (0, 1, 3):
        world = QueueWorld(queue("vision"), queue("speech"), gpus=12, policy=policy)
        world.tree.use(PastUsage("vision", "ann", 0, 0, used, NOW))
        for name in ("vision", "speech"):
            world.submit(name, times=MANY)
        counts = world.counts(world.fill(world.turn(NOW + weeks * WEEK_S * 1_000_000)))
        got.append((counts["vision"], counts["speech"]))
    assert says(f"`vision` gets {got[0][0]} and `speech` {got[0][1]}; a week later")
    assert says(f"a week later {got[1][0]} and {got[1][1]}, after three weeks {got[2][0]} and")
    assert got[2][0] == got[2][1]


def first(hours: float, *, bob_holds: bool = False) -> str:
    """Whose job is first: Ann's old one of priority 0 or Bob's new one of priority 2."""
    world = QueueWorld(queue("vision"), gpus=2, policy=Policy())
    if bob_holds:
        world.hold("vision", shape(1), user="bob")
    world.submit("vision", user="ann", at_us=int(NOW - hours * HOUR))
    world.submit("vision", user="bob", priority=2)
    return world.users[world.fill(most=1)[0].user]


def test_ageing() -> None:
    assert says(f"`ageing` is {Policy().ageing_s / 3600:g} hours.")
    assert says("has waited 12 hours and counts as one of priority 2.")
    assert (first(12, bob_holds=True), first(12)) == ("ann", "bob")
    assert first(11.9, bob_holds=True) == "bob"
    assert says("After 18 hours it comes first in any case")
    assert (first(18), first(17.9)) == ("ann", "bob")


def test_caps() -> None:
    world = QueueWorld(queue("speech", cap=gpus(12)), gpus=64)
    world.submit("speech", shape(4), times=4)
    turn = world.turn()
    assert len(world.fill(turn)) == 3
    reason = world.why(turn, "speech")
    assert reason is not None
    assert says(f"of four jobs of 4 GPUs three start, the fourth waits with `{reason.code}`")

    world = QueueWorld(queue("guests", user_cap=gpus(6)), gpus=64)
    world.submit("guests", shape(4), times=2, user="ann")
    world.submit("guests", shape(4), user="bob")
    assert sorted(world.users[head.user] for head in world.fill()) == ["ann", "bob"]
    assert says("of Ann's two jobs of 4 GPUs one starts, and Bob's next one too")


def test_order_by_what_was_learned() -> None:
    policy = Policy(order=Order.LEARNED, protect_s=120)
    life = Life(teams(policy), gpu_nodes(1, each=1))
    one = ask(gpus=1)

    def submit(runs_s: float) -> JobId:
        job = life.submit(one, "vision")
        worth = round(1 / runs_s / WORTH)
        life.waiting[job.key] = life.waiting[job.key]._replace(worth=worth)
        return job

    assert says("of the first, one ends for each 4 hours of service, of the")
    long, short = submit(4 * 3600), submit(60)
    assert says("The second starts first, though it came later.")
    assert started(obeyed(life)) == [short]
    life.end(short.key)
    assert started(obeyed(life)) == [long]
    life.running[long.key] = life.running[long.key]._replace(worth=round(1 / 14_400 / WORTH))
    submit(60)
    assert says("it displaces one of them that has run longer than `protect`.")
    life.passes(policy.protect_s - 1)
    assert planned(life).decisions == ()
    life.passes(2)
    (told,) = [d for d in planned(life).decisions if isinstance(d, Preempt)]
    assert (told.victim, told.reason) == (long, PreemptReason.WORTH)


OWNER, BORROWER = queue("vision", quota=gpus(8)), queue("speech", quota=gpus(8))


def most(owner: Queue = OWNER, borrower: Queue = BORROWER) -> int:
    """GPUs that `speech` may hold of 16 while `vision` runs nothing."""
    return shared(QueueWorld(owner, borrower, gpus=16), "speech")["speech"]


def test_borrowing_and_lending() -> None:
    lends = replace(OWNER, lend_limit=gpus(4))
    borrows = replace(BORROWER, borrow_limit=gpus(2))
    assert says(
        f"`speech` may hold {most()}; with `lend: {{gpus: 4}}` of `vision`, {most(lends)}; with "
        f"`borrow: {{gpus: 2}}` of its own, {most(lends, borrows)}; with `borrow: false`, "
        f"{most(borrower=replace(BORROWER, borrow=False))}."
    )


def test_every_mechanism_has_an_example() -> None:
    text = (REPO / PAGE).read_text("utf-8")
    rules = text[text.index("## Order") : text.index("## Reasons")]
    sections = re.split(r"^### ", rules, flags=re.M)[1:]
    assert len(sections) > 10
    assert [one.splitlines()[0] for one in sections if "*Example" not in one] == []
