"""The record of a job: what many jobs of a batch share is put into words once, and not mixed up."""

from __future__ import annotations

import json
from typing import Any

from zenkei.control.records import Records, encode
from zenkei.lifecycle.evolve import replay
from zenkei.model import event as e
from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.event import Event, EventBody
from zenkei.model.ids import JobId
from zenkei.model.job import Exit, FailureClass, JobSpec, JobState, StopReason
from zenkei.model.resources import Capacity, Device, DeviceShare, Request

SPEC = JobSpec(name="first", command="true")
OTHER = JobSpec(name="second", command=("python", "a.py"), seed=7)


def gpu_node(name: str) -> Node:
    devices = tuple(Device(index=i, kind="h100", uuid=f"{name}-{i}") for i in range(2))
    capacity = Capacity(cpu_milli=8000, memory_bytes=1 << 30, tmp_bytes=0, devices=devices)
    return Node(name=name, cluster="c", capacity=capacity, boot_id=f"boot of {name}")


NODES = {name: gpu_node(name) for name in ("a", "b")}


def part(node: str, device: int) -> NodePart:
    return NodePart(
        node=node,
        request=Request(cpu_milli=1000, gpu_count=1),
        devices=(DeviceShare(index=device, milli=1000),),
    )


def story(job: JobId, spec: str, *tries: NodePart) -> tuple[Event, ...]:
    """Each try fails, the last one ends well."""
    bodies: list[EventBody] = [
        e.Submitted(
            spec=Digest(spec), project="p", owner="o", name=spec, queue="default", priority=0
        ),
        e.Prepared(),
    ]
    for number, where in enumerate(tries, 1):
        last = number == len(tries)
        why = StopReason.COMPLETED if last else StopReason.NONZERO_EXIT
        bodies += [
            e.Allocated(attempt=number, cluster="c", parts=(where,)),
            e.Started(attempt=number),
            e.Exited(attempt=number, reason=why, exit=Exit(code=0 if last else 3)),
            e.Released(
                attempt=number,
                next=JobState.SUCCEEDED if last else JobState.PENDING,
                failure=FailureClass.NONE if last else FailureClass.USER_ERROR,
                proof="seen",
            ),
        ]
    return tuple(
        Event(job=job, version=i, at_us=100 * i, body=body) for i, body in enumerate(bodies, 1)
    )


def record(records: Records, spec: JobSpec, events: tuple[Event, ...]) -> Any:
    row = replay(events)
    assert row is not None
    result = Result(attempt=f"{row.id}/{row.attempt}", state=ResultState.SEALED)
    return json.loads(encode(records.document(row, spec, events, result)))


def test_jobs_of_one_batch_have_their_own_spec_devices_and_attempts():
    records = Records(NODES, "1.0")
    one = record(records, SPEC, story(JobId(1), "b3:1", part("a", 0)))
    two = record(records, OTHER, story(JobId(2), "b3:2", part("a", 1), part("b", 1)))
    assert (one["spec"]["name"], two["spec"]["name"]) == ("first", "second")
    assert two["seed"] == 7
    assert [attempt["attempt"] for attempt in two["attempts"]] == ["2/1", "2/2"]
    where = [attempt["nodes"][0] for attempt in (*one["attempts"], *two["attempts"])]
    assert [node["devices"][0]["uuid"] for node in where] == ["a-0", "a-1", "b-1"]
    assert [node["boot_id"] for node in where] == ["boot of a", "boot of a", "boot of b"]


def test_each_attempt_says_when_and_how_it_ended():
    made = record(Records(NODES, "1.0"), SPEC, story(JobId(1), "b3:1", part("a", 0), part("a", 0)))
    failed, good = made["attempts"]
    times = ("allocated_us", "started_us", "exited_us", "released_us")
    assert [failed[name] for name in times] == [300, 400, 500, 600]
    assert [good[name] for name in times] == [700, 800, 900, 1000]
    assert (failed["exit_code"], failed["stop_reason"]) == (3, "nonzero_exit")
    assert (good["exit_code"], good["stop_reason"], good["failure"]) == (0, "completed", "none")
    assert made["state"] == "succeeded"


def test_a_name_that_is_no_utf_8_keeps_its_bytes():
    written = encode({"b": b"\xff".decode("utf-8", "surrogateescape"), "a": "é"})
    assert written == b'{"a":"\xc3\xa9","b":"\xff"}'


def test_the_same_record_is_the_same_content():
    assert encode({"b": 1, "a": {"d": 2, "c": 3}}) == encode({"a": {"c": 3, "d": 2}, "b": 1})
