"""Checkpoints on their way into the store of content, and what a job goes on from."""

from __future__ import annotations

import pytest

from tests.plant import ALICE, BOB, ROOT, Plant, never_ends
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import decide
from zenkei.model import event as e
from zenkei.model.data import CheckpointState, Digest
from zenkei.model.errors import Conflict, Denied, NotFound, Unavailable
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import CheckpointPolicy, CodeRequest, Exit, JobSpec, JobState
from zenkei.ports.engine import LaunchOrder
from zenkei.sim.doubles import TreesDouble

KEPT, LOST, PRUNED, SAVED = (
    CheckpointState.KEPT,
    CheckpointState.LOST,
    CheckpointState.PRUNED,
    CheckpointState.SAVED,
)


class World:
    """A plant with one job that runs until it is told to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **policy: object) -> None:
        self.plant = Plant(program=self._launched)
        self.orders: list[LaunchOrder] = []
        self.refuse: Exception | None = None
        self.plant.engine._answer = lambda _order: self.answer
        self.answer: int | None = None
        monkeypatch.setattr(TreesDouble, "gather", self._gather)
        spec = JobSpec(
            name="a",
            command="true",
            code=CodeRequest(enabled=False),
            checkpoint=CheckpointPolicy(**policy),  # type: ignore[arg-type]
        )
        self.job = self.plant.run(spec)

    def _launched(self, order: LaunchOrder) -> Exit | None:
        self.orders.append(order)
        return never_ends(order)

    def _gather(self, pieces: object) -> tuple[Digest, int, int]:
        if self.refuse is not None:
            raise self.refuse
        return Digest("b3:" + f"{abs(hash(str(pieces))):064x}"), 1, 10

    @property
    def attempt(self) -> AttemptId:
        return AttemptId(self.job, self.plant.row(self.job).attempt)

    def save(self, *steps: int) -> None:
        """Saved while nobody looks; then looked at."""
        for step in steps:
            self.plant.engine.save(self.attempt, step)
        self.plant.settle()

    def states(self) -> dict[int, CheckpointState]:
        return {p.step: p.state for p in self.plant.store.checkpoints(self.job)}

    def reasons(self) -> dict[int, str]:
        return {p.step: p.reason for p in self.plant.store.checkpoints(self.job)}

    def preempt(self) -> None:
        self.plant.commands.preempt(ROOT, self.job)
        self.plant.settle()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_saved_checkpoint_is_kept_and_the_next_attempt_gets_it(world: World) -> None:
    world.save(10)
    assert world.states() == {10: KEPT}
    world.preempt()
    given = world.orders[-1].resume
    assert given is not None
    assert (given.attempt, given.step, given.path) == (AttemptId(world.job, 1), 10, "step-10")
    assert world.plant.row(world.job).step == 10


def test_what_is_saved_because_of_the_stop_is_what_the_next_attempt_gets(world: World) -> None:
    world.answer = 33
    world.preempt()
    assert world.orders[-1].resume is not None
    assert world.orders[-1].resume.step == 33


def test_of_a_backlog_only_the_newest_is_stored(world: World) -> None:
    world.save(10, 20, 30)
    assert world.states() == {10: PRUNED, 20: PRUNED, 30: KEPT}
    assert world.reasons()[10] == "step 30 of attempt 1 is kept in its place"
    assert world.plant.row(world.job).saving == ()


def test_no_more_are_kept_than_the_job_says(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, keep=2)
    for step in (1, 2, 3, 4):
        world.save(step)
    assert world.states() == {1: PRUNED, 2: PRUNED, 3: KEPT, 4: KEPT}
    assert world.plant.engine.running(), "the job was not disturbed"


def test_after_its_success_one_is_kept(world: World) -> None:
    for step in (1, 2, 3):
        world.save(step)
    world.plant.engine.finish(world.attempt, Exit(code=0))
    world.plant.settle()
    assert world.states() == {1: PRUNED, 2: PRUNED, 3: KEPT}


def test_a_full_disk_is_waited_for_and_the_job_meanwhile(world: World) -> None:
    world.refuse = Unavailable("disk-full", "the disk is full")
    world.answer = 5
    world.preempt()
    for _ in range(12):
        world.plant.settle(70)
    assert world.states() == {5: SAVED}
    assert len(world.orders) == 1
    reason = world.plant.queries.reason(world.plant.row(world.job))
    assert reason is not None
    assert reason.text == "its checkpoint of step 5 is being stored"
    world.refuse = None
    world.plant.settle(70)
    assert world.states() == {5: KEPT}
    assert world.orders[-1].resume is not None


def test_what_cannot_be_stored_is_lost_with_its_reason_and_the_job_goes_on(world: World) -> None:
    world.save(1)
    world.refuse = NotFound("gone", "it is gone")
    world.save(2)
    assert world.states() == {1: KEPT, 2: LOST}
    assert world.reasons()[2] == "it is gone"
    world.preempt()
    first = world.orders[-1].resume
    assert first is not None
    assert first.step == 1


def test_a_damaged_one_falls_back_until_none_is_left(world: World) -> None:
    for step in (1, 2, 3):
        world.save(step)
    whole = {p.step: p.manifest for p in world.plant.store.checkpoints(world.job)}
    world.plant.engine.damaged |= {whole[3], whole[2]}
    world.preempt()
    assert world.states() == {1: KEPT, 2: LOST, 3: LOST}
    first = world.orders[-1].resume
    assert first is not None
    assert first.step == 1
    world.plant.engine.damaged.add(whole[1])
    world.preempt()
    assert world.orders[-1].resume is None
    assert world.plant.row(world.job).step == -1
    assert world.plant.state(world.job) is JobState.RUNNING


def test_a_controller_that_starts_anew_keeps_nothing_twice(world: World) -> None:
    world.save(1)
    for _ in range(3):
        world.plant.restart()
        world.plant.settle()
    events = world.plant.store.events(job=world.job)
    bodies = [ev.body for ev in events if isinstance(ev.body, e.Checkpointed | e.CheckpointKept)]
    assert len(bodies) == 2


def test_a_job_that_numbers_its_steps_anew_goes_on_from_its_last_word(world: World) -> None:
    world.save(100)
    world.preempt()
    world.save(7)
    world.preempt()
    given = world.orders[-1].resume
    assert given is not None
    assert (given.attempt.number, given.step) == (2, 7)
    assert world.plant.row(world.job).step == 7


def test_only_an_operator_preempts_and_only_what_runs(world: World) -> None:
    for who in (ALICE, BOB):
        with pytest.raises(Denied):
            world.plant.commands.preempt(who, world.job)
    world.plant.commands.cancel(ALICE, world.job)
    world.plant.settle()
    with pytest.raises(Conflict, match="nothing to preempt"):
        world.plant.commands.preempt(ROOT, world.job)


def test_its_owner_asks_for_a_checkpoint_and_nobody_else(world: World) -> None:
    world.answer = 12
    world.plant.commands.ask_checkpoint(ALICE, world.job)
    world.plant.settle()
    assert world.states() == {12: KEPT}
    assert len(world.orders) == 1
    with pytest.raises(NotFound):
        world.plant.commands.ask_checkpoint(BOB, world.job)


def test_the_checkpoints_of_another_job_are_nobodys_business(world: World) -> None:
    other = JobId(999)
    assert world.plant.store.checkpoints(other) == ()
    with pytest.raises(NotFound):
        world.plant.queries.checkpoints(BOB, world.job)


def test_a_held_job_is_asked_for_a_checkpoint_first(world: World) -> None:
    world.answer = 4
    world.plant.commands.hold(ALICE, world.job)
    world.plant.settle()
    assert world.plant.state(world.job) is JobState.HELD
    assert world.states() == {4: KEPT}


def test_a_start_is_refused_while_a_checkpoint_is_on_its_way(world: World) -> None:
    world.refuse = Unavailable("disk-full", "the disk is full")
    world.answer = 5
    world.preempt()
    with pytest.raises(Conflict, match="still being stored"):
        decide(world.plant.row(world.job), c.Allocate(cluster="inline", parts=()), 0)
