"""Random users: they submit gangs, arrays and chains, cancel, hold and release, and try again.

A user whose request got no answer (the controller died) repeats it under the same request key, as
the command line does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.errors import Conflict
from zenkei.model.ids import JobId
from zenkei.model.job import (
    After,
    CheckpointPolicy,
    Dependency,
    EnvRequest,
    JobSpec,
    ResourceRequest,
    RetryPolicy,
)
from zenkei.model.resources import Capacity, Device, Request, could_fit
from zenkei.sim.faults import Crash
from zenkei.sim.world import OPERATOR, OTHER, USER, World

GIB = 1 << 30
QUEUES = ("a.train", "a.debug", "b")
FILE = b"""
queues:
  a:
    quota: {gpus: 4}
    queues:
      a.train: {}
      a.debug: {priority: 5}
  b: {quota: {gpus: 4}, weight: 2}
policy: {protect: 1s, most_preemptions: 2}
"""


def share(world: World) -> None:
    """Give the cluster to two teams. A controller that dies meanwhile is asked again."""
    while True:
        try:
            world.cluster.apply(OPERATOR, FILE, file="cluster.yaml")
            return
        except Crash:
            world.boot()


def cluster(rng: Random) -> tuple[Node, ...]:
    """1 to 6 nodes of 4 to 16 CPUs and up to 8 GPUs."""
    return tuple(_node(rng, number) for number in range(1, rng.randint(2, 7)))


def _node(rng: Random, number: int) -> Node:
    gpus = rng.choice((0, 2, 4, 8))
    return Node(
        name=f"node-{number}",
        cluster="sim",
        capacity=Capacity(
            cpu_milli=1000 * rng.choice((4, 8, 16)),
            memory_bytes=rng.choice((16, 64)) * GIB,
            tmp_bytes=100 * GIB,
            devices=tuple(Device(index=i, kind="A100") for i in range(gpus)),
        ),
        labels={"rack": f"r{number % 2}"},
        boot_id=f"boot-{number}",
        virtual=True,
    )


class Users:
    """Plans `jobs` submissions and some interference over `span_s` virtual seconds.

    shared: two people in the queues of `share`, with priorities, time limits and gangs of a size
    that may change; they also edit what waits.
    """

    def __init__(
        self, world: World, rng: Random, *, jobs: int, span_s: float, shared: bool = False
    ) -> None:
        self._world = world
        self._rng = rng
        self._shared = shared
        for number in range(jobs):
            spec = self.spec(number)
            world.clock.call_in(rng.uniform(0, span_s), partial(self._submit, number, spec))
        for _ in range(jobs // 3):
            verbs = ("edit", "edit", "edit") if shared else ()
            verb = rng.choice(("cancel", "hold", "release", "preempt", "preempt", *verbs))
            world.clock.call_in(rng.uniform(0, 2 * span_s), partial(self._interfere, verb))
        # Whoever holds a job lets it go in the end, or the world would never come to rest.
        for later in range(1, 13):
            world.clock.call_in(2 * span_s + 60 * later, self._release_all)

    def spec(self, number: int) -> JobSpec:
        """A job that the world's nodes could run if they were empty."""
        rng = self._rng
        gpus = rng.choice((0, 0, 1, 1, 2, 4))
        share = gpus == 1 and rng.random() < 0.4
        request = Request(
            cpu_milli=rng.choice((100, 1000, 4000)),
            memory_bytes=rng.choice((0, 1, 8)) * GIB,
            gpu_count=gpus,
            gpu_milli=rng.choice((250, 500)) if share else 1000 * min(gpus, 1),
        )
        room = sum(
            could_fit(node.capacity, request) is None for node in self._world.engine.inventory()
        )
        if not room:  # only what can run one day: the world must come to rest
            request, room = replace(request, gpu_count=0, gpu_milli=0), 1
        nodes = 1 if share else min(room, rng.choice((1, 1, 1, 2, 3)))
        members = rng.choice((1, 1, 1, 2, 9))
        made = self._spec(number, request, nodes, members)
        return self._in_a_team(made) if self._shared else made

    def _in_a_team(self, made: JobSpec) -> JobSpec:
        rng = self._rng
        asks = made.resources
        least = rng.randint(1, asks.nodes - 1) if asks.nodes > 1 and rng.random() < 0.5 else 0
        return replace(
            made,
            queue=rng.choice(QUEUES),
            priority=rng.choice((None, 0, 10)),
            time_limit_s=rng.choice((None, 300.0)),
            resources=replace(asks, least=least),
        )

    def _spec(self, number: int, request: Request, nodes: int, members: int) -> JobSpec:
        rng = self._rng
        return JobSpec(
            name=f"job-{number}",
            command="simulated",
            priority=rng.choice((0, 0, 10)),
            env=EnvRequest(packages=("numpy",)) if rng.random() < 0.3 else EnvRequest(),
            resources=ResourceRequest(nodes=nodes, node=request),
            retry=RetryPolicy(limit=rng.choice((0, 1, 3)), backoff_s=rng.choice((0.0, 5.0))),
            after=self._after(),
            checkpoint=self._checkpoint(),
            matrix={
                "seconds": tuple(str(rng.choice((0, 1, 5, 60))) for _ in range(members)),
                "exit": (rng.choice(("0", "0", "0", "1")),),
                "save": (rng.choice(("4", "20")),),
            },
        )

    def _checkpoint(self) -> CheckpointPolicy | None:
        if self._rng.random() < 0.7:
            return None
        return CheckpointPolicy(
            grace_s=self._rng.choice((1.0, 20.0)), keep=self._rng.choice((1, 2, 5))
        )

    def _after(self) -> tuple[Dependency, ...]:
        known = self._world.acknowledged
        if not known or self._rng.random() < 0.7:
            return ()
        how = self._rng.choice((After.OK, After.ANY, After.FAILED))
        return (Dependency(job=self._rng.choice(known), after=how),)

    def _submit(self, number: int, spec: JobSpec) -> None:
        try:
            who = OTHER if self._shared and number % 2 else USER
            ids = self._world.commands.submit(who, spec, request_key=f"request-{number}")
            self._world.acknowledged.extend(ids)
        except Crash:
            self._world.boot()
            self._world.clock.call_in(1.0, lambda: self._submit(number, spec))

    def _interfere(self, verb: str) -> None:
        if not self._world.acknowledged:
            return
        job = self._rng.choice(self._world.acknowledged)
        self._ask(verb, job)

    def _ask(self, verb: str, job: JobId) -> None:
        calls: dict[str, Callable[..., object]] = {
            "cancel": self._world.commands.cancel,
            "hold": self._world.commands.hold,
            "release": self._world.commands.release,
            "preempt": self._world.commands.preempt,
            "edit": self._edit,
        }
        try:
            calls[verb](OPERATOR, job)
        except Conflict:
            return  # it is over already: the user reads so and leaves it
        except Crash:
            self._world.boot()

    def _edit(self, who: Principal, job: JobId) -> None:
        changes = {"priority": self._rng.choice((-5, 0, 20)), "queue": self._rng.choice(QUEUES)}
        self._world.commands.edit(who, job, changes)

    def _release_all(self) -> None:
        for job in self._world.acknowledged:
            row = self._world.store.job(job)
            if row is not None and row.holds:
                self._ask("release", job)
