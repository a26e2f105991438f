"""One simulation from files to figures. Called by `zenkei sim` and by benches.

A run that breaks a check is shrunk to few jobs and written as a script, which `scripts` reads back:
the same script gives the same run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from zenkei.model.cluster import Node
from zenkei.model.errors import InternalError, ZenkeiError
from zenkei.sim import scripts
from zenkei.sim.checkers import CheckFailed
from zenkei.sim.faults import PROFILES
from zenkei.sim.figures import Figures, Part, by, figures
from zenkei.sim.policies import cluster_file
from zenkei.sim.replaying import Costs, Story
from zenkei.sim.slurmlog import is_slurm_log, read_slurm_log
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import TraceJob, counted, one_node, read_nodes, read_trace
from zenkei.sim.traceworld import Setting, TraceWorld

SHRINKS: Final = 12
"""Runs that are tried to find a smaller one that fails too."""
_SIZES: Final = (
    (0.0, "no GPU"),
    (0.999, "a share"),
    (1.0, "1 GPU"),
    (8.0, "2 to 8"),
    (32.0, "9 to 32"),
    (float("inf"), "above 32"),
)


class Place(StrEnum):
    """Whether jobs get devices of nodes, or GPUs are only counted."""

    NODES = "nodes"
    COUNT = "count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What to simulate. nodes: as `traces.read_nodes` takes them. limit: first so many jobs."""

    trace: Path
    nodes: str
    policy: str = "fifo"
    queue: str = ""
    limit: int = 0
    place: Place = Place.NODES
    round_s: float = 0.0
    costs: Costs = field(default_factory=Costs)
    faults: str = "none"
    seed: int = 0
    check: Check = Check.SAMPLED


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What came of it. stories: of all jobs, in order of arrival; nodes: those it ran on."""

    figures: Figures
    stories: tuple[Story, ...]
    nodes: tuple[Node, ...]
    steps: int
    crashes: int

    def by_queue(self) -> tuple[Part, ...]:
        return by(self.stories, lambda story: story.job.queue)

    def by_size(self) -> tuple[Part, ...]:
        return by(self.stories, size_of, tuple(name for _, name in _SIZES))


def prepare(asked: Asked) -> scripts.Script:
    """Read everything. Raises InvalidInput and NotFound for what cannot be read."""
    text, name = cluster_file(asked.policy)
    nodes = read_nodes(asked.nodes)
    jobs = read_jobs(asked.trace, queue=asked.queue, limit=asked.limit)
    if asked.place is Place.COUNT:
        nodes, jobs = one_node(nodes), tuple(map(counted, jobs))
    setting = Setting(
        policy=text,
        file=name,
        round_s=asked.round_s,
        costs=asked.costs,
        rates=PROFILES[asked.faults],
        seed=asked.seed,
        check=asked.check,
    )
    return scripts.Script(jobs=jobs, nodes=nodes, setting=setting)


def read_jobs(path: Path, *, queue: str = "", limit: int = 0) -> tuple[TraceJob, ...]:
    """Jobs of a trace, or of what `sacct --parsable2` printed: told by the header."""
    if is_slurm_log(path):
        return read_slurm_log(path, queue=queue, limit=limit)
    return read_trace(path, queue=queue, limit=limit)


def collect_young() -> None:
    """Set this process's garbage collector up for a long run.

    Plans leave cycles that are dead at once; nearly all else lives to the end, and need not be
    looked at again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000)


def play(script: scripts.Script) -> Played:
    """Run it. Raises CheckFailed, and InvalidInput for a cluster file that is none."""
    world = TraceWorld(script.jobs, script.nodes, script.setting)
    world.run()
    stories = tuple(world.engine.stories.values())
    setting = script.setting
    made = figures(stories, script.nodes, round_s=setting.round_s, costs=setting.costs)
    return Played(
        figures=made,
        stories=stories,
        nodes=script.nodes,
        steps=world.steps,
        crashes=world.faults.crashes,
    )


def play_or_tell(script: scripts.Script, write_to: Path) -> Played:
    """Run it; one that fails is shrunk and written. Raises InternalError with the seed."""
    try:
        return play(script)
    except Exception as failure:
        if _is_asked_wrongly(failure):
            raise
        small, why = shrink(script, _told(failure, script), fails)
        write_to.write_text(scripts.dump(small), "utf-8")
        raise InternalError(
            "simulation-failed",
            f"what must never be has happened: {why}",
            hint=f"`zenkei sim replay {write_to}` runs the {len(small.jobs)} jobs of it again",
        ) from failure


def fails(script: scripts.Script) -> str:
    """How a run fails; empty: it does not."""
    try:
        play(script)
    except Exception as failure:  # noqa: BLE001 - whatever the product raises there is a finding
        return _told(failure, script)
    return ""


def _is_asked_wrongly(failure: Exception) -> bool:
    return isinstance(failure, ZenkeiError) and not isinstance(failure, InternalError)


def _told(failure: Exception, script: scripts.Script) -> str:
    if isinstance(failure, CheckFailed):
        return str(failure)
    return f"seed {script.setting.seed}: {type(failure).__name__}: {failure}"


def shrink(
    script: scripts.Script, why: str, fails: Callable[[scripts.Script], str]
) -> tuple[scripts.Script, str]:
    """Halves of the jobs while one of them fails too, at most SHRINKS runs; and how it fails."""
    tried = 0
    while len(script.jobs) > 1:
        for jobs in _halves(script.jobs):
            if tried >= SHRINKS:
                return script, why
            tried += 1
            smaller = script.with_jobs(jobs)
            how = fails(smaller)
            if how:
                script, why = smaller, how
                break
        else:
            return script, why
    return script, why


def _halves(jobs: Sequence[TraceJob]) -> tuple[tuple[TraceJob, ...], ...]:
    half = len(jobs) // 2
    return tuple(jobs[:half]), tuple(jobs[half:]), tuple(jobs[::2])


def size_of(story: Story) -> str:
    """The group of a job by the GPUs that it takes."""
    gpus = story.job.gpus_milli / 1000
    return next(name for most, name in _SIZES if gpus <= most)
