"""Examples of the section "Place" in the page about scheduling, by whole plans."""

from __future__ import annotations

from tests.cluster_life import HOUR, Life, gpu_nodes
from tests.docs.scheduling_page import code, nodes_of, obeyed, open_to_all, planned, says
from tests.planner_worlds import SECOND, ask, node
from zenkei.model.queue import ClusterConfig, Policy
from zenkei.scheduler import Grow, JobClass
from zenkei.scheduler.placement.mix import FIRST


def test_packing() -> None:
    nodes = [node(f"gpu-{i}", cpus=64, memory_gib=512, gpus=4) for i in (1, 2, 3)]
    life = Life(open_to_all(), [*nodes, node("plain", cpus=64, memory_gib=512)])

    def place(gpus: float) -> tuple[str, list[int]]:
        """The node and the GPUs of the next job."""
        job = life.submit(ask(gpus=gpus), "vision")
        obeyed(life)
        (part,) = life.held[job.key]
        return part.node, [share.index for share in part.devices]

    assert says(f"how much each hole is worth follows from the jobs that came, once {FIRST} have")
    assert says("Jobs of 1, 1, 0.5 and 0.3 GPUs fill three GPUs of the first node")
    first = [place(gpus) for gpus in (1, 1, 0.5, 0.3)]
    assert first == [("gpu-1", [0]), ("gpu-1", [1]), ("gpu-1", [2]), ("gpu-1", [2])]
    assert says("The next 0.5 does not fit there and takes the fourth GPU.")
    assert place(0.5) == ("gpu-1", [3])
    assert says("A job of 2 goes to the second node")
    assert place(2) == ("gpu-2", [0, 1])
    assert says("leaves that one whole for a job of 4.")
    assert place(4) == ("gpu-3", [0, 1, 2, 3])
    assert says("A job without GPUs goes to the node without.")
    assert place(0) == ("plain", [])


def racks(first: int, second: int) -> Life:
    """Two racks with so many free nodes each."""
    nodes = [
        node(f"{rack}-{i}", cpus=64, memory_gib=512, gpus=8, topology=(rack,))
        for rack, number in (("r1", first), ("r2", second))
        for i in range(number)
    ]
    return Life(ClusterConfig(policy=Policy(), levels=("rack",)), nodes)


def three_free() -> Life:
    """Two racks of four nodes, one of which is busy in each."""
    life = racks(4, 4)
    for name in ("r1-0", "r2-0"):
        job = life.submit(ask(gpus=8, prefer=(name,)), "guests")
        assert nodes_of(obeyed(life), job) == [name]
    return life


def by_rack(life: Life, wanted: JobClass) -> dict[str, int]:
    """How many of its nodes a gang gets in each rack."""
    job = life.submit(wanted, "vision")
    racks = [name[:2] for name in nodes_of(planned(life), job)]
    return {rack: racks.count(rack) for rack in sorted(set(racks))}


def test_gangs_near_to_each_other() -> None:
    assert says("In rack `r1` 3 nodes are free, in `r2` 4. A gang of 3 takes `r1`")
    assert by_rack(racks(3, 4), ask(gpus=8, nodes=3)) == {"r1": 3}
    assert by_rack(racks(3, 4), ask(gpus=8, nodes=4)) == {"r2": 4}
    assert says("One of 5 takes all of `r2` and one node of `r1`.")
    assert by_rack(racks(3, 4), ask(gpus=8, nodes=5)) == {"r1": 1, "r2": 4}

    assert says("With 3 free nodes in each, a gang of 4 that prefers one rack starts on 3 + 1")
    assert sorted(by_rack(three_free(), ask(gpus=8, nodes=4, level="rack")).values()) == [1, 3]
    life = three_free()
    requires = life.submit(ask(gpus=8, nodes=4, level="rack", required=True), "vision")
    assert says(f"one that requires it waits with `{code(planned(life), requires)}`.")


def test_gangs_of_several_sizes() -> None:
    life = Life(open_to_all(), gpu_nodes(8, each=8))
    others = [life.submit(ask(gpus=8), "guests") for _ in range(3)]
    obeyed(life)
    gang = life.submit(ask(gpus=8, nodes=8, least=2), "vision", limit_s=7200)
    made = obeyed(life)
    nodes = len(nodes_of(made, gang))
    assert says(f"`nodes: {{min: 2, max: 8}}` starts on the {nodes} nodes that are free.")
    for job in others:
        life.end(job.key)
    restart_s = Policy().restart_s
    assert says("it goes on with 8 after 10 minutes (`restart` is one minute)")
    assert restart_s == 60
    life.passes(10 * restart_s - 1)
    assert planned(life).decisions == ()
    life.passes(1)
    assert planned(life).decisions == (), "it has saved nothing yet"
    life.saves(gang)
    assert planned(life).decisions == (Grow(job=gang, nodes=8),)

    assert says("but not in its last 160 seconds: on 8 nodes they would take 100")
    assert 160 * nodes / 8 == 100
    life.now_us = HOUR + 7200 * SECOND - 160 * SECOND
    assert planned(life).decisions == ()
    life.now_us -= SECOND
    assert planned(life).decisions == (Grow(job=gang, nodes=8),)
