"""What the Pythons of a job said when they started, and what a hook there cannot reach."""

from dataclasses import replace

from zenkei.control.starts import starts_of
from zenkei.model.errors import PermanentEngineError
from zenkei.model.job import EnvRequest, JobSpec

SEEDED = JobSpec(name="n", command="x", seed=7)
LINES = (
    b"start\t12\t3.11.7\tcpython\nseeded\t12\thash\t7\nseeded\t12\tnumpy\t7\n"
    b"switch\t12\ttorch.use_deterministic_algorithms\nversion\t12\tnumpy\t2.1\n"
)


def test_what_ranks_have_said_is_summed_up():
    found = starts_of(lambda _rank: LINES, 2)
    assert found.document(SEEDED) == {
        "ranks": 2,
        "ranks_heard": 2,
        "seeded": ["hash", "numpy"],
        "switches": ["torch.use_deterministic_algorithms"],
        "not_reached": [],
    }
    assert found.imported == {"numpy": "2.1"}


def test_a_rank_without_any_python_is_told():
    found = starts_of(lambda rank: b"" if rank else LINES, 3)
    (told,) = found.not_reached(SEEDED)
    assert told.startswith("2 of 3 ranks: no Python has said that it started")
    assert found.not_reached(replace(SEEDED, seed=None)) == ()


def test_what_could_not_be_set_and_who_has_no_global_seed_are_told():
    lines = b"failed\t1\ttorch\tAttributeError: no seed\nversion\t1\tjax\t0.4\n"
    told = starts_of(lambda _rank: lines, 1).not_reached(SEEDED)
    assert told[0] == "could not be set: torch (AttributeError: no seed)"
    assert "JAX has no global seed" in told[1]


def test_a_hook_that_the_job_has_switched_off_reaches_nothing():
    spec = replace(SEEDED, env=EnvRequest(vars={"ZENKEI_START": "off"}))
    (told,) = starts_of(lambda _rank: b"", 1).not_reached(spec)
    assert "switched the start-up hook off" in told


def test_lines_of_a_hostile_job_are_bounded_and_never_trouble():
    def read(rank: int) -> bytes:
        if rank:
            raise PermanentEngineError("gone")
        return b"version\t1\t" + b"x" * 10_000 + b"\t1\n\xff\xfe\n\t\nseeded\nversion\t1\n"

    found = starts_of(read, 1000)
    assert (found.asked, found.heard) == (64, 1)
    assert all(len(name) <= 800 for name in found.imported)
