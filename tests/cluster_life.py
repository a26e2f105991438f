"""A cluster that lives by what its planner says: jobs start, are displaced, save, end, come back.

`Life.step` lets one plan come true and chance have its turn, and gives the delta of it, as
`control` would: rows of running jobs, claims, usage. `Life.snapshot` is the same world from
scratch. What must never be is checked as decisions come true.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from tests.planner_worlds import SECOND, held, node
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, ClusterConfig, Policy, Queue, Reclaim, Reservation
from zenkei.scheduler import (
    Claim,
    Delta,
    Grow,
    Hold,
    JobClass,
    Plan,
    Preempt,
    RunningJob,
    Snapshot,
    Start,
    WaitingJob,
    held_columns,
    running_columns,
    waiting_columns,
)
from zenkei.scheduler.free import HeldPart, left_of

USERS = ("ann", "bob", "cho")
LEAVES = ("vision", "speech", "guests")
HOUR = 3600 * SECOND


def gpus(number: int) -> Amounts:
    return Amounts(gpu_milli=1000 * number)


def teams(policy: Policy, **more: Queue) -> ClusterConfig:
    """Two teams with a quota of 8 GPUs each below one department, guests beside it."""
    queues = (
        Queue(name="research"),
        Queue(name="vision", parent="research", quota=gpus(8)),
        Queue(name="speech", parent="research", quota=gpus(8), cap=gpus(12)),
        Queue(name="guests", user_cap=gpus(6), reclaim=Reclaim.NEVER),
    )
    wanted = tuple(more.get(queue.name, queue) for queue in queues)
    return ClusterConfig(queues=wanted, policy=policy)


class Life:
    """See the module's docstring."""

    def __init__(self, config: ClusterConfig, nodes: Iterable[Node]) -> None:
        self.config = config
        self.nodes = {one.name: one for one in nodes}
        self.classes: list[JobClass] = []
        self.waiting: dict[int, WaitingJob] = {}
        self.held: dict[int, list[HeldPart]] = {}
        self.running: dict[int, RunningJob] = {}
        self.claims: dict[int, Claim] = {}
        self.now_us = HOUR
        self.seq = 1
        self._numbers = self._given = 0
        self._changed: dict[int, None] = {}

    # -- as the planner sees it ------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        return Snapshot(
            seq=self.seq,
            config=self.config,
            classes=tuple(self.classes),
            queues=LEAVES,
            users=USERS,
            nodes=tuple(self.nodes.values()),
            waiting=waiting_columns(self.waiting.values()),
            held=held_columns(part for parts in self.held.values() for part in parts),
            running=running_columns(self.running.values()),
            claims=tuple(self.claims.values()),
        )

    def delta(self, config: ClusterConfig | None = None) -> Delta:
        """What happened since the last one. config: another is in force from now on."""
        self.config = config or self.config
        self.seq += 1
        changed, self._changed = tuple(self._changed), {}
        new, self._given = self.classes[self._given :], len(self.classes)
        return Delta(
            seq=self.seq,
            classes=tuple(new),
            changed=changed,
            waiting=tuple(self.waiting[job] for job in changed if job in self.waiting),
            held=tuple(part for job in changed for part in self.held.get(job, ())),
            running=tuple(self.running[job] for job in changed if job in self.running),
            claims=tuple(self.claims[job] for job in changed if job in self.claims),
            config=config,
        )

    # -- what happens ----------------------------------------------------------------------------
    def submit(
        self,
        wanted: JobClass,
        queue: str,
        user: str = "ann",
        *,
        priority: int = 0,
        limit_s: float = 0,
    ) -> JobId:
        self._numbers += 1
        job = JobId(self._numbers)
        if wanted not in self.classes:
            self.classes.append(wanted)
        self.waiting[job.key] = WaitingJob(
            job.key,
            self.classes.index(wanted),
            LEAVES.index(queue),
            priority,
            self.now_us,
            user=USERS.index(user),
            limit_us=int(limit_s * SECOND),
        )
        self._changed[job.key] = None
        return job

    def obey(self, plan: Plan) -> None:
        """The plan's decisions come true, and are checked."""
        for decision in plan.decisions:
            if isinstance(decision, Start):
                self._start(decision)
            elif isinstance(decision, Preempt):
                self._stop(decision)
            elif isinstance(decision, Grow):
                self._grow(decision)
            elif isinstance(decision, Hold):
                parts = tuple(held(decision.job, part) for part in decision.parts)
                assert decision.job.key in self.waiting
                if not parts:
                    del self.claims[decision.job.key]
                    continue
                self.claims[decision.job.key] = Claim(decision.job.key, parts, decision.until_us)
                self._changed[decision.job.key] = None

    def _start(self, start: Start) -> None:
        job = start.job.key
        row = self.waiting.pop(job)
        self.claims.pop(job, None)
        self.held[job] = [held(start.job, part) for part in start.parts]
        self.running[job] = RunningJob(
            job, row.job_class, row.queue, row.user, row.priority, self.now_us, self.now_us,
            row.limit_us, nodes=len(start.parts),
        )  # fmt: skip
        self._changed[job] = None
        for part in start.parts:
            self.check_node(part.node)

    def _stop(self, preempt: Preempt) -> None:
        row = self.running[preempt.victim.key]
        policy = self.config.policy
        assert not row.stopping, "nobody is stopped twice"
        assert row.since_us + policy.protect_s * 1e6 <= self.now_us, "it is protected"
        assert row.preemptions < policy.most_preemptions
        assert preempt.favoured.key in self.waiting
        self.running[row.job] = row._replace(stopping=1, preemptions=row.preemptions + 1)
        self._changed[row.job] = None

    def _grow(self, grow: Grow) -> None:
        row = self.running[grow.job.key]
        assert not row.stopping, "nobody is stopped twice"
        assert row.saved_us > row.since_us, "it might lose all that it did"
        assert row.nodes < grow.nodes <= self.classes[row.job_class].nodes
        self.running[row.job] = row._replace(stopping=1)
        self._changed[row.job] = None

    def saves(self, job: JobId) -> None:
        """What it has done is safe."""
        row = self.running[job.key]
        self.running[job.key] = row._replace(saved_us=self.now_us)
        self._changed[job.key] = None

    def check_node(self, name: str) -> None:
        """Nothing is given away twice, and nothing that is kept for somebody else."""
        parts = [part for parts in self.held.values() for part in parts if part.node == name]
        free = left_of(self.nodes[name], parts)
        assert min(free.cpu_milli, free.memory_bytes, *free.gpu_milli, 0) == 0, name

    def end(self, job: int) -> None:
        """It is over; a displaced one waits again."""
        row = self.running.pop(job)
        del self.held[job]
        self._changed[job] = None
        if row.stopping:
            self.waiting[job] = WaitingJob(
                job, row.job_class, row.queue, row.priority, JobId.from_key(job).number,
                user=row.user, limit_us=row.limit_us,
            )  # fmt: skip

    def passes(self, seconds: float) -> None:
        """Time goes by; who was told to stop, or is at its limit, ends."""
        self.now_us += int(seconds * SECOND)
        for job, row in list(self.running.items()):
            if row.stopping or (row.limit_us and row.since_us + row.limit_us <= self.now_us):
                self.end(job)
        for job, claim in list(self.claims.items()):
            if claim.until_us <= self.now_us:
                del self.claims[job]
                self._changed[job] = None


def gpu_nodes(number: int, each: int = 4) -> list[Node]:
    return [node(f"n{i}", cpus=64, memory_gib=512, gpus=each) for i in range(number)]


def random_config(rng: Random) -> ClusterConfig:
    policy = Policy(
        ageing_s=rng.choice((0, 600)),
        protect_s=rng.choice((0, 60)),
        preempt=rng.random() < 0.8,
        reserve_gangs=rng.choice((0, 1, 4)),
        starvation_s=rng.choice((60, 1800)),
    )
    config = teams(policy)
    if rng.random() < 0.5:
        return config
    from_us = HOUR + rng.randrange(0, 3) * 600 * SECOND
    booked = Reservation(
        name="maintenance",
        nodes=("n0", "n1"),
        from_us=from_us,
        to_us=from_us + 900 * SECOND,
        queues=rng.choice(((), ("speech",))),
    )
    return ClusterConfig(queues=config.queues, policy=policy, reservations=(booked,))
