"""What happens to a job while it waits: claims and edits, found again by every kind of question."""

from __future__ import annotations

from typing import Any

from tests.builders import allocate, do, node, part, put, start, submit
from tests.conformance.store.conftest import World
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.evolve import replay
from zenkei.model.cluster import Claim
from zenkei.model.data import Digest
from zenkei.model.job import HoldReason, JobState, StopReason
from zenkei.ports.store import Changes, JobFilter

OTHER = Digest("b3:" + "6" * 64)
EDIT = c.Edit(spec=OTHER, queue="fast", priority=7, by="ann", changes=("queue: default to fast",))
CLAIM = c.Claim(cluster="local", parts=(part("n1", 2, 3), part("n2", 0)), until_us=5)


def test_a_claim_is_read_back_as_it_was_and_the_planner_hears_of_it(store: Any) -> None:
    (job,) = submit(store)
    do(store, job, c.Prepare())
    seen = store.seq()
    row = do(store, job, CLAIM)
    assert row.claim == Claim(cluster="local", parts=CLAIM.parts, until_us=5)
    assert store.job(job) == row == replay(store.events(job=job))
    assert [found.claim for found in store.planning(seen).jobs] == [row.claim]
    assert do(store, job, allocate(part("n1", 2))).claim is None
    assert store.check() == []


def test_an_edited_job_is_found_by_what_it_asks_for_now(world: World, store: Any) -> None:
    put(store, Changes(specs={OTHER: '{"name":"other"}'}))
    (job,) = submit(store, queue="slow")
    (neighbour,) = submit(store, queue="slow")
    do(store, job, c.Prepare())
    seen = store.seq()
    row = do(store, job, EDIT)
    other = world.open("b")
    for reader in (store, other):
        assert reader.job(job) == row == replay(reader.events(job=job))
        assert reader.jobs(JobFilter(queue="fast")).items == (row,)
        assert [r.id for r in reader.jobs(JobFilter(queue="slow")).items] == [neighbour]
        news = reader.planning(seen)
        assert [(r.spec, r.queue, r.priority) for r in news.jobs] == [(OTHER, "fast", 7)]
        assert news.specs[OTHER] == '{"name":"other"}'
        assert reader.check() == []


def test_an_edit_among_other_changes_of_one_unit_is_kept(store: Any) -> None:
    (job,) = submit(store, holds=(HoldReason.USER,))
    row = do(store, job, EDIT, c.Unhold(reason=HoldReason.USER), c.Prepare(), CLAIM, EDIT)
    assert (row.state, row.queue) == (JobState.PENDING, "fast")
    assert store.job(job) == row
    assert store.check() == []


def test_what_a_job_holds_is_paid_for_in_the_queue_that_it_was_moved_to(store: Any) -> None:
    put(store, Changes(nodes=[node("n1")]))
    (job,) = submit(store, queue="slow")
    do(store, job, c.Prepare(), EDIT, allocate(part("n1", 0)), nodes=("n1",))
    assert [segment.queue for segment in store.usage(job)] == ["fast"]


def test_displacements_are_read_back_by_every_controller(world: World, store: Any) -> None:
    job = start(store, part("n1", 0))
    stop = c.Stop(attempt=1, reason=StopReason.PREEMPTED, favoured="9", why="priority")
    row = do(store, job, c.ReportCheckpoint(attempt=1, step=3, parts=()), stop)
    assert 0 not in (len(row.preempted_us), row.saved_us, row.allocated_us)
    assert world.open("b").job(job) == row
    assert store.check() == []
