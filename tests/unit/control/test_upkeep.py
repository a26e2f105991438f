"""What is pruned is over, old, awaited by nobody; what is left keeps all that it refers to."""

from dataclasses import replace
from typing import cast

import pytest

from tests.builders import put
from tests.keeping import CollectorDouble, EnvironmentsDouble, FoldersDouble, Row, digest
from tests.plant import ALICE, ROOT, Plant, never_ends
from zenkei.control.draft import Draft
from zenkei.control.upkeep import Upkeep
from zenkei.model import event as e
from zenkei.model.data import Result, ResultState, ResultTag
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import After, CodeRequest, Dependency, EnvRequest, JobSpec, JobState
from zenkei.ports.store import Changes, Store, Unit
from zenkei.store.memory import MemoryStore

DAY_S = 86400.0


class Kept:
    """A plant with its upkeep; every job has folders."""

    def __init__(self, program=None) -> None:
        self.plant = Plant(program=program) if program else Plant()
        self.environments = EnvironmentsDouble()
        self.collector = CollectorDouble()
        self.folders = FoldersDouble()
        self.upkeep = Upkeep(
            store=self.plant.store,
            maintenance=cast(MemoryStore, self.plant.store),
            environments=self.environments,
            collector=self.collector,
            folders=self.folders,
            clock=self.plant.clock,
        )

    def job(self, name: str = "a", days: float = 0.0, **keys) -> JobId:
        """A job that is let run, and the days after it."""
        spec = JobSpec(name=name, command="true", code=CodeRequest(enabled=False), **keys)
        job = self.plant.run(spec)
        self.folders.there.add(job)
        self.plant.settle(days * DAY_S)
        return job

    def prune(self, days: float = 30.0, keep: int = 0, dry_run: bool = False):
        return self.upkeep.prune(ROOT, older_than_s=days * DAY_S, keep=keep, dry_run=dry_run)

    def left(self) -> set[JobId]:
        return {row.id for row in self.upkeep._rows()}


@pytest.fixture
def kept():
    return Kept()


def test_old_jobs_go_with_their_folders_and_young_ones_stay(kept):
    old = kept.job("old", days=31)
    young = kept.job("young", days=1)
    found = kept.prune()
    assert found.jobs == (old,)
    assert kept.left() == {young}
    assert kept.folders.there == {young}
    assert (found.folder_bytes, found.content_bytes) == (100, 5000)


def test_the_newest_stay_however_old_they_are(kept):
    jobs = [kept.job(days=40) for _ in range(3)]
    assert kept.prune(keep=2).jobs == (jobs[0],)


def test_a_dry_run_says_the_same_and_changes_nothing(kept):
    old = kept.job(days=31)
    assert kept.prune(dry_run=True).jobs == (old,)
    assert kept.left() == {old}
    assert kept.folders.there == {old}


def test_a_job_that_is_not_over_stays_however_old():
    kept = Kept(program=never_ends)
    job = kept.job(days=400)
    assert kept.prune(days=0).jobs == ()
    assert kept.left() == {job}


def test_a_job_stays_while_another_waits_for_it():
    kept = Kept(program=lambda order: None if order.spec.name == "slow" else _ok(order))
    first = kept.job("first")
    slow = kept.job("slow")
    after = (Dependency(job=first, after=After.OK), Dependency(job=slow, after=After.OK))
    waiting = kept.job("waiting", days=60, after=after)
    assert first not in kept.prune().jobs
    kept.plant.commands.cancel(ALICE, waiting)
    kept.plant.settle(60 * DAY_S)
    assert set(kept.prune().jobs) == {first, waiting}


def test_a_member_stays_while_another_of_its_array_does():
    kept = Kept(
        program=lambda order: None if order.params.get("array.index") == "1" else _ok(order)
    )
    spec = JobSpec(name="m", command="true", array=2, code=CodeRequest(enabled=False))
    members = kept.plant.commands.submit(ALICE, spec)
    kept.plant.settle()
    kept.plant.settle(60 * DAY_S)
    assert kept.prune().jobs == ()
    kept.plant.commands.cancel(ALICE, members[1])
    kept.plant.settle()
    kept.plant.settle(60 * DAY_S)
    assert set(kept.prune().jobs) == set(members)


def test_what_jobs_that_stay_refer_to_is_kept(kept):
    old = kept.job("old", days=31)
    env = EnvRequest(packages=("numpy",))
    young = kept.job("young", env=env)
    results = [kept.plant.store.result(AttemptId(job, 1)) for job in (old, young)]
    kept.environments.rows = [Row(lock=digest("e"))]
    kept.prune()
    row = kept.plant.row(young)
    assert row.env
    assert {row.env, results[1].record} <= kept.collector.roots
    assert digest("e") not in kept.collector.roots
    assert results[0].record not in kept.collector.roots
    assert "" not in kept.collector.roots


def test_what_an_imported_job_brought_along_is_kept(kept):
    def decide(view):
        draft = Draft(view)
        body = e.Imported(
            spec=digest("a"),
            project="p",
            owner="ada",
            name="n",
            queue="default",
            priority=0,
            state=JobState.SUCCEEDED,
            attempt=1,
            origin=digest("0"),
        )
        draft.record(None, JobId(view.next_number()), body)
        return draft.finish(), None

    kept.plant.store.submit(Unit(decide=decide)).result()
    kept.prune()
    assert digest("0") in kept.collector.roots


def test_code_of_unfinished_jobs_stays_laid_out():
    kept = Kept(program=never_ends)
    spec = JobSpec(name="a", command="true")
    (job,) = kept.plant.commands.submit(ALICE, spec, code=digest("c"), source=digest("d"))
    kept.plant.settle()
    kept.prune()
    assert kept.collector.trees == {digest("c")}
    assert {digest("c"), digest("d")} <= kept.collector.roots
    assert kept.left() == {job}


def test_folders_that_a_killed_run_left_are_swept_by_the_next(kept):
    kept.folders.there.add(JobId(999))
    assert kept.prune().folder_bytes == 100
    assert kept.folders.there == set()


def test_pruning_again_does_nothing(kept):
    kept.job(days=31)
    kept.prune()
    again = kept.prune()
    assert (again.jobs, again.folder_bytes) == ((), 0)


class CountingStore:
    """Counts what it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        self.asked += 1
        return getattr(self._store, name)


def test_pruning_many_jobs_asks_the_store_no_more_often_than_pruning_a_few():
    asked = []
    for jobs in (2, 40):
        kept = Kept()
        for _ in range(jobs):
            kept.job(days=31)
        counting = CountingStore(kept.plant.store)
        kept.upkeep._store = cast(Store, counting)
        assert len(kept.prune().jobs) == jobs
        asked.append(counting.asked)
    assert asked[0] == asked[1]


def test_an_array_stays_while_a_job_waits_for_the_whole_of_it():
    kept = Kept(program=lambda order: None if order.spec.name == "slow" else _ok(order))
    array = JobSpec(name="array", command="true", array=3, code=CodeRequest(enabled=False))
    members = kept.plant.commands.submit(ALICE, array)
    slow = kept.job("slow")
    after = tuple(Dependency(job=job, after=After.ANY) for job in (JobId(members[0].number), slow))
    kept.job("waiting", days=60, after=after)
    assert kept.prune().jobs == ()


def test_a_job_stays_while_its_result_is_being_kept(kept):
    job = kept.job(days=31)
    sealing = Result(attempt=str(AttemptId(job, 1)), state=ResultState.SEALING)
    put(kept.plant.store, Changes(results=[sealing]))
    assert kept.prune().jobs == ()


def test_a_job_whose_result_has_a_name_stays_until_the_name_is_taken_away(kept):
    job, book = kept.job(days=31), kept.plant.store.book
    tag = ResultTag(project="default", tag="best", attempt=f"{job}/1", by="alice")
    book.tag(tag)
    assert kept.prune().jobs == ()
    book.tag(replace(tag, attempt=""))
    assert kept.prune().jobs == (job,)


def test_only_an_operator_prunes_and_removes(kept):
    with pytest.raises(Denied):
        kept.upkeep.prune(ALICE, older_than_s=0, keep=0, dry_run=True)
    with pytest.raises(Denied):
        kept.upkeep.remove_environment(ALICE, "eeeeee")
    with pytest.raises(Denied):
        kept.upkeep.collect_environments(ALICE, cache=False)
    with pytest.raises(Denied):
        kept.upkeep.refresh_environments(ALICE)


def test_an_environment_is_named_by_its_first_digits(kept):
    kept.environments.rows = [Row(lock=digest("abcdef1")), Row(lock=digest("abcdef2"))]
    assert kept.upkeep.environment("abcdef1")[0].lock == digest("abcdef1")
    assert kept.upkeep.environment("b3:ABCDEF2")[0].lock == digest("abcdef2")
    for text in ("abcdef", "abc", ""):
        with pytest.raises(InvalidInput):
            kept.upkeep.environment(text)
    with pytest.raises(NotFound):
        kept.upkeep.environment("0123456")


def test_an_environment_that_an_unfinished_job_needs_is_kept():
    kept = Kept(program=never_ends)
    job = kept.job(env=EnvRequest(packages=("numpy",)))
    lock = kept.plant.row(job).env
    kept.environments.rows = [Row(lock=lock), Row(lock=digest("f"))]
    with pytest.raises(Conflict):
        kept.upkeep.remove_environment(ROOT, lock)
    assert kept.upkeep.collect_environments(ROOT, cache=True) == 1000
    assert [row.lock for row in kept.environments.rows] == [lock]
    assert kept.environments.cleared == [True]


def _ok(order):
    from zenkei.engines.inline import succeed

    return succeed(order)
