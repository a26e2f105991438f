"""However full limits are kept by small jobs that never stop coming: a gang starts in its time."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster_life import LEAVES, USERS, Life, gpu_nodes, gpus
from tests.effort import tries
from tests.planner_worlds import SECOND, ask
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, ClusterConfig, Policy, Queue
from zenkei.scheduler import Start, plan

STEP_S = 15
LONGEST_S = 90
NODES = 6


def some(rng: Random, *amounts: int) -> Amounts:
    """None of them, or one."""
    chosen = rng.choice((0, *amounts))
    return gpus(chosen) if chosen else Amounts()


def limited(rng: Random) -> ClusterConfig:
    """Two queues below one, and a third: each with some limits."""
    research = Queue(name="research", cap=some(rng, 16), user_cap=some(rng, 16))
    queues = [research]
    for name, parent in zip(LEAVES, ("research", "research", ""), strict=True):
        quota = some(rng, 4)
        queue = Queue(
            name=name,
            parent=parent,
            quota=quota,
            cap=some(rng, 12, 16),
            user_cap=some(rng, 12),
            lend_limit=some(rng, 2) if quota else Amounts(),
            borrow_limit=some(rng, 12),
        )
        queues.append(queue)
    policy = Policy(starvation_s=60, ageing_s=60, collect_gpus_milli=1000, preempt=False)
    return ClusterConfig(queues=tuple(queues), policy=policy)


def largest(config: ClusterConfig, leaf: str) -> int:
    """GPUs of a gang that its limits let pass beside what others have by right."""
    by_name = {queue.name: queue for queue in config.queues}
    quotas = {name: (by_name[name].quota.gpu_milli or 0) for name in LEAVES}
    others = sum(quotas.values()) - quotas[leaf]
    most, name = 4 * NODES - others // 1000, leaf
    while name:
        queue = by_name[name]
        borrowed = queue.borrow_limit.gpu_milli
        beside = 0 if name == leaf else quotas["vision"] + quotas["speech"] - quotas[leaf]
        own = (queue.quota.gpu_milli or 0) + (borrowed or 0)
        said = (queue.cap.gpu_milli, queue.user_cap.gpu_milli)
        limits = [None if one is None else one - beside for one in said]
        limits.append(None if borrowed is None else own)
        most = min([most, *(milli // 1000 for milli in limits if milli is not None)])
        name = queue.parent
    return most


class Crowd:
    """In each queue jobs of everybody wait at all times, of which some would fit."""

    def __init__(self, rng: Random, config: ClusterConfig) -> None:
        self.life = Life(config, gpu_nodes(NODES))
        self._rng = rng
        self._ends_us: dict[int, int] = {}
        self.started: set[JobId] = set()

    def step(self) -> None:
        life, rng = self.life, self._rng
        for queue in LEAVES:
            for user in USERS:
                for_them = [
                    row
                    for row in life.waiting.values()
                    if (LEAVES[row.queue], USERS[row.user]) == (queue, user)
                ]
                if len(for_them) < 3:
                    wanted = ask(gpus=rng.choice((1, 1, 2, 4)))
                    life.submit(wanted, queue, user, priority=rng.choice((0, 0, 1)))
        made = plan(life.snapshot(), now_us=life.now_us)
        life.obey(made)
        for decision in made.decisions:
            if isinstance(decision, Start):
                self.started.add(decision.job)
                runs_s = rng.randrange(20, LONGEST_S)
                self._ends_us[decision.job.key] = life.now_us + runs_s * SECOND
        life.passes(STEP_S)
        for job, end_us in list(self._ends_us.items()):
            if end_us <= life.now_us:
                life.end(job)
                del self._ends_us[job]


@given(st.integers(0, 2**32))
@settings(max_examples=tries(12), deadline=None)
def test_a_gang_that_needs_most_of_a_limit_starts_in_bounded_time(seed: int) -> None:
    rng = Random(seed)
    config = limited(rng)
    leaf, user = rng.choice(LEAVES), rng.choice(USERS)
    crowd = Crowd(rng, config)
    for _ in range(8):
        crowd.step()
    gang = crowd.life.submit(ask(gpus=4, nodes=largest(config, leaf) // 4), leaf, user)
    for _ in range(15 * LONGEST_S // STEP_S):
        crowd.step()
        if gang in crowd.started:
            return
    raise AssertionError("it starves")
