"""What is stored comes back as it was, hostile text included; old event logs replay."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import allocate, do, exited, node, part, put, released, submit
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.evolve import evolve
from zenkei.model.data import Result, ResultState
from zenkei.model.event import (
    BODY_TYPES,
    Cancelled,
    Effect,
    EffectKind,
    EventKind,
    Rejected,
    Started,
)
from zenkei.model.ids import JobId
from zenkei.model.job import HoldReason, JobState, StopReason
from zenkei.ports.store import Changes
from zenkei.store import codec
from zenkei.store.memory import MemoryStore

TEXT = st.text(st.characters(codec=None), max_size=30)


def lived_job() -> Any:
    """A row with everything set, and its events."""
    store = MemoryStore(lambda: 1_700_000_000_000_000)
    put(store, Changes(nodes=[node()]))
    (job,) = submit(store)
    do(store, job, c.Hold(), c.Unhold(reason=HoldReason.USER), c.Prepare())
    do(store, job, allocate(part("n1", 0, 1)), c.ReportStarted(attempt=1))
    displaced = c.Stop(attempt=1, reason=StopReason.PREEMPTED, favoured="7", why="reclaim")
    do(store, job, displaced, exited(reason=StopReason.NONZERO_EXIT), released(retries=2))
    do(store, job, c.Claim(cluster="local", parts=(part("n1", 3),), until_us=9))
    return store.job(job), store.events()


@settings(deadline=None)
@given(name=TEXT, message=TEXT, value=TEXT)
def test_a_job_comes_back_as_it_was(name, message, value):
    job, _ = lived_job()
    job = replace(
        job, name=name, message=message, params={value: name}, holds=frozenset(HoldReason)
    )
    row = (job.id.key, job.version, str(job.state))
    assert codec.decode_job(*row, codec.encode_birth(job), codec.encode_standing(job)) == job


def test_events_come_back_as_they_were():
    _, events = lived_job()
    assert len(events) == 10
    for event in events:
        assert codec.event_of_line(codec.event_line(event)) == event


@given(TEXT)
def test_a_column_is_text_that_any_database_takes(text):
    safe = codec.column(text)
    safe.encode("utf-8")
    assert "\0" not in safe
    if text.isprintable():
        assert safe == text


def test_effects_nodes_and_results_come_back():
    effect = Effect(
        kind=EffectKind.STOP,
        key="stop:1\0",
        job=JobId(7, 3),
        attempt=2,
        reason=StopReason.PREEMPTED,
        grace_s=1.5,
        id=9,
        tries=4,
    )
    assert codec.decode_effect(9, effect.job.key, 4, codec.encode_effect(effect)) == effect
    odd = replace(node(gpus=2), labels={"a": "\udc80"}, topology=("x", "y"), blocked=(1,))
    assert codec.decode_node(codec.loads(codec.dumps(odd))) == odd
    result = Result(attempt="42/1", state=ResultState.INCOMPLETE, reason="disk full")
    assert codec.decode_result(codec.loads(codec.dumps(result))) == result


def test_what_has_no_place_in_a_row_is_refused():
    for value in (object(), {"a": {1, 2}}, b"bytes"):
        with pytest.raises(TypeError):
            codec.dumps(value)


def test_an_older_body_is_upgraded_when_it_is_read(monkeypatch):
    monkeypatch.setattr(codec, "TYPE_VERSION", 2)
    monkeypatch.setitem(
        codec.UPGRADES, (EventKind.REJECTED, 1), lambda old: {"message": old["reason"]}
    )
    event = codec.decode_event(1, JobId(1).key, 2, 5, "rejected", 1, '{"reason":"old"}')
    assert event.body == Rejected(message="old")
    event = codec.decode_event(1, JobId(1).key, 2, 5, "rejected", 2, '{"message":"new"}')
    assert event.body == Rejected(message="new")


def test_events_with_the_same_text_are_what_their_rows_say():
    rows = [
        (1, JobId(1).key, 4, 5, "started", 1, '{"attempt":1}'),
        (2, JobId(2, 3).key, 4, 6, "started", 1, '{"attempt":1}'),
        (3, JobId(1).key, 5, 7, "cancelled", 1, '{"by":"a"}'),
        (4, JobId(1).key, 6, 8, "started", 1, '{"attempt":2}'),
    ]
    events = [codec.decode_event(*row) for row in rows]
    assert [(event.job, event.seq, event.at_us) for event in events] == [
        (JobId(1), 1, 5),
        (JobId(2, 3), 2, 6),
        (JobId(1), 3, 7),
        (JobId(1), 4, 8),
    ]
    assert [event.body for event in events] == [
        Started(attempt=1),
        Started(attempt=1),
        Cancelled(by="a"),
        Started(attempt=2),
    ]


def golden(repo):
    lines = (repo / "tests/golden/events-v1.jsonl").read_text(encoding="utf-8").splitlines()
    return [codec.event_of_line(line) for line in lines]


def test_the_golden_log_has_every_kind_of_event(repo):
    assert {event.kind for event in golden(repo)} == set(BODY_TYPES)


def test_the_golden_log_of_version_1_replays_to_the_rows_it_always_made(repo):
    jobs: Any = {}
    for event in golden(repo):
        jobs[event.job] = evolve(jobs.get(event.job), event)
    found = {
        str(job.id): (job.state, job.version, job.attempt, job.stop, job.counted, job.message)
        for job in jobs.values()
    }
    assert found == {
        "1": (JobState.SUCCEEDED, 10, 2, StopReason.COMPLETED, 1, ""),
        "2": (JobState.FAILED, 2, 0, None, 0, "no wheel for torch 9"),
        "3": (JobState.FAILED, 2, 0, None, 0, "job 2 failed"),
        "4.0": (JobState.CANCELLED, 6, 1, StopReason.USER_CANCEL, 0, ""),
        "4.1": (JobState.CANCELLED, 4, 0, None, 0, ""),
        "5": (JobState.SUCCEEDED, 18, 2, StopReason.COMPLETED, 0, ""),
        "6": (JobState.PENDING, 8, 1, StopReason.PREEMPTED, 0, ""),
        "8": (JobState.FAILED, 1, 2, StopReason.NONZERO_EXIT, 0, "exit code 3"),
    }
    assert (jobs[JobId(5)].step, jobs[JobId(5)].saving) == (100, ())
    first = jobs[JobId(1)]
    assert first.params == {"lr": "0.1"}
    assert (first.exit.code, first.exit.node, first.env) == (0, "n1", "b3:" + "e" * 64)
    elsewhere = jobs[JobId(8)]
    assert (elsewhere.origin, elsewhere.nodes) == ("b3:" + "01" * 32, ("n7", "n8"))
    assert (elsewhere.exit.tail, elsewhere.ended_us) == (("no",), 1_700_000_043_000_000)
    displaced = jobs[JobId(6)]
    assert (displaced.queue, displaced.priority) == ("fast", 5)
    assert displaced.claim.parts == (part("n1", 0),)
    assert displaced.preempted_us == (1_700_000_041_500_000,)
