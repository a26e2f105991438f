"""Short ways to make jobs, nodes and units of the store; the rest of the world stays out of a test.

Used by tests of the store and of whatever stands on it. Each unit goes through `lifecycle`, as in
production: nothing here writes a row by itself.
"""

from __future__ import annotations

from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import decide
from zenkei.lifecycle.effects import effects
from zenkei.lifecycle.evolve import evolve
from zenkei.model import event as e
from zenkei.model.cluster import Allocation, Node, NodePart
from zenkei.model.data import Digest
from zenkei.model.event import Event
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import Exit, HoldReason, Job, RetryPolicy, StopReason
from zenkei.model.resources import Capacity, Device, DeviceShare, Request
from zenkei.ports.store import Changes, Reads, Store, Unit, View

SPEC = Digest("b3:" + "5" * 64)
SPEC_TEXT = '{"name":"job"}'


def node(name: str = "n1", *, gpus: int = 8, cluster: str = "local") -> Node:
    """A node of 64 cores, 256 GiB and `gpus` devices."""
    devices = tuple(Device(index=i, kind="h200") for i in range(gpus))
    capacity = Capacity(
        cpu_milli=64_000, memory_bytes=256 << 30, tmp_bytes=1 << 40, devices=devices
    )
    return Node(name=name, cluster=cluster, capacity=capacity)


def part(node: str = "n1", *devices: int, cpu_milli: int = 1000) -> NodePart:
    """Whole devices with these indices, and CPU."""
    milli = 1000 if devices else 0
    request = Request(cpu_milli=cpu_milli, gpu_count=len(devices), gpu_milli=milli)
    shares = tuple(DeviceShare(index, milli) for index in devices)
    return NodePart(node=node, request=request, devices=shares)


def submit_unit(
    *,
    owner: str = "ann",
    members: int = 0,
    holds: tuple[HoldReason, ...] = (),
    queue: str = "default",
    project: str = "default",
    name: str = "job",
    spec: Digest = SPEC,
    request: tuple[str, str] | None = None,
) -> Unit[tuple[JobId, ...]]:
    """A new submission: one job, or an array of `members`."""
    body = e.Submitted(
        spec=spec,
        project=project,
        owner=owner,
        name=name,
        queue=queue,
        priority=0,
        holds=holds,
        params={"lr": "0.1"},
    )

    def submit(view: View) -> tuple[Changes, tuple[JobId, ...]]:
        known = view.known_request() if request else None
        if known is not None:
            return Changes(), (JobId(known[0]),)
        number = view.next_number()
        changes = Changes(specs={spec: SPEC_TEXT})
        ids = tuple(JobId(number, m) for m in (range(members) if members else (WHOLE,)))
        seen: set[str] = set()
        for job_id in ids:
            event = Event(job=job_id, version=1, at_us=view.now_us, body=body)
            row = evolve(None, event)
            changes.jobs.append((0, row))
            changes.events.append(event)
            new = [effect for effect in effects(event, row) if effect.key not in seen]
            seen.update(effect.key for effect in new)
            changes.effects.extend(new)
        if request:
            changes.request = (*request, number, "fingerprint")
        return changes, ids

    return Unit(reads=Reads(request_key=request), decide=submit)


def follow(changes: Changes, job: Job, command: c.Command, now_us: int) -> Job:
    """`command` decided on `job` and written into `changes`, allocation rows included."""
    before = job
    for body in decide(job, command, now_us):
        event = Event(job=job.id, version=job.version + 1, at_us=now_us, body=body)
        job = evolve(job, event)
        changes.events.append(event)
        changes.effects.extend(effects(event, job))
        attempt = AttemptId(job.id, job.attempt)
        if isinstance(body, e.Allocated):
            held = Allocation(attempt=attempt, cluster=body.cluster, parts=body.parts)
            changes.allocated.append(held)
        elif isinstance(body, e.Released):
            changes.released.append(attempt)
    if job is not before:
        changes.jobs.append((before.version, job))
    return job


def command_unit(job_id: JobId, *commands: c.Command, nodes: tuple[str, ...] = ()) -> Unit[Job]:
    """These commands on one job, in order; the value is its row afterwards."""

    def run(view: View) -> tuple[Changes, Job]:
        changes = Changes()
        row = view.job(job_id)
        assert row is not None, f"job {job_id} is not there"
        version, job = row.version, row
        for command in commands:
            job = follow(changes, job, command, view.now_us)
        changes.jobs[:] = [(version, job)] if job.version > version else []
        return changes, job

    return Unit(reads=Reads(jobs=(job_id,), nodes=nodes), decide=run)


def allocate(*parts: NodePart) -> c.Allocate:
    return c.Allocate(cluster="local", parts=parts or (part(),))


def started(attempt: int = 1) -> c.ReportStarted:
    """All ranks run."""
    return c.ReportStarted(attempt=attempt)


def exited(attempt: int = 1, reason: StopReason = StopReason.COMPLETED) -> c.ReportExited:
    code = 0 if reason is StopReason.COMPLETED else 1
    return c.ReportExited(attempt=attempt, reason=reason, exit=Exit(code=code, rank=0, node="n1"))


def released(attempt: int = 1, *, retries: int = 0) -> c.ReportReleased:
    policy = RetryPolicy(limit=retries)
    return c.ReportReleased(attempt=attempt, policy=policy, proof="pidfd")


def put(store: Store, changes: Changes) -> None:
    """Commit `changes` that depend on nothing."""
    store.submit(Unit(decide=lambda view: (changes, None))).result(30)


def submit(store: Store, **wishes: object) -> tuple[JobId, ...]:
    """`submit_unit` through `store`."""
    return store.submit(submit_unit(**wishes)).result(30)  # type: ignore[arg-type]


def do(store: Store, job: JobId, *commands: c.Command, nodes: tuple[str, ...] = ()) -> Job:
    """`command_unit` through `store`."""
    return store.submit(command_unit(job, *commands, nodes=nodes)).result(30)


def start(store: Store, *parts: NodePart) -> JobId:
    """A job that runs on `parts`."""
    (job,) = submit(store)
    names = tuple(p.node for p in parts)
    do(store, job, c.Prepare(), allocate(*parts), c.ReportStarted(attempt=1), nodes=names)
    return job
