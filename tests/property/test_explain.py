"""What `explain` says is true: its nearest requests start, and the ends that it names suffice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster_life import LEAVES, USERS, Life, random_config
from tests.effort import tries
from tests.planner_worlds import ask, free_now, node, random_world
from zenkei.model.cluster import NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import Misfit
from zenkei.scheduler import (
    Cause,
    Explanation,
    JobClass,
    Lever,
    Nearest,
    Planner,
    Snapshot,
    check,
    held_columns,
    plan,
    running_columns,
    waiting_columns,
)
from zenkei.scheduler.known import Known
from zenkei.scheduler.survey import CODES, FITS, Survey

LEVELS = ("row", "rack")


def some_life(rng: Random) -> Life:
    """Two racks in each of two rows, two models of GPU, a queue that may be closed or choosy."""
    nodes = [
        node(
            f"n{i}",
            cpus=rng.choice((8, 64)),
            memory_gib=rng.choice((32, 512)),
            gpus=[rng.choice(("A100", "H100"))] * 4,
            state=rng.choice((*[NodeState.READY] * 9, NodeState.DOWN)),
            labels={"disk": rng.choice(("ssd", "hdd"))},
            topology=(f"row{i // 4}", f"rack{i // 2}"),
        )
        for i in range(rng.randrange(4, 9))
    ]
    return Life(some_config(rng), nodes)


def some_config(rng: Random) -> ClusterConfig:
    config = random_config(rng)
    queues = list(config.queues)
    if rng.random() < 0.2:
        queues[1] = replace(queues[1], paused="exam week")
    if rng.random() < 0.2:
        queues[2] = replace(queues[2], gpu_kinds=("H100",))
    policy = replace(config.policy, backfill=rng.random() < 0.85)
    return replace(config, queues=tuple(queues), policy=policy, levels=LEVELS)


def some_class(rng: Random) -> JobClass:
    size = rng.choice((0, 0.5, 1, 1, 2, 4))
    nodes = rng.choice((1, 2, 3)) if size >= 2 else 1
    return ask(
        cpus=rng.choice((1, 4, 12)),
        memory_gib=rng.choice((1, 16, 100)),
        gpus=size,
        gpu_type=rng.choice(((), (), ("A100",), ("H100",))) if size else (),
        nodes=nodes,
        least=rng.choice((0, 0, 1)),
        level=rng.choice(LEVELS),
        required=rng.random() < 0.4,
        avoid=rng.choice(((), (), (), ("n0",))),
        **({"disk": ("ssd",)} if rng.random() < 0.2 else {}),
    )


def steps(rng: Random, life: Life, number: int) -> Iterator[None]:
    """Time goes by, one cycle after the other; the caller looks between plan and plan."""
    for _ in range(number):
        for _ in range(rng.randrange(5)):
            life.submit(
                some_class(rng),
                rng.choice(LEAVES),
                rng.choice(USERS),
                priority=rng.choice((0, 0, 0, 5)),
                limit_s=rng.choice((0, 100, 400, 2000)),
            )
        yield
        life.obey(plan(life.snapshot(), now_us=life.now_us))
        life.delta()
        for job, row in list(life.running.items()):
            if not row.limit_us and rng.random() < 0.1:
                life.end(job)
        life.passes(rng.choice((1, 30, 90, 300)))


def explained(life: Life) -> dict[int, Explanation]:
    found = {}
    planner = Planner(life.snapshot())
    made = planner.plan(now_us=life.now_us)
    for key in life.waiting:
        account = planner.explain(JobId.from_key(key), made)
        assert account is not None
        found[key] = account
    return found


def instead(life: Life, key: int, offer: Nearest) -> Snapshot:
    """The same world in which the job asks for what is offered."""
    row = life.waiting[key]
    classes = (*life.classes, offer.apply(life.classes[row.job_class]))
    queue = LEAVES.index(offer.now) if offer.lever is Lever.QUEUE else row.queue
    other = row._replace(job_class=len(life.classes), queue=queue)
    rows = {**life.waiting, key: other}
    return replace(life.snapshot(), classes=classes, waiting=waiting_columns(rows.values()))


def starts(life: Life, key: int, snapshot: Snapshot) -> bool:
    return JobId.from_key(key) in plan(snapshot, now_us=life.now_us).started


SEEDS = st.integers(0, 2**32)


@settings(deadline=None, max_examples=tries(30))
@given(seed=SEEDS)
def test_the_nearest_request_starts_when_it_takes_the_place_of_the_job(seed: int) -> None:
    """With everybody else in line, and all limits, pauses, reservations and promises in force."""
    rng = Random(seed)
    life = some_life(rng)
    for _ in steps(rng, life, 8):
        for key, account in explained(life).items():
            for offer in account.nearest:
                if offer.lever is not Lever.QUEUE:
                    assert starts(life, key, instead(life, key, offer)), offer


def test_a_job_starts_in_the_queue_that_is_offered_at_once_or_when_the_plan_has_come_true() -> None:
    """But for one in a hundred, these lives in which all limits are tight together.

    Without it, its queue may be served earlier in the very same plan, and take other nodes; and who
    has just started may be displaced for somebody else when the plan has come true.
    """
    offered = kept = 0
    for seed in range(60):
        rng = Random(seed)
        life = some_life(rng)
        for _ in steps(rng, life, 8):
            offers = [
                (key, offer)
                for key, account in explained(life).items()
                for offer in account.nearest
                if offer.lever is Lever.QUEUE
            ]
            later = [one for one in offers if not starts(life, one[0], instead(life, *one))]
            life.obey(plan(life.snapshot(), now_us=life.now_us))
            late = sum(starts(life, key, instead(life, key, offer)) for key, offer in later)
            offered, kept = offered + len(offers), kept + len(offers) - len(later) + late
    assert offered > 100
    assert kept >= 0.99 * offered, (kept, offered)


@settings(deadline=None, max_examples=tries(30))
@given(seed=SEEDS)
def test_a_job_starts_when_those_have_ended_who_would_have_to(seed: int) -> None:
    rng = Random(seed)
    life = some_life(rng)
    for _ in steps(rng, life, 8):
        for key, account in explained(life).items():
            ended = {end.job.key for end in account.ends}
            if ended:
                alone = life.snapshot()
                parts = [p for job, held in life.held.items() if job not in ended for p in held]
                rows = [row for job, row in life.running.items() if job not in ended]
                after = replace(
                    alone,
                    waiting=waiting_columns([life.waiting[key]]),
                    held=held_columns(parts),
                    running=running_columns(rows),
                    claims=(),
                )
                assert starts(life, key, after), account.ends


@settings(deadline=None, max_examples=tries(40))
@given(rng=st.randoms(use_true_random=False))
def test_a_look_at_all_nodes_says_what_the_test_of_each_says(rng: Random) -> None:
    world = random_world(rng, rng.randrange(8), 10)
    world.start(plan(world.snapshot(), now_us=0))
    known = Known(world.snapshot())
    survey = Survey(known.holdings, {}, (), world.levels)
    free = free_now(world)
    for wanted in world.classes:
        verdicts, fits = survey.verdicts(wanted).tolist(), survey.fits(wanted).tolist()
        for rank, name in enumerate(survey.layout.names):
            constraints = dict(wanted.constraints)
            found = check(world.nodes[name], free[name], wanted.request, constraints, wanted.avoid)
            fit = not isinstance(found, Misfit)
            assert fits[rank] == fit
            assert verdicts[rank] == (FITS if fit else CODES.index(found))


def test_lives_have_every_offer_and_every_cause() -> None:
    """Otherwise the tests above would say little."""
    levers, causes, ends = set[Lever](), set[Cause | None](), 0
    for seed in range(40):
        rng = Random(seed)
        life = some_life(rng)
        for _ in steps(rng, life, 8):
            for account in explained(life).values():
                levers |= {offer.lever for offer in account.nearest}
                causes.add(account.cause)
                ends += bool(account.ends)
    assert levers >= {*Lever} - {Lever.RDMA, Lever.TMP}
    assert causes >= {
        Cause.BUSY, Cause.CAP, Cause.FRAGMENTATION, Cause.PAUSE, Cause.PREEMPTION, Cause.PRIORITY,
        Cause.RESERVATION, Cause.TOPOLOGY,
    }  # fmt: skip
    assert ends > 50


@pytest.mark.parametrize("seed", range(tries(12)))
def test_to_explain_one_job_changes_nothing_for_the_others(seed: int) -> None:
    rng = Random(seed)
    life = some_life(rng)
    for _ in steps(rng, life, 8):
        planner = Planner(life.snapshot())
        made = planner.plan(now_us=life.now_us)
        for key in (*life.waiting, *life.waiting):
            asked_nothing_else = Planner(life.snapshot())
            again = asked_nothing_else.plan(now_us=life.now_us)
            job = JobId.from_key(key)
            assert planner.explain(job, made) == asked_nothing_else.explain(job, again)
        assert planner.plan(now_us=life.now_us) == made
