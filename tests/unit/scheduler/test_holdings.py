"""Columns of what is held, kept from delta to delta."""

from __future__ import annotations

from random import Random

from tests.calendar_worlds import at
from tests.planner_worlds import ask, node
from zenkei.model.cluster import NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import DeviceShare
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.holdings import Holdings, holdings


def part(job: int, name: str, device: int) -> HeldPart:
    return HeldPart(JobId(job).key, name, 1000, 0, 0, (DeviceShare(device, 1000),))


def promises(held: Holdings) -> list[object]:
    of = Calendar(held, ClusterConfig(), 0)
    wanted = [ask(gpus=g, nodes=n) for g in (1, 2) for n in (1, 2, 3)]
    return [of.promise(JobId(90 + i).key, one, limit_us=at(5)) for i, one in enumerate(wanted)]


def test_what_came_and_went_leaves_no_trace() -> None:
    """Kept by changes, in any order, they are as if made anew."""
    rng = Random(3)
    kept = Holdings()
    nodes: dict[str, object] = {}
    jobs: dict[int, tuple[HeldPart, int | None]] = {}
    for step in range(400):
        name = f"n{rng.randrange(8)}"
        if step < 8 or rng.random() < 0.1:
            state = rng.choice((NodeState.READY, NodeState.READY, NodeState.DOWN))
            one = node(name, cpus=8, gpus=rng.choice((1, 2, 4)), state=state)
            nodes[name] = one
            kept.put_node(one)
        elif rng.random() < 0.1:
            nodes.pop(name, None)
            kept.drop_node(name)
        elif rng.random() < 0.5:
            ends_us = rng.choice((None, at(rng.randrange(1, 99))))
            jobs[step] = part(step, name, rng.randrange(4)), ends_us
            kept.ends(JobId(step).key, ends_us)
            kept.hold(jobs[step][0])
        elif jobs:
            job = rng.choice(list(jobs))
            del jobs[job]
            kept.release(JobId(job).key)
        if step % 10 == 0:
            parts, ends = [], {}
            for held, ends_us in rng.sample(list(jobs.values()), len(jobs)):
                parts.append(held)
                if ends_us is not None:
                    ends[held.job] = ends_us
            cold = holdings(nodes.values(), parts, ends)  # type: ignore[arg-type]
            assert promises(kept) == promises(cold)


def test_a_node_that_returns_still_has_what_was_held_on_it() -> None:
    kept = holdings([node("n0", gpus=1)], [part(1, "n0", 0)], {JobId(1).key: at(9)})
    kept.drop_node("n0")
    assert promises(kept)[0] is None
    kept.put_node(node("n0", gpus=1))
    assert promises(kept)[0].at_us == at(9)  # type: ignore[attr-defined]


def test_a_new_end_of_a_job_counts() -> None:
    kept = holdings([node("n0", gpus=1)], [part(1, "n0", 0)], {JobId(1).key: at(9)})
    kept.ends(JobId(1).key, at(4))
    assert promises(kept)[0].at_us == at(4)  # type: ignore[attr-defined]
