"""`python -m tests.mutants.hunt`: simulate until a check fails, and print how; 1 if none does.

Run by `test_mutants` in a process of its own, on a copy of the source that has a defect.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from zenkei.sim.faults import PROFILES, FaultRates
from zenkei.sim.generating import Mix, Size, generate
from zenkei.sim.running import fails
from zenkei.sim.scripts import Script
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import read_nodes
from zenkei.sim.traceworld import Setting
from zenkei.sim.workload import Users, cluster
from zenkei.sim.world import World

LIMIT_S = 40.0
FIRST = 6
"""Traces before the first users, whose worlds take longer to show that nothing happens any more."""
TROUBLE = FaultRates(crash=0.02, engine_error=0.05, report_doubled=0.2, reboot=0.5, failed_exit=0.1)
SIZES = (Size(1, 1, 0.7, 1.0), Size(1, 4, 0.2, 1.0), Size(2, 4, 0.1, 1.0))


def users(seed: int) -> str:
    """People, checkpoints and nodes that restart."""
    rng = Random(seed)
    world = World(seed, cluster(rng), TROUBLE)
    try:
        Users(world, rng, jobs=10, span_s=120.0)
        for node in world.engine.inventory():
            world.clock.call_in(rng.uniform(1, 300), partial(world.engine.reboot, node.name))
        world.run()
    except Exception as failure:  # noqa: BLE001 - whatever is raised is a finding
        return f"{type(failure).__name__}: {failure}"
    return ""


def trace(seed: int) -> str:
    """A crowded cluster; every second one is harsh."""
    mix = Mix(load=0.9, sizes=SIZES, longest_s=20_000.0)
    setting = Setting(
        policy=b"policy: {order: fifo, preempt: false, reserve_gangs: 0}",
        rates=PROFILES["harsh" if seed % 2 else "none"],
        seed=seed,
        check=Check.EVERY,
    )
    jobs = generate(60, 16, mix, seed)
    return fails(Script(jobs=jobs, nodes=read_nodes("4x4"), setting=setting))


def worlds() -> Iterator[Callable[[], str]]:
    for seed in range(10_000):
        if seed >= FIRST:
            yield partial(users, seed)
        yield partial(trace, seed)


def main() -> int:
    logging.disable(logging.CRITICAL)
    began_s = time.process_time()
    for count, world in enumerate(worlds(), 1):
        found = world()
        if found:
            print(f"world {count}: {found}")
            return 0
        if time.process_time() - began_s > LIMIT_S or count >= int(sys.argv[1]):
            break
    print(f"nothing was found in {count} worlds")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
