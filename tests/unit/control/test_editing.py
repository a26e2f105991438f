"""Edits of waiting jobs and cancels of many, on the real control plane."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plant import ALICE, BOB, ROOT, Plant, never_ends, node
from zenkei.control.specs import SpecCache
from zenkei.model import event as e
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.ids import JobId
from zenkei.model.job import Job, JobSpec, JobState, ResourceRequest
from zenkei.model.resources import Request
from zenkei.ports.store import JobFilter

SPEC = JobSpec(name="job", command="train", resources=ResourceRequest(node=Request(cpu_milli=8000)))


@pytest.fixture
def plant() -> Plant:
    return Plant(node("n1", cpus=4), program=never_ends)


def spec_of(plant: Plant, row: Job) -> JobSpec:
    return SpecCache(plant.store).get(row.spec)


def test_a_job_that_never_fits_starts_after_it_asks_for_less(plant: Plant) -> None:
    job = plant.run(SPEC)
    assert plant.state(job) is JobState.PENDING
    plant.commands.edit(ALICE, job, {"resources": {"cpus": "2"}})
    plant.settle()
    assert plant.state(job) is JobState.RUNNING
    assert plant.row(job).attempt == 1
    (edited,) = [x.body for x in plant.store.events(job=job) if isinstance(x.body, e.Edited)]
    assert (edited.by, edited.changes) == ("alice", ("resources.cpus: 8 to 2",))


def test_a_new_priority_decides_who_goes_first(plant: Plant) -> None:
    plant.nodes.drain(ROOT, "n1", reason="so that they wait")
    small = replace(SPEC, resources=ResourceRequest(node=Request(cpu_milli=4000)))
    first, second = plant.run(small), plant.run(small)
    plant.commands.edit(ALICE, second, {"priority": "5"})
    plant.nodes.resume(ROOT, "n1")
    plant.settle()
    assert (plant.state(first), plant.state(second)) == (JobState.PENDING, JobState.RUNNING)


def test_a_held_job_is_edited_and_stays_held(plant: Plant) -> None:
    (job,) = plant.commands.submit(ALICE, SPEC, hold=True)
    (row,) = plant.commands.edit(ALICE, job, {"queue": "fast", "time_limit": "1h"})
    assert (row.state, row.queue) == (JobState.HELD, "fast")
    assert spec_of(plant, row).time_limit_s == 3600.0
    assert plant.store.jobs(JobFilter(queue="fast")).items == (row,)


def test_what_the_environment_was_made_from_stays_as_it_was(plant: Plant) -> None:
    job = plant.run(SPEC)
    before = plant.row(job)
    (after,) = plant.commands.edit(ALICE, job, {"resources": {"memory": "1GiB"}})
    assert (after.env, after.code, after.source) == (before.env, before.code, before.source)
    assert spec_of(plant, after).command == "train"


def test_a_running_job_cannot_be_edited(plant: Plant) -> None:
    job = plant.run(replace(SPEC, resources=ResourceRequest()))
    with pytest.raises(Conflict) as refused:
        plant.commands.edit(ALICE, job, {"priority": "5"})
    assert refused.value.code == "job-not-waiting"


def test_of_an_array_those_that_wait_are_edited(plant: Plant) -> None:
    spec = replace(SPEC, array=5, resources=ResourceRequest(node=Request(cpu_milli=2000)))
    ids = plant.commands.submit(ALICE, spec)
    plant.settle()
    rows = plant.commands.edit(ALICE, JobId(ids[0].number), {"priority": "5"})
    assert [(row.state, row.priority) for row in rows] == [
        *[(JobState.RUNNING, 0)] * 2,
        *[(JobState.PENDING, 5)] * 3,
    ]


def test_strangers_may_not_edit_and_are_not_told_of_the_job(plant: Plant) -> None:
    job = plant.run(SPEC)
    with pytest.raises(NotFound):
        plant.commands.edit(BOB, job, {"priority": "5"})
    assert plant.row(job).priority == 0


def test_a_refused_edit_changes_nothing(plant: Plant) -> None:
    job = plant.run(SPEC)
    seq = plant.store.seq()
    for changes in ({"priority": "x"}, {"command": "rm"}, {"priority": "5", "nodes": "1"}):
        with pytest.raises(InvalidInput):
            plant.commands.edit(ALICE, job, changes)
    assert plant.store.seq() == seq


# -- cancel of many ------------------------------------------------------------------------------


def states(plant: Plant, *jobs: JobId) -> list[str]:
    return [str(plant.state(job)) for job in jobs]


def test_all_jobs_of_a_queue_are_cancelled_and_no_others(plant: Plant) -> None:
    fast, slow = plant.run(replace(SPEC, queue="fast")), plant.run(replace(SPEC, queue="slow"))
    found = plant.commands.cancel_matching(ALICE, JobFilter(queue="fast"))
    assert [row.id for row in found.jobs] == [fast]
    assert states(plant, fast, slow) == ["cancelled", "pending"]


def test_running_jobs_are_stopped_and_waiting_ones_cancelled(plant: Plant) -> None:
    small = replace(SPEC, resources=ResourceRequest())
    running, waiting = plant.run(small), plant.run(SPEC)
    plant.commands.cancel_matching(ALICE, JobFilter(name="job"))
    assert states(plant, running, waiting) == ["stopping", "cancelled"]
    plant.settle()
    assert states(plant, running) == ["cancelled"]


def test_looking_first_changes_nothing_and_later_jobs_are_left_alone(plant: Plant) -> None:
    first = plant.run(SPEC)
    where = JobFilter(states=frozenset({JobState.PENDING}))
    seen = plant.commands.cancel_matching(ALICE, where, dry_run=True)
    assert ([row.id for row in seen.jobs], seen.newest) == ([first], first.number)
    assert states(plant, first) == ["pending"]
    later = plant.run(SPEC)
    plant.commands.cancel_matching(ALICE, where, newest=seen.newest)
    assert states(plant, first, later) == ["cancelled", "pending"]


def test_jobs_of_others_are_left_alone_unless_an_operator_asks(plant: Plant) -> None:
    hers, his = plant.run(SPEC), plant.run(SPEC, who=BOB)
    assert not plant.commands.cancel_matching(ALICE, JobFilter(owner="bob")).jobs
    assert len(plant.commands.cancel_matching(ALICE, JobFilter(queue="default")).jobs) == 1
    assert states(plant, hers, his) == ["cancelled", "pending"]
    plant.commands.cancel_matching(ROOT, JobFilter(owner="bob"))
    assert states(plant, his) == ["cancelled"]


def test_more_jobs_than_one_unit_takes_are_all_cancelled(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenkei.control.bulk.MOST", 3)
    monkeypatch.setattr("zenkei.control.bulk.PAGE", 2)
    ids = plant.commands.submit(ALICE, replace(SPEC, array=8))
    plant.settle()
    assert len(plant.commands.cancel_matching(ALICE, JobFilter(name="job")).jobs) == 8
    assert set(states(plant, *ids)) == {"cancelled"}


def test_what_is_over_is_not_counted_and_nothing_is_no_error(plant: Plant) -> None:
    job = plant.run(SPEC)
    plant.commands.cancel(ALICE, job)
    assert plant.commands.cancel_matching(ALICE, JobFilter(name="job")).jobs == ()


@pytest.mark.parametrize(
    ("where", "code"),
    [
        (JobFilter(), "no-filter"),
        (JobFilter(states=frozenset({JobState.FAILED})), "bad-state"),
    ],
)
def test_a_filter_that_names_nothing_or_what_is_over_is_refused(
    plant: Plant, where: JobFilter, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        plant.commands.cancel_matching(ALICE, where)
    assert refused.value.code == code
    assert not isinstance(refused.value, Denied)
