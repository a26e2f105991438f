"""What must never be, checked after every step, and what must be at the end.

Each checker compares the store's rows, its event log and the engine's own truth with one another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from zenkei.lifecycle.evolve import replay
from zenkei.lifecycle.outcome import MAX_REQUEUES
from zenkei.model import event as e
from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import CheckpointState
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.model.queue import Policy
from zenkei.model.resources import Free
from zenkei.ports.store import JobFilter
from zenkei.sim.displacing import Log

if TYPE_CHECKING:
    from zenkei.sim.world import World

MOST_ROWS = 10_000


class CheckFailed(AssertionError):
    """Something happened that must not; the message has the seed that repeats it."""


def check_now(world: World) -> None:
    """Invariants that hold at every instant."""
    nodes = {node.name: node for node in world.store.nodes()}
    held = [part for a in world.store.allocations() for part in a.parts]
    _fit(world, "the store's allocations", nodes, held)
    living = [part for _, order in world.engine.alive() for _, part in order.nodes]
    living += world.engine.ghosts()
    _fit(world, "what really runs", nodes, living)
    jobs = Counter(attempt.job for attempt, _ in world.engine.alive())
    twice = [str(job) for job, count in jobs.items() if count > 1]
    _require(world, not twice, f"two attempts of one job run at once: {twice}")


def check_end(world: World) -> None:
    """After the faults have ended, everything comes to its end, once."""
    rows = {row.id: row for row in world.store.jobs(JobFilter(), limit=MOST_ROWS).items}
    lost = [str(job) for job in world.acknowledged if job not in rows]
    _require(world, not lost, f"acknowledged jobs are lost: {lost}")
    open_ = [f"{row.id} {row.state}" for row in rows.values() if row.state not in TERMINAL]
    _require(world, not open_, f"jobs never ended: {open_[:10]}")
    _require(world, not world.store.allocations(), "allocations are left although nothing runs")
    _require(world, not world.engine.alive(), "attempts still run although every job is over")
    left = [row.effect.key for row in world.tables.outbox.values()]
    _require(world, not left, f"effects are left: {left[:5]}")
    log = _whole_log(world)
    _require(world, [ev.seq for ev in log] == sorted({ev.seq for ev in log}), "seq does not rise")
    record = world.store.cluster()
    policy = record.config.policy if record is not None else Policy()
    nodes = {node.name: node for node in world.store.nodes()}
    breaches = list(Log(nodes, policy.most_preemptions).breaches(log))
    _require(world, not breaches, "; ".join(breaches[:3]))
    story: dict[JobId, list[Event]] = defaultdict(list)
    for event in log:
        story[event.job].append(event)
    for job, row in rows.items():
        _require(world, replay(story[job]) == row, f"replay of job {job} is not its row {row}")
        _check_story(world, row, story[job])
        _check_checkpoints(world, row, story[job])


def _whole_log(world: World) -> list[Event]:
    log: list[Event] = []
    while page := world.store.events(after=log[-1].seq if log else 0):
        log.extend(page)
    return log


def _check_story(world: World, row: Job, events: list[Event]) -> None:
    entered = [ev.body.attempt for ev in events if isinstance(ev.body, e.Allocated)]
    left = [ev.body.attempt for ev in events if isinstance(ev.body, e.Released)]
    _require(world, entered == left, f"job {row.id}: allocations {entered} were left as {left}")
    _require(world, entered == list(range(1, row.attempt + 1)), f"job {row.id}: {entered}")
    _require(
        world, row.requeues <= MAX_REQUEUES, f"job {row.id} was sent back {row.requeues} times"
    )
    spec = world.spec_of(row)
    _require(world, row.counted <= spec.retry.limit + 1, f"job {row.id} retried too often")
    asks = spec.resources
    for event in events:
        if isinstance(event.body, e.Submitted | e.Edited):
            asks = world.spec_behind(event.body.spec).resources
        if isinstance(event.body, e.Allocated):
            names = [part.node for part in event.body.parts]
            whole = asks.fewest <= len(names) <= asks.nodes and len(names) == len(set(names))
            _require(world, whole, f"gang of job {row.id} is not whole: {names}")
    ended_well = _completed(world, row)
    _require(world, len(ended_well) <= 1, f"job {row.id} was completed by attempts {ended_well}")
    if row.state is JobState.SUCCEEDED:
        _require(world, ended_well == [row.attempt], f"job {row.id} succeeded without completing")


def _check_checkpoints(world: World, row: Job, events: list[Event]) -> None:
    """Each attempt went on from the newest checkpoint that was kept and whole."""
    _require(world, row.saving == (), f"checkpoints of job {row.id} are left: {row.saving}")
    policy = world.spec_of(row).checkpoint
    most = policy.keep if policy is not None else 1
    kept: set[tuple[int, int]] = set()
    before: set[tuple[int, int]] = set()  # kept by the attempts before the current one
    for event in events:
        body = event.body
        if isinstance(body, e.Allocated):
            before = set(kept)
        elif isinstance(body, e.CheckpointKept):
            kept = set(sorted({*kept, (body.attempt, body.step)})[-most:])
        elif isinstance(body, e.CheckpointLost):
            kept.discard((body.attempt, body.step))
            before.discard((body.attempt, body.step))
        elif isinstance(body, e.Released):
            run = world.engine.runs.get(AttemptId(row.id, body.attempt))
            if run is not None and run.order is not None:
                given = run.order.resume
                had = (given.attempt.number, given.step) if given is not None else None
                told = (
                    f"attempt {row.id}/{body.attempt} was given {had}, kept were {sorted(before)}"
                )
                _require(world, had == max(before, default=None), told)
    points = world.store.checkpoints(row.id)
    states = Counter(point.state for point in points)
    _require(world, not states[CheckpointState.SAVED], f"job {row.id}: {points} are not stored")
    most = 1 if row.state is JobState.SUCCEEDED else most
    _require(world, states[CheckpointState.KEPT] <= most, f"job {row.id} keeps {states}")


def _completed(world: World, row: Job) -> list[int]:
    """Attempts of a job whose program ran to its good end, by the engine's truth."""
    return [
        attempt.number
        for attempt, run in world.engine.runs.items()
        if attempt.job == row.id and run.completed
    ]


def _fit(world: World, what: str, nodes: dict[str, Node], parts: list[NodePart]) -> None:
    free = {name: Free.of(node.capacity) for name, node in nodes.items()}
    for part in parts:
        free[part.node].take(part.request, part.devices)
    for name, left in free.items():
        least = min([left.cpu_milli, left.memory_bytes, left.tmp_bytes, *left.gpu_milli])
        _require(world, least >= 0, f"{what} on node {name} exceed it: {left}")


def _require(world: World, holds: bool, otherwise: str) -> None:
    if not holds:
        last = ", ".join(world.faults.log[-5:])
        raise CheckFailed(f"seed {world.seed}: {otherwise} (last crashes: {last})")
