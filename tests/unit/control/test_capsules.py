"""Capsules as their users see them: who may write one, what an import makes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.capsule_maker import FACTS, pin
from tests.comparing import ComparerDouble
from tests.plant import ALICE, BOB, ROOT, Plant
from zenkei import spec as specs
from zenkei.control import capsulefacts
from zenkei.control.capsules import Imported, Place
from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Commit
from zenkei.control.resultuses import assemble_results
from zenkei.lifecycle.evolve import replay
from zenkei.model.access import Principal
from zenkei.model.data import Digest, ResultState
from zenkei.model.dataset import DatasetRequest, DatasetVersion, Permission
from zenkei.model.errors import Conflict, InvalidInput, NotFound
from zenkei.model.ids import JobId
from zenkei.model.job import EnvRequest, Exit, JobSpec, JobState
from zenkei.ports.store import JobFilter
from zenkei.sim.doubles import TreesDouble

SPEC = JobSpec(
    name="digits",
    command="python x.py",
    datasets=(DatasetRequest(name="digits", at="data/digits"),),
)
A, B = (Digest("b3:" + letter * 64) for letter in "ab")
SIZES = {"files": 3, "size_bytes": 30}
ORIGIN = Digest("b3:" + "0" * 64)


class Works:
    """`ports.datasets.DataWorks` that says what it was told to say of the only capsule."""

    def __init__(self) -> None:
        self.orders: list[Mapping[str, Any]] = []
        self.found: dict[str, Any] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def run(
        self, order: Mapping[str, Any], _said: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        self.orders.append(order)
        if order["do"] == "take":
            self.meanwhile()
            return {"capsule": order["capsule"], "origin": ORIGIN}
        return self.found


class Bench:
    """A plant, and a capsule of a job of Ada's in another one."""

    def __init__(self, scratch: Path) -> None:
        self.plant = Plant()
        self.works = Works()
        self.capsules = assemble_results(
            store=self.plant.store,
            commands=self.plant.commands,
            queries=self.plant.queries,
            blobs=self.plant.blobs,
            trees=TreesDouble(),
            comparer=ComparerDouble(),
            works=self.works,
            place=Place(name="here", request={"depot": "/d"}, scratch=str(scratch), zenkei="9"),
        ).capsules
        self.describe()

    def describe(
        self, spec: JobSpec = SPEC, data: list[dict[str, Any]] | None = None, **job: Any
    ) -> None:
        """What the capsule is."""
        data = [pin(A, SIZES)] if data is None else data
        facts = replace(FACTS, spec=specs.digest(spec), record=B, streams=B)
        document = json.loads(json.dumps(capsulefacts.document(facts))) | job
        self.works.found = {
            "capsule": B,
            "job": document,
            "data": data,
            "spec": specs.canonical(spec),
            "versions": {one["digest"]: SIZES for one in data if one["included"]},
            "output": {"files": 2, "size_bytes": 20},
        }

    def take(self, who: Principal = ALICE) -> Imported:
        return self.capsules.take(who, "/c.zip", lambda _: None)

    def pins(self, job: JobId) -> list[tuple[str, int, str]]:
        found = PinCache(self.plant.blobs).get(self.plant.row(job).data)
        return [(one.name, one.number, one.digest) for one in found]

    def dataset(self, name: str, digest: Digest, owner: Principal = ALICE) -> None:
        datasets = self.plant.datasets
        datasets.create(owner, name)
        content = DatasetVersion(dataset="", number=0, digest=digest, files=3, size_bytes=30)
        datasets.committed(owner, datasets.writable(owner, name), content, Commit())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- out -------------------------------------------------------------------------------------------
def test_who_may_not_read_the_data_is_told_that_there_are_none(bench: Bench) -> None:
    bench.dataset("digits", A, owner=BOB)
    bench.plant.datasets.grant(BOB, "digits", "user:alice", Permission.READ)
    job = bench.plant.run(SPEC)
    bench.capsules.write(ALICE, job, "/c.zip", lambda _: None)
    assert [one["name"] for one in bench.works.orders[-1]["data"]] == ["digits"]
    bench.plant.datasets.revoke(BOB, "digits", "user:alice")
    done = len(bench.works.orders)
    for with_data in (True, False):
        with pytest.raises(NotFound) as told:
            bench.capsules.write(ALICE, job, "/c.zip", lambda _: None, with_data=with_data)
        with pytest.raises(NotFound) as usual:
            bench.plant.datasets.show(ALICE, "digits")
        assert (told.value.code, told.value.message) == (usual.value.code, usual.value.message)
    assert len(bench.works.orders) == done


def test_the_name_of_a_dataset_gives_no_right_to_what_it_once_held(bench: Bench) -> None:
    """Bob's is gone, and Alice has made another one of that name."""
    bench.dataset("digits", A, owner=BOB)
    bench.plant.datasets.grant(BOB, "digits", "user:alice", Permission.READ)
    job = bench.plant.run(SPEC)
    bench.plant.datasets.remove(BOB, "digits")
    bench.dataset("digits", B)
    with pytest.raises(NotFound):
        bench.capsules.write(ALICE, job, "/c.zip", lambda _: None)


def test_only_who_sees_a_job_writes_its_capsule_and_only_when_it_is_over(bench: Bench) -> None:
    plain = replace(SPEC, datasets=())
    job = bench.plant.run(plain)
    with pytest.raises(NotFound, match="there is no job"):
        bench.capsules.write(BOB, job, "/c.zip", lambda _: None)
    (held,) = bench.plant.commands.submit(ALICE, plain, hold=True)
    with pytest.raises(Conflict, match="there is no result yet"):
        bench.capsules.write(ALICE, held, "/c.zip", lambda _: None)
    with pytest.raises(InvalidInput, match="not an absolute path"):
        bench.capsules.write(ALICE, job, "c.zip", lambda _: None)


def test_what_is_written_of_a_job_is_what_is_read_of_it(bench: Bench) -> None:
    job = bench.plant.run(replace(SPEC, datasets=()))
    bench.capsules.write(ALICE, job, "/c.zip", lambda _: None)
    told = json.loads(json.dumps(bench.works.orders[-1]["job"]))
    facts = capsulefacts.read({**told, "record": A, "streams": A})
    row = bench.plant.row(job)
    assert (facts.id, facts.owner, facts.state) == (str(job), "alice", JobState.SUCCEEDED)
    assert (facts.exit, facts.attempt, facts.installation) == (row.exit, 1, "here")


# -- in --------------------------------------------------------------------------------------------
def test_an_import_makes_a_job_that_is_over_and_belongs_to_who_asked(bench: Bench) -> None:
    found = bench.take()
    row = bench.plant.row(found.job)
    assert (row.owner, row.state, row.name, row.attempt) == (
        "alice",
        JobState.SUCCEEDED,
        "digits",
        1,
    )
    assert (row.origin, row.seed, row.exit) == (ORIGIN, 7, Exit(code=0, rank=0))
    assert replay(bench.plant.store.events(job=found.job)) == row
    result = bench.plant.queries.result(ALICE, found.job)
    assert (result.state, result.record, result.files) == (ResultState.SEALED, B, 2)
    with pytest.raises(NotFound):
        bench.plant.queries.row(BOB, found.job)
    assert bench.plant.datasets.show(ALICE, "digits").dataset.owner == "alice"
    with pytest.raises(NotFound):
        bench.plant.datasets.show(BOB, "digits")
    origin = json.loads(bench.works.orders[-1]["origin"])
    assert (origin["job"], origin["owner"], origin["capsule"]) == ("42", "ada", B)


def test_an_imported_job_is_run_again_with_the_same_data_and_seed(bench: Bench) -> None:
    job = bench.take().job
    (again,) = bench.plant.commands.rerun(ALICE, job)
    bench.plant.settle()
    row = bench.plant.row(again)
    assert (row.state, row.seed, row.rerun_of) == (JobState.SUCCEEDED, 7, str(job))
    assert row.data == bench.plant.row(job).data
    assert bench.pins(again) == [("digits", 1, A)]


def test_the_same_capsule_twice_is_one_job(bench: Bench) -> None:
    first = bench.take()
    again = bench.take()
    assert (again.job, first.is_new, again.is_new) == (first.job, True, False)
    assert [order["do"] for order in bench.works.orders] == ["look", "take", "look"]
    other = bench.take(BOB)
    assert (other.is_new, other.job == first.job) == (True, False)


def test_a_dataset_with_the_same_content_is_used_whatever_its_name(bench: Bench) -> None:
    bench.dataset("mine", A)
    found = bench.take()
    assert (found.datasets, bench.pins(found.job)) == ({"digits": "mine"}, [("mine", 1, A)])
    assert [rows.dataset.name for rows in bench.plant.datasets.list(ALICE)] == ["mine"]


def test_a_name_that_is_taken_by_other_content_is_left_alone(bench: Bench) -> None:
    bench.dataset("digits", B)
    found = bench.take()
    assert bench.pins(found.job) == [("digits-imported-aaaaaaaa", 1, A)]
    assert bench.plant.datasets.find(ALICE, "digits").digest == B


def test_a_name_that_is_taken_meanwhile_is_left_alone_too(bench: Bench) -> None:
    bench.works.meanwhile = lambda: bench.dataset("digits", B, owner=BOB)
    found = bench.take()
    assert bench.pins(found.job) == [("digits-imported-aaaaaaaa", 1, A)]
    assert len(bench.plant.store.jobs(_all()).items) == 1


def test_a_job_finds_its_data_under_the_name_that_its_program_knows(bench: Bench) -> None:
    bench.dataset("digits", B)
    job = bench.take().job
    (again,) = bench.plant.commands.rerun(ALICE, job)
    names = []
    bench.plant.engine.prepare = lambda artefact, progress: None  # type: ignore[method-assign]
    before = bench.plant.engine.launch

    def launch(order: Any) -> None:
        names.append([(one.name, one.digest) for one in order.data])
        before(order)

    bench.plant.engine.launch = launch  # type: ignore[method-assign]
    bench.plant.settle()
    assert names == [[("digits", A)]]
    assert bench.plant.state(again) is JobState.SUCCEEDED


def test_data_that_are_missing_are_named_and_the_job_cannot_run_again(bench: Bench) -> None:
    bench.describe(data=[pin(A, SIZES, included=False)])
    found = bench.take()
    assert found.missing == (A,)
    assert json.loads(bench.works.orders[-1]["origin"])["missing"] == [A]
    with pytest.raises(Conflict, match="imported without its data") as told:
        bench.plant.commands.rerun(ALICE, found.job)
    assert f"zenkei result show {found.job}" in told.value.hint
    with pytest.raises(Conflict):
        bench.capsules.write(ALICE, found.job, "/c.zip", lambda _: None)


def test_a_digest_alone_opens_no_dataset_of_somebody_else(bench: Bench) -> None:
    bench.dataset("secret", A, owner=BOB)
    bench.describe(data=[pin(A, SIZES, included=False)])
    assert bench.take().missing == (A,)
    bench.plant.datasets.grant(BOB, "secret", "user:alice", Permission.READ)
    found = bench.take()
    assert (found.missing, found.is_new) == ((), True)
    assert bench.pins(found.job) == [("secret", 1, A)]


def test_content_that_came_along_is_the_importers_own(bench: Bench) -> None:
    bench.dataset("digits", A, owner=BOB)
    found = bench.take()
    assert bench.pins(found.job) == [("digits-imported-aaaaaaaa", 1, A)]


HOSTILE: list[dict[str, Any]] = [
    {"state": "running"},
    {"state": "odd"},
    {"attempt": 0},
    {"attempt": True},
    {"attempt": 1 << 60},
    {"params": {"a": 1}},
    {"params": []},
    {"priority": "1"},
    {"seed": -1},
    {"message": "x" * 1_000_000},
    {"message": "a\0b"},
    {"nodes": "n1"},
    {"exit": {"code": "1"}},
    {"exit": []},
    {"ended_us": -1},
    {"ended_us": 1e300},
    {"record": "b3:odd"},
    {"stop": "because"},
    {"owner": None},
]


@pytest.mark.parametrize("job", HOSTILE, ids=str)
def test_words_about_the_job_that_cannot_be_are_refused(bench: Bench, job: dict[str, Any]) -> None:
    bench.describe(**job)
    with pytest.raises(InvalidInput, match="this capsule is refused"):
        bench.take()
    assert [order["do"] for order in bench.works.orders] == ["look"]
    assert bench.plant.store.jobs(_all()).items == ()


def test_a_spec_that_is_another_one_is_refused(bench: Bench) -> None:
    bench.works.found["job"]["spec"] = A
    with pytest.raises(InvalidInput, match="does not have its digest"):
        bench.take()


@pytest.mark.parametrize(
    "line",
    [
        {"name": "../x"},
        {"at": "/etc"},
        {"at": "data/words"},
        {"files": 4},
        {"size_bytes": 31},
        {"number": -1},
        {"digest": "odd"},
        {"split": {"parts": [["train", 1.0]], "seed": 0, "by": "file"}},
        {"split": 3},
        {"files": None},
    ],
    ids=str,
)
def test_a_list_of_datasets_that_does_not_fit_is_refused(
    bench: Bench, line: dict[str, Any]
) -> None:
    bench.describe(data=[{**pin(A, SIZES), **line}])
    with pytest.raises(InvalidInput, match="this capsule is refused"):
        bench.take()


def test_data_that_the_spec_does_not_ask_for_are_refused(bench: Bench) -> None:
    bench.describe(replace(SPEC, datasets=()))
    with pytest.raises(InvalidInput, match="not what its spec asks for"):
        bench.take()
    bench.describe(data=[])
    with pytest.raises(InvalidInput, match="not what its spec asks for"):
        bench.take()


def test_an_environment_without_a_lock_is_refused(bench: Bench) -> None:
    bench.describe(replace(SPEC, env=EnvRequest(packages=("numpy",))))
    with pytest.raises(InvalidInput, match="its environment has no lock"):
        bench.take()


def test_operators_take_what_nobody_owns_any_more(bench: Bench) -> None:
    bench.dataset("digits", A)
    job = bench.plant.run(SPEC)
    bench.plant.datasets.remove(ALICE, "digits")
    with pytest.raises(NotFound):
        bench.capsules.write(ALICE, job, "/c.zip", lambda _: None)
    bench.capsules.write(ROOT, job, "/c.zip", lambda _: None)


def _all() -> JobFilter:
    return JobFilter()
