"""Ids: what people type, and keys that sort like ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.model.errors import InvalidInput
from zenkei.model.ids import MAX_MEMBERS, WHOLE, AttemptId, JobId

numbers = st.integers(min_value=0, max_value=10**12 - 1)
members = st.integers(min_value=WHOLE, max_value=MAX_MEMBERS - 2)
jobs = st.builds(JobId, numbers, members)


@given(jobs)
def test_text_and_key_lead_back_to_the_id(job: JobId) -> None:
    assert JobId.parse(str(job)) == job
    assert JobId.from_key(job.key) == job


@given(jobs, jobs)
def test_keys_sort_like_ids(first: JobId, second: JobId) -> None:
    assert (first.key < second.key) == (first < second)


@given(jobs, st.integers(min_value=1, max_value=999_999))
def test_an_attempt_id_reads_back(job: JobId, number: int) -> None:
    assert AttemptId.parse(str(AttemptId(job, number))) == AttemptId(job, number)


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.", ".1", "1.2.3", "1/2", "1" * 13, "1.9999999", "１", "1\n", " 1"]
)
def test_what_is_no_job_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a job id") as refusal:
        JobId.parse(text)
    assert "42.7" in refusal.value.hint


@pytest.mark.parametrize("text", ["42", "42/", "/1", "42/x", "42/1/1", "42.1.1/1"])
def test_what_is_no_attempt_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an attempt id"):
        AttemptId.parse(text)
