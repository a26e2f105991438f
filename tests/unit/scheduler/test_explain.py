"""The full account of one waiting job."""

from __future__ import annotations

from tests.planner_worlds import World, ask, node
from zenkei.model.cluster import NodeState
from zenkei.model.ids import JobId
from zenkei.model.resources import DeviceShare, Misfit
from zenkei.scheduler import (
    Explanation,
    HeldPart,
    JobClass,
    Lever,
    Nearest,
    Planner,
    ReasonCode,
)
from zenkei.scheduler.explain import MOST_HOLDERS


def explained(world: World, wanted: JobClass) -> Explanation:
    """The account of one more job of class `wanted`, at the end of the line."""
    job = world.submit(wanted)
    planner = Planner(world.snapshot())
    made = planner.plan(now_us=0)
    account = planner.explain(job, made)
    assert account is not None
    return account


def on(number: int, name: str, *devices: int, cpus: int = 0) -> HeldPart:
    shares = tuple(DeviceShare(index, 1000) for index in devices)
    return HeldPart(JobId(number).key, name, cpus * 1000, 0, 0, shares)


def two_nodes() -> World:
    """Two nodes of 8 GPUs; job 100 holds two of `a`, job 101 six of `b`."""
    world = World(node("a", gpus=8), node("b", gpus=8), node("c", cpus=64))
    world.hold(on(100, "a", 0, 1), on(101, "b", 0, 1, 2, 3, 4, 5))
    return world


def test_it_says_who_holds_what_is_needed_those_with_most_first() -> None:
    account = explained(two_nodes(), ask(gpus=8))
    assert [(h.job, h.nodes, h.gpu_milli) for h in account.holders] == [
        (JobId(101), 1, 6000),
        (JobId(100), 1, 2000),
    ]
    assert account.free_gpu_milli == 8000


def test_jobs_that_hold_none_of_what_is_lacking_are_not_blamed() -> None:
    world = two_nodes()
    world.hold(on(102, "a", cpus=1))
    assert JobId(102) not in [h.job for h in explained(world, ask(gpus=8)).holders]


def test_a_long_list_of_holders_is_cut_and_the_rest_counted() -> None:
    world = World(node("a", cpus=64))
    for number in range(100, 120):
        world.hold(on(number, "a", cpus=2))
    account = explained(world, ask(cpus=64))
    assert (len(account.holders), account.more_holders) == (MOST_HOLDERS, 20 - MOST_HOLDERS)


def test_it_counts_the_nodes_that_each_misfit_excludes() -> None:
    world = two_nodes()
    world.nodes["d"] = node("d", gpus=8, state=NodeState.DOWN)
    world.nodes["e"] = node("e", gpus=["T4"] * 8)
    account = explained(world, ask(gpus=8, gpu_type=("A100",)))
    assert dict(account.excluded) == {
        Misfit.GPU: 2,
        Misfit.GPU_CAPACITY: 1,
        Misfit.STATE: 1,
        Misfit.GPU_KIND: 1,
    }
    assert (account.fitting, account.suitable) == (0, 2)


def test_it_offers_the_most_gpus_that_would_start_now() -> None:
    account = explained(two_nodes(), ask(gpus=8))
    assert account.nearest == (Nearest(lever=Lever.GPUS, asked=8000, would=6000),)
    assert account.nearest[0].text == "with 6 GPUs per node instead of 8 GPUs"


def test_of_a_gang_it_offers_fewer_nodes_or_what_all_nodes_can_give() -> None:
    account = explained(two_nodes(), ask(gpus=4, nodes=2))
    assert account.nearest == (
        Nearest(lever=Lever.NODES, asked=2, would=1),
        Nearest(lever=Lever.GPUS, asked=4000, would=2000),
    )
    assert account.nearest[0].text == "on 1 node instead of 2 nodes"


def test_it_offers_any_gpu_where_the_wanted_type_is_taken() -> None:
    world = World(node("a", gpus=["H100", "T4"]))
    world.hold(on(100, "a", 0))
    account = explained(world, ask(gpus=1, gpu_type=("H100",)))
    assert [offer.text for offer in account.nearest] == ["with any type of GPU"]


def test_it_offers_to_drop_constraints() -> None:
    account = explained(World(node("a")), ask(rack=("r1",)))
    assert [offer.text for offer in account.nearest] == ["without the constraints"]


def test_a_job_that_would_start_is_offered_nothing() -> None:
    world = World(node("a"))
    first = world.submit(ask())
    planner = Planner(world.snapshot())
    account = planner.explain(first, None)
    assert account is not None
    assert (account.nearest, account.fitting, account.ahead, account.reason) == ((), 1, 0, None)


def test_it_carries_the_reason_of_the_plan_and_the_place_in_line() -> None:
    world = two_nodes()
    world.submit(ask(gpus=8))
    account = explained(world, ask(gpus=7))
    assert account.ahead == 1
    assert account.reason is not None
    assert account.reason.code is ReasonCode.GPUS_BUSY


def test_a_job_that_does_not_wait_has_no_account() -> None:
    assert Planner(two_nodes().snapshot()).explain(JobId(100), None) is None


def test_a_job_that_could_start_over_tcp_is_told_so() -> None:
    offers = explained(World(node("a")), ask(rdma=("true",))).nearest
    assert [offer.text for offer in offers] == ["without RDMA"]
    [offer] = offers
    assert offer.apply(ask(rdma=("true",))) == ask()


def test_other_constraints_are_offered_apart_from_rdma() -> None:
    world = World(node("a", labels={"rdma": "true"}))
    offers = explained(world, ask(rdma=("true",), rack=("r1",))).nearest
    assert [offer.lever for offer in offers] == [Lever.CONSTRAINTS]


def test_no_type_of_gpu_is_offered_that_only_a_node_has_on_which_the_job_failed():
    # with any type another node would suit, so that the one that failed it is avoided again
    world = World(node("blocked", gpus=1, blocked=(0,)), node("failed", gpus=1))
    account = explained(world, ask(gpus=1, gpu_type=("B200",), avoid=("failed",)))
    assert Lever.GPU_KIND not in [offer.lever for offer in account.nearest]
