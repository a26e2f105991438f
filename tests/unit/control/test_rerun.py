"""A job that repeats another one takes over all that was found for it."""

from collections.abc import Callable

from tests.plant import ALICE, Plant
from zenkei.control.orders import seed_of
from zenkei.lifecycle.evolve import replay
from zenkei.model.data import Digest
from zenkei.model.ids import JobId
from zenkei.model.job import EnvRequest, JobSpec, JobState

SPEC = JobSpec(name="n", command="x", env=EnvRequest(packages=("numpy",)))


class Index:
    """Each lock is of a newer version than the one before, as of a busy package index."""

    def __init__(self) -> None:
        self.asked = 0

    def lock(self, _request: EnvRequest, _progress: Callable[[str], None]) -> Digest:
        self.asked += 1
        return Digest("b3:" + f"{self.asked:064x}")

    def realise(self, lock: Digest, _progress: Callable[[str], None]) -> str:
        return f"/envs/{lock}"


def rerun(plant: Plant, job: JobId) -> JobId:
    (again,) = plant.commands.rerun(ALICE, job)
    plant.settle()
    return again


def test_the_lock_of_the_old_job_is_used_although_newer_versions_have_been_published():
    index = Index()
    plant = Plant(builder=index)
    old = plant.run(SPEC)
    other = plant.run(SPEC)
    assert plant.row(other).env != plant.row(old).env
    again = rerun(plant, old)
    assert plant.row(again).env == plant.row(old).env
    assert plant.state(again) is JobState.SUCCEEDED
    assert index.asked == 2


def test_a_job_whose_environment_never_came_about_is_locked_when_it_is_repeated():
    plant = Plant(builder=Index())
    (held,) = plant.commands.submit(ALICE, SPEC, hold=True)
    again = rerun(plant, held)
    assert plant.row(again).env == Digest("b3:" + f"{1:064x}")


def test_a_seed_that_was_made_of_the_old_id_stays_that_number_through_every_repetition():
    plant = Plant()
    old = plant.run(JobSpec(name="n", command="x"))
    again = rerun(plant, old)
    once_more = rerun(plant, again)
    seeds = {seed_of(plant.row(job), None) for job in (old, again, once_more)}
    assert len(seeds) == 1
    assert plant.row(again).spec == plant.row(old).spec


def test_each_member_of_an_array_keeps_its_own_seed():
    plant = Plant()
    members = plant.commands.submit(ALICE, JobSpec(name="n", command="x", array=3))
    again = plant.commands.rerun(ALICE, JobId(members[0].number))
    before = [seed_of(plant.row(job), None) for job in members]
    assert [seed_of(plant.row(job), None) for job in again] == before
    assert len(set(before)) == 3


def test_the_row_that_a_repeated_job_is_born_with_is_what_its_events_replay_to():
    plant = Plant(builder=Index())
    job = rerun(plant, plant.run(SPEC))
    assert replay(plant.store.events(job=job)) == plant.row(job)
