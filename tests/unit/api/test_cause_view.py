"""What a person sees first of a job that did not end well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.api.test_exits import JOB
from zenkei.api.views import cause_view
from zenkei.model.job import Exit, FailureClass, Job, JobState, StopReason

ENDED = Exit(code=1, rank=2, node="n2", ranks=4, symptom="segfault", tail=("step 1", "bye"))


def job(**fields: Any) -> Job:
    """A job whose attempt failed and that is over."""
    given: dict[str, Any] = {
        "state": JobState.FAILED,
        "stop": StopReason.NONZERO_EXIT,
        "failure": FailureClass.USER_ERROR,
        "exit": ENDED,
        "message": "the message",
    }
    return replace(JOB, **{**given, **fields})


def test_a_failed_job_says_why_who_and_what_to_do():
    found = cause_view(job())
    assert found is not None
    assert found["text"] == "the message"
    assert "PYTHONFAULTHANDLER" in found["hint"]
    assert (found["failure"], found["symptom"]) == ("user_error", "segfault")
    assert (found["rank"], found["node"], found["tail"]) == (2, "n2", ["step 1", "bye"])


def test_a_row_of_an_older_version_without_a_message_has_the_line_all_the_same():
    found = cause_view(job(message=""))
    assert found is not None
    assert found["text"] == "rank 2 on n2 failed first: segmentation fault (exit code 1)"


def test_a_job_that_never_ran_says_why_it_could_not():
    found = cause_view(job(stop=None, exit=None, message="no such package"))
    assert found is not None
    assert (found["text"], found["hint"], found["rank"]) == ("no such package", "", None)


def test_a_job_that_was_sent_back_too_often_says_so():
    fields = {"stop": StopReason.PREEMPTED, "failure": FailureClass.PREEMPTED}
    found = cause_view(job(**fields, message="it was sent back 20 times"))
    assert found is not None
    assert found["text"] == "it was sent back 20 times"


def test_what_ended_well_or_as_somebody_wanted_has_no_cause():
    for stop, failure in (
        (StopReason.COMPLETED, FailureClass.NONE),
        (StopReason.USER_CANCEL, FailureClass.CANCELLED),
        (StopReason.PREEMPTED, FailureClass.PREEMPTED),
    ):
        assert cause_view(job(stop=stop, failure=failure, message="")) is None
    assert cause_view(JOB) is None
