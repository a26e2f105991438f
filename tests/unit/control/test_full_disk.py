"""A full disk is waited for, however long; another trouble of a place is not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.plant import ALICE, Plant
from zenkei.model.errors import TemporaryEngineError, Unavailable
from zenkei.model.job import EnvRequest, FailureClass, JobSpec, JobState
from zenkei.ports.builder import Builder

NEEDS_BUILD = JobSpec(name="b", command="x", env=EnvRequest(packages=("numpy",)))


def full() -> Exception:
    return Unavailable("disk-full", "no space left")


def full_through_an_engine() -> Exception:
    error = TemporaryEngineError("no space left")
    error.__cause__ = full()
    return error


class FailingBuilder:
    """Raises until `well`."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.well = False

    def lock(self, *_: Any) -> Any:
        if self.well:
            raise Unavailable("index-unreachable", "another trouble")
        raise self.error


@pytest.mark.parametrize("error", [full(), full_through_an_engine()], ids=["itself", "engine"])
def test_a_full_disk_while_preparing_is_waited_for(error):
    builder = FailingBuilder(error)
    plant = Plant(builder=cast("Builder", builder))
    (job,) = plant.commands.submit(ALICE, NEEDS_BUILD)
    for _ in range(30):
        plant.settle(61)
    assert plant.state(job) is JobState.PREPARING
    assert "no space left" in plant.progress[-1]
    builder.well = True
    for _ in range(2):
        plant.settle(61)
    assert plant.row(job).failure is FailureClass.INFRASTRUCTURE
