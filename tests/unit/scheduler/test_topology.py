"""Where a gang stands: in the smallest domain that has room, else in few of them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.planner_gangs import Able, gang
from tests.planner_worlds import World, ask, node
from zenkei.scheduler import Start, plan
from zenkei.scheduler.topology import Choice, Domain, Domains


def world(*racks: int, row_of: str = "") -> World:
    """One rack of so many nodes after the other, `r0-n0` and on. row_of: a row's name per rack."""
    rows = row_of or "a" * len(racks)
    return World(
        *(
            node(f"r{rack}-n{number}", gpus=8, topology=(rows[rack], f"r{rack}"))
            for rack, size in enumerate(racks)
            for number in range(size)
        )
    )


def racks_of(made: World) -> list[list[str]]:
    """By start: the racks of its parts, in rank order."""
    starts = plan(made.snapshot(), now_us=0).decisions
    return [[p.node.split("-")[0] for p in s.parts] for s in starts if isinstance(s, Start)]


@pytest.mark.parametrize("level", ["", "rack"])
def test_a_gang_goes_to_the_smallest_rack_that_has_room(level: str) -> None:
    made = world(5, 3, 4)
    made.submit(ask(gpus=8, nodes=3, level=level))
    assert racks_of(made) == [["r1"] * 3]


def test_a_larger_domain_is_broken_only_when_no_smaller_one_suffices() -> None:
    made = world(4, 2)
    for nodes in (2, 4):
        made.submit(ask(gpus=8, nodes=nodes))
    assert racks_of(made) == [["r1"] * 2, ["r0"] * 4]


def test_a_gang_that_fits_no_rack_stays_in_one_row_and_in_few_racks() -> None:
    made = world(2, 2, 2, 3, 1, row_of="aaabb")
    made.submit(ask(gpus=8, nodes=4))
    assert racks_of(made) == [["r3", "r3", "r3", "r4"]]


def test_a_gang_that_must_be_in_one_rack_waits_rather_than_spread() -> None:
    made = world(2, 2)
    made.submit(ask(gpus=8, nodes=3, level="rack", required=True))
    assert racks_of(made) == []
    made.submit(ask(gpus=8, nodes=3, level="row", required=True))
    assert racks_of(made) == [["r0", "r0", "r1"]]


def test_nodes_of_unknown_place_are_in_no_domain() -> None:
    made = World(*(node(f"r{i}-n", gpus=8, topology=("a",)) for i in range(3)))
    made.submit(ask(gpus=8, nodes=2, level="rack", required=True))
    made.submit(ask(gpus=8, nodes=2, level="hall", required=True))
    assert racks_of(made) == []
    made.submit(ask(gpus=8, nodes=2, level="rack"))
    assert racks_of(made) == [["r0", "r1"]]


def test_an_elastic_gang_takes_all_that_one_domain_has_if_it_must() -> None:
    made = world(2, 3)
    made.submit(ask(gpus=8, nodes=5, least=2, level="rack", required=True))
    assert racks_of(made) == [["r1"] * 3]


def test_an_elastic_gang_that_may_spread_takes_what_there_is() -> None:
    made = world(2, 1)
    made.submit(ask(gpus=8, nodes=5, least=2))
    assert racks_of(made) == [["r0", "r0", "r1"]]
    made = world(1)
    made.submit(ask(gpus=8, nodes=5, least=2))
    assert racks_of(made) == []


def test_a_gang_that_lost_a_node_gets_one_beside_the_others() -> None:
    made = world(3, 1, 3)
    made.submit(ask(gpus=8, nodes=2, avoid=("r2-n0",), prefer=("r2-n0", "r2-n1")))
    starts = plan(made.snapshot(), now_us=0).decisions
    assert [[p.node for p in s.parts] for s in starts if isinstance(s, Start)] == [
        ["r2-n2", "r2-n1"]
    ]


def test_ranks_follow_the_topology_and_then_the_names() -> None:
    made = World(
        node("z", gpus=8, topology=("a", "x")),
        node("y", gpus=8, topology=("b", "x")),
        node("b", gpus=8, topology=("b", "a")),
        node("a", gpus=8, topology=("b", "x")),
    )
    made.submit(ask(gpus=8, nodes=4))
    [start] = plan(made.snapshot(), now_us=0).decisions
    assert isinstance(start, Start)
    assert [part.node for part in start.parts] == ["z", "b", "a", "y"]


@settings(deadline=None, max_examples=tries(300))
@given(rng=st.randoms(use_true_random=False), size=st.integers(1, 24), deep=st.integers(0, 3))
def test_the_choice_is_that_of_comparing_all_sets(rng: Random, size: int, deep: int) -> None:
    paths = sorted(
        tuple(rng.choice("abc") for _ in range(rng.choice((0, deep, deep, deep))))
        for _ in range(size)
    )
    fits = [rng.random() < 0.8 for _ in paths]
    ratings = [rng.choice((1, 1, 2)) for _ in paths]
    tight = [rng.randrange(3) for _ in paths]
    able = [
        Able(-ratings[i], tight[i], (path, f"{i:02}")) for i, path in enumerate(paths) if fits[i]
    ]
    count = rng.randrange(2, size + 2)
    depth = rng.choice((None, *range(1, deep + 1)))
    domains = Domains(paths)
    rating = np.where(fits, np.array(ratings, dtype=float), -np.inf)
    choice = Choice(domains, rating, np.array(tight), None)
    found: list[int] | None = []
    if depth is not None and depth <= domains.depth:
        most = choice.largest(depth - 1)
        found = choice.within(depth - 1, min(count, most)) if most else []
    elif depth is None and able:
        found = choice.compact(domains.whole, min(count, len(able)))
    assert [f"{at:02}" for at in found or []] == gang(able, count, depth)


def test_slots_of_a_domain_are_a_run() -> None:
    domains = Domains([("a",), ("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")])
    assert domains.around(2, 0) == Domain(0, 0, 4)
    assert domains.around(2, 1) == Domain(1, 1, 3)
    assert domains.around(0, 1) is None
