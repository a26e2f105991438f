"""What a place says while a job is prepared: refused before anything is allocated, with a hint."""

import pytest

from tests.plant import ALICE, Plant
from zenkei.model.errors import NotAvailable, PermanentEngineError
from zenkei.model.event import EventKind
from zenkei.model.job import FailureClass, JobSpec, JobState

SPEC = JobSpec(name="n", command="x")


def refusal() -> PermanentEngineError:
    error = PermanentEngineError("launcher `mpi` cannot start")
    error.__cause__ = NotAvailable("launcher-missing", "cannot start", hint="add `mpich`")
    return error


@pytest.mark.parametrize("error", [refusal(), refusal().__cause__], ids=["engine", "builder"])
def test_a_job_that_a_place_refuses_fails_without_an_attempt(monkeypatch, error):
    plant = Plant()

    def check(*_args: object) -> None:
        raise error

    monkeypatch.setattr(plant.engine, "check", check)
    (job,) = plant.commands.submit(ALICE, SPEC)
    plant.settle()
    row = plant.row(job)
    assert (row.state, row.failure) == (JobState.FAILED, FailureClass.USER_ERROR)
    assert row.message.endswith("cannot start\nhint: add `mpich`")
    kinds = [event.kind for event in plant.store.events(job=job)]
    assert kinds == [EventKind.SUBMITTED, EventKind.PREPARE_FAILED]


def test_a_place_is_asked_with_what_the_job_asks_for(monkeypatch):
    plant, asked = Plant(), []
    monkeypatch.setattr(plant.engine, "check", lambda *args: asked.append(args))
    (job,) = plant.commands.submit(ALICE, SPEC)
    plant.settle()
    assert asked == [(SPEC, {}, "")]
    assert plant.row(job).attempt == 1
