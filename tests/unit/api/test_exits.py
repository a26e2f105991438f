"""Which exit code a finished job has for a shell, and whose it is."""

from dataclasses import replace

import pytest

from zenkei.api.exits import exit_of
from zenkei.api.views import array_exit
from zenkei.model.data import Digest
from zenkei.model.ids import JobId
from zenkei.model.job import Exit, FailureClass, Job, JobState, StopReason

JOB = Job(
    id=JobId(1),
    state=JobState.RUNNING,
    version=3,
    spec=Digest(""),
    project="default",
    owner="ann",
    name="job",
    queue="default",
    priority=0,
    submitted_us=1,
    changed_us=1,
)


def failed(stop: StopReason, **exit_: int) -> Job:
    return replace(JOB, state=JobState.FAILED, stop=stop, exit=Exit(**exit_))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "code", "by"),
    [
        (replace(JOB, state=JobState.SUCCEEDED, stop=StopReason.COMPLETED), 0, "job"),
        (failed(StopReason.NONZERO_EXIT, code=3), 3, "job"),
        (failed(StopReason.NONZERO_EXIT, signal=11), 139, "job"),
        (failed(StopReason.OUT_OF_MEMORY, signal=9), 137, "zenkei"),
        (failed(StopReason.TIME_LIMIT, signal=15), 124, "zenkei"),
        (failed(StopReason.NODE_LOST), 75, "zenkei"),
        (failed(StopReason.LAUNCH_FAILED), 75, "zenkei"),
        (replace(JOB, state=JobState.CANCELLED), 130, "zenkei"),
        (replace(JOB, state=JobState.FAILED, failure=FailureClass.USER_ERROR), 2, "zenkei"),
        (replace(JOB, state=JobState.FAILED, failure=FailureClass.INFRASTRUCTURE), 75, "zenkei"),
    ],
)
def test_a_finished_job_has_a_code_and_an_owner_of_it(job, code, by):
    found = exit_of(job)
    assert found is not None
    assert (found["code"], found["by"]) == (code, by)


@pytest.mark.parametrize("state", [s for s in JobState if not s.terminal])
def test_an_unfinished_job_has_none(state):
    assert exit_of(replace(JOB, state=state)) is None


@pytest.mark.parametrize("stop", StopReason)
def test_no_failed_job_looks_like_a_success(stop):
    for ended in (Exit(), Exit(code=0), Exit(code=7), Exit(signal=9)):
        found = exit_of(replace(JOB, state=JobState.FAILED, stop=stop, exit=ended))
        assert found is not None
        assert 0 < found["code"] < 256


def test_an_array_ends_like_its_first_member_that_failed():
    well = replace(JOB, id=JobId(1, 0), state=JobState.SUCCEEDED)
    ill = replace(failed(StopReason.NONZERO_EXIT, code=4), id=JobId(1, 1))
    worse = replace(failed(StopReason.NONZERO_EXIT, code=5), id=JobId(1, 2))
    assert array_exit((well, ill, replace(JOB, id=JobId(1, 2)))) is None
    found = array_exit((well, ill, worse))
    assert found is not None
    assert found["code"] == 4
    assert "1.1" in found["text"]
    whole = array_exit((well, well))
    assert whole is not None
    assert whole["code"] == 0
