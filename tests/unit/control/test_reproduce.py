"""Verdicts on repeated runs: who may ask, when there is one, what is kept with whom."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.comparing import ComparerDouble
from tests.plant import ALICE, BOB, ROOT, Plant, never_ends
from tests.served import NoWorks
from zenkei.control.capsules import Place
from zenkei.control.resultuses import assemble_results
from zenkei.model.data import Digest, Entry, EntryKind, Manifest
from zenkei.model.errors import Conflict, InvalidInput, NotFound, PermanentEngineError
from zenkei.model.ids import JobId
from zenkei.model.job import EnvRequest, Exit, JobSpec
from zenkei.model.verdict import Comparison, Difference, Finding, Tolerance, Verdict, Verification
from zenkei.sim.doubles import TreesDouble

SPEC = JobSpec(name="n", command="x")
EXACT = Tolerance()
CLOSE = Tolerance(everywhere=1e-6, named=(("loss", 0.1),))
FIRST = Difference(kind="metric", name="loss", step=7, rank=0, a="1.0", b="2.0")


class Trees(TreesDouble):
    """Every result is the file with findings."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def manifest(self, tree: Digest) -> Manifest:
        return Manifest(digest=tree, entries=(self.entry,), size_bytes=1)


class Bench:
    """A plant with all use-cases on results; `twice()` is a job and one that repeats it."""

    def __init__(self, program=None) -> None:
        self.locks: Iterator[Digest] = iter(())
        self.plant = Plant(builder=self, **({"program": program} if program else {}))
        self.plant.engine.outputs = lambda attempt: ("/outputs",)  # type: ignore[method-assign]
        self.comparer = ComparerDouble()
        self.trees = Trees(Entry(path="x", kind=EntryKind.FILE))
        self.uses = assemble_results(
            store=self.plant.store,
            commands=self.plant.commands,
            queries=self.plant.queries,
            blobs=self.plant.blobs,
            trees=self.trees,
            comparer=self.comparer,
            works=NoWorks(),
            place=Place(name="here", request={}, scratch="/nowhere", zenkei="test"),
        )

    def lock(self, _request: EnvRequest, _progress: Callable[[str], None]) -> Digest:
        """`ports.builder.Builder`: environments of packages that a test has said."""
        return next(self.locks)

    def realise(self, lock: Digest, _progress: Callable[[str], None]) -> str:
        return f"/envs/{lock}"

    def twice(self, spec: JobSpec = SPEC) -> tuple[JobId, JobId]:
        first = self.plant.run(spec)
        (second,) = self.plant.commands.rerun(ALICE, first)
        self.plant.settle()
        return first, second

    def judge(self, a: JobId, b: JobId, tolerance: Tolerance = EXACT) -> Verification:
        found = self.uses.reproduction.judge(ALICE, a, b, tolerance)
        assert isinstance(found, Verification)
        return found


def test_a_verdict_is_kept_with_both_jobs_with_its_tolerance_and_author():
    bench = Bench()
    bench.comparer.answer = Comparison(verdict=Verdict.DIFFERENT, first=FIRST)
    a, b = bench.twice()
    kept = bench.judge(a, b, CLOSE)
    assert (kept.job, kept.against, kept.by, kept.tolerance) == (str(a), str(b), "alice", CLOSE)
    assert kept.comparison.first == FIRST
    for job in (a, b):
        assert bench.uses.reproduction.verdicts(ALICE, job) == (kept,)


def test_jobs_that_leave_nothing_are_identical_with_a_word_on_how_little_that_says():
    bench = Bench()
    assert "nothing was compared" in bench.judge(*bench.twice()).comparison.notes[0]
    bench.comparer.answer = Comparison(verdict=Verdict.IDENTICAL, metrics=1)
    assert bench.judge(*bench.twice()).comparison.notes == ()


def test_all_attempts_of_all_ranks_are_compared():
    bench = Bench()
    a, b = bench.twice(replace(SPEC, resources=replace(SPEC.resources, ranks=2)))
    bench.judge(a, b, CLOSE)
    left, right, tolerance, looked = bench.comparer.asked[0]
    assert set(left.metrics) == set(right.metrics) == {(0, 1), (1, 1)}
    assert (tolerance, looked) == (CLOSE, None)


def test_jobs_that_end_otherwise_are_different_and_nothing_is_read():
    ends = iter([Exit(code=3), Exit(code=4)])
    bench = Bench(program=lambda _order: next(ends))
    found = bench.judge(*bench.twice()).comparison
    assert found.verdict is Verdict.DIFFERENT
    assert found.first is not None
    assert (found.first.kind, found.first.a, found.first.b) == ("end", "exit code 3", "exit code 4")
    assert bench.comparer.asked == []


def test_jobs_that_fail_alike_are_compared():
    bench = Bench(program=lambda _order: Exit(code=3))
    assert bench.judge(*bench.twice()).comparison.verdict is Verdict.IDENTICAL


def test_a_repetition_that_fails_gives_no_verdict():
    ends = iter([Exit(code=0), Exit(code=4)])
    bench = Bench(program=lambda _order: next(ends))
    a, b = bench.twice()
    with pytest.raises(Conflict, match=f"job {b}, which repeats job {a}, failed: exit code 4"):
        bench.judge(a, b)
    assert bench.uses.reproduction.verdicts(ALICE, a) == ()


@pytest.mark.parametrize("first_ran", [True, False])
def test_a_job_that_could_not_be_launched_gives_no_verdict(first_ran):
    ends = iter([Exit(code=3)] if first_ran else [])

    def program(_order):
        for end in ends:
            return end
        raise PermanentEngineError("no such secret")

    bench = Bench(program=program)
    a, b = bench.twice()
    with pytest.raises(Conflict, match=f"job {b if first_ran else a} never ran"):
        bench.judge(a, b)
    assert bench.uses.reproduction.verdicts(ALICE, a) == ()


def test_what_is_not_over_was_cancelled_or_is_the_same_job_gives_no_verdict():
    bench = Bench(program=never_ends)
    a, b = bench.twice()
    with pytest.raises(Conflict, match="nothing to compare yet"):
        bench.judge(a, b)
    bench.plant.commands.cancel(ALICE, a)
    bench.plant.commands.cancel(ALICE, b)
    bench.plant.settle(60)
    with pytest.raises(Conflict, match="was cancelled"):
        bench.judge(a, b)
    with pytest.raises(InvalidInput, match="with itself"):
        bench.judge(a, a)


def test_a_stranger_learns_of_neither_job():
    bench = Bench()
    a, b = bench.twice()
    with pytest.raises(NotFound, match=f"there is no job {a}"):
        bench.uses.reproduction.judge(BOB, a, b, EXACT)
    with pytest.raises(NotFound, match=f"there is no job {a}"):
        bench.uses.reproduction.verdicts(BOB, a)


# -- checkpoints of PyTorch ------------------------------------------------------------------------


def with_torch(bench: Bench) -> tuple[JobId, JobId]:
    """Jobs in an environment with PyTorch, that leave a checkpoint which is not the same."""
    lock = b'# zenkei-lock {"python": "3.11.7"}\ntorch==2.5 --hash=x\n'
    digest = bench.plant.blobs.put(lock)
    bench.locks = iter([digest] * 9)
    bench.comparer.answer = Comparison(verdict=Verdict.IDENTICAL, torch=("model.pt",))
    return bench.twice(replace(SPEC, env=EnvRequest(packages=("torch",))))


def test_a_job_in_the_same_environment_looks_into_checkpoints():
    bench = Bench()
    a, b = with_torch(bench)
    looking = bench.uses.reproduction.judge(ALICE, a, b, CLOSE)
    assert isinstance(looking, JobId)
    row = bench.plant.row(looking)
    assert (row.code, row.env) == (bench.comparer.tree, bench.plant.row(b).env)
    assert bench.uses.reproduction.judge(ALICE, a, b, CLOSE) == looking, "one job for one question"
    seen = {"model.pt": {"verdict": "within_tolerance", "where": "w[1]"}}
    content = json.dumps(seen).encode()
    bench.trees.entry = Entry(
        path="findings.json",
        kind=EntryKind.FILE,
        size_bytes=len(content),
        digest=bench.plant.blobs.put(content),
    )
    bench.plant.settle()
    bench.comparer.answer = Comparison(verdict=Verdict.WITHIN, torch=("model.pt",))
    assert bench.judge(a, b, CLOSE).comparison.verdict is Verdict.WITHIN
    assert bench.comparer.asked[-1][3] == {
        "model.pt": Finding(verdict=Verdict.WITHIN, where="w[1]")
    }


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"m": 1}', b'{"m": {"verdict": "fine"}}'])
def test_findings_of_another_form_count_as_not_looked_at(content):
    bench = Bench()
    a, b = with_torch(bench)
    bench.uses.reproduction.judge(ALICE, a, b, EXACT)
    digest = bench.plant.blobs.put(content)
    bench.trees.entry = Entry(path="findings.json", kind=EntryKind.FILE, digest=digest)
    bench.plant.settle()
    bench.judge(a, b)
    assert bench.comparer.asked[-1][3] == {}


def test_without_pytorch_checkpoints_are_compared_by_their_bytes_and_that_is_said():
    bench = Bench()
    bench.comparer.answer = Comparison(verdict=Verdict.DIFFERENT, torch=("model.pt",))
    found = bench.judge(*bench.twice()).comparison
    assert "no environment with PyTorch" in found.notes[0]
    assert bench.comparer.asked[-1][3] == {}


# -- names and removal -----------------------------------------------------------------------------


def test_a_named_result_is_neither_removed_nor_taken_by_a_stranger():
    bench = Bench()
    job = bench.plant.run(SPEC)
    commands = bench.uses.commands
    assert commands.tag(ALICE, job, 0, "best").attempt == f"{job}/1"
    with pytest.raises(Conflict, match="has the name best"):
        commands.remove(ALICE, job, 0)
    with pytest.raises(NotFound):
        commands.tag(BOB, job, 0, "mine")
    with pytest.raises(NotFound):
        commands.untag(BOB, "", "best")
    assert commands.tags(BOB) == ()
    assert [tag.tag for tag in commands.tags_of(ALICE, job)] == ["best"]
    commands.untag(ALICE, "", "best")
    assert commands.tags(ALICE) == ()


def test_a_removed_result_keeps_its_record_and_cannot_be_compared():
    bench = Bench()
    a, b = bench.twice()
    record = bench.plant.queries.record(ALICE, a)
    gone = bench.uses.commands.remove(ALICE, a, 0)
    assert (gone.state, gone.output, gone.reason) == ("removed", "", "removed by alice")
    assert bench.plant.queries.record(ALICE, a) == record
    with pytest.raises(Conflict, match="is removed"):
        bench.judge(a, b)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 101, "\N{SNOWMAN}"])
def test_names_are_words(name):
    bench = Bench()
    job = bench.plant.run(SPEC)
    with pytest.raises(InvalidInput):
        bench.uses.commands.tag(ALICE, job, 0, name)


# -- diff and lineage ------------------------------------------------------------------------------


def test_what_explains_most_comes_first():
    bench = Bench()
    a = bench.plant.run(replace(SPEC, seed=1, deterministic=True))
    b = bench.plant.run(replace(SPEC, seed=2, command="y"))
    found = bench.uses.differences.diff(ALICE, a, b)
    assert list(found.sections) == ["seed", "spec"]
    assert [(c.name, c.a, c.b) for c in found.sections["seed"]] == [("seed", "1", "2")]
    assert [c.name for c in found.sections["spec"]] == ["command", "deterministic"]
    assert "environment" in found.same
    assert found.left is not None


def test_packages_that_reckon_come_before_the_others():
    bench = Bench()
    locks = iter(
        bench.plant.blobs.put(b'# zenkei-lock {"python": "3.11.7"}\n' + body)
        for body in (b"attrs==1\nnumpy==2.0\nsame==1\n", b"numpy==2.1\nsame==1\nzip==3\n")
    )
    bench.locks = locks
    a = bench.plant.run(replace(SPEC, seed=1, env=EnvRequest(packages=("a",))))
    b = bench.plant.run(replace(SPEC, seed=1, env=EnvRequest(packages=("a",))))
    changes = bench.uses.differences.diff(ALICE, a, b).sections["environment"]
    assert [(c.name, c.a, c.b) for c in changes] == [
        ("numpy", "2.0", "2.1"),
        ("attrs", "1", ""),
        ("zip", "", "3"),
    ]


def test_jobs_that_have_not_run_are_compared_as_far_as_they_are_known():
    bench = Bench(program=never_ends)
    a, b = bench.twice()
    found = bench.uses.differences.diff(ALICE, a, b)
    assert found.sections == {}
    assert set(found.unknown) == {"hardware", "results"}
    assert found.left is None


def test_lineage_leads_from_the_result_to_the_job_that_it_repeats_and_its_verdict():
    bench = Bench()
    a, b = bench.twice()
    bench.judge(a, b)
    graph = bench.uses.lineage.lineage(ALICE, b)
    assert graph.root == f"result {b}"
    words = {(e.source, e.target): e.word for e in graph.edges}
    assert words[(f"job {b}", f"result {b}")] == "sealed"
    said = [e.word for e in graph.edges if (e.source, e.target) == (f"job {a}", f"job {b}")]
    assert said == ["repeated by", "verified: identical"]


def test_a_chain_of_repetitions_is_followed_to_its_beginning():
    bench = Bench()
    job = bench.plant.run(SPEC)
    for _ in range(30):
        (job,) = bench.plant.commands.rerun(ALICE, job)
    graph = bench.uses.lineage.lineage(ALICE, job)
    assert not graph.cut
    assert len(graph.vertices) >= 31


def test_operators_may_name_what_others_made():
    bench = Bench()
    job = bench.plant.run(SPEC)
    assert bench.uses.commands.tag(ROOT, job, 0, "best").by == "root"
