"""Units: atomic, isolated, refused alone; versions; request keys; listeners."""

import threading
from dataclasses import replace

import pytest

from tests.builders import (
    SPEC,
    SPEC_TEXT,
    allocate,
    command_unit,
    do,
    exited,
    node,
    part,
    put,
    released,
    start,
    submit,
    submit_unit,
)
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.evolve import evolve, replay
from zenkei.model import event as e
from zenkei.model.cluster import Allocation
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.dataset import Dataset
from zenkei.model.errors import Conflict, InternalError, Unavailable
from zenkei.model.event import Effect, EffectKind, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Exit, HoldReason, JobState
from zenkei.ports.datasets import DatasetChange
from zenkei.ports.store import Changes, Committed, JobFilter, Reads, Unit


def unit(decide, **reads):
    return Unit(reads=Reads(**reads), decide=decide)


def failing(view):
    raise Conflict("no", "the unit's own objection")


def test_a_job_that_was_submitted_is_there_with_its_event_and_its_spec(store):
    (job,) = submit(store, name="日本語 \0 \n job")
    row = store.job(job)
    assert row.state is JobState.PREPARING
    assert row.name == "日本語 \0 \n job"
    assert [event.body.name for event in store.events(job=job)] == [row.name]
    assert replay(store.events(job=job)) == row
    assert store.spec(SPEC) == SPEC_TEXT
    assert store.job(JobId(99)) is None


HOSTILE = "\0 \udc80 \x1b[31m '; DROP TABLE jobs; -- \U0001f600 日本"


def test_hostile_text_is_kept_as_it_is_everywhere(store):
    (job,) = submit(store, name=HOSTILE, owner=HOSTILE, project=HOSTILE, queue=HOSTILE)
    odd, spec = replace(node(HOSTILE), cluster=HOSTILE), Digest(HOSTILE)
    put(store, Changes(nodes=[odd], cursors={HOSTILE: HOSTILE}, specs={spec: HOSTILE}))
    put(store, Changes(request=(HOSTILE, HOSTILE, 1, HOSTILE)))
    put(store, Changes(effects=[Effect(kind=EffectKind.RETIRE, key=HOSTILE, job=job)]))
    held = c.Allocate(cluster=HOSTILE, parts=(part(HOSTILE, 0),))
    do(store, job, c.Prepare(), held, nodes=(HOSTILE,))
    assert [(a.cluster, a.parts) for a in store.allocations()] == [(HOSTILE, held.parts)]
    do(store, job, exited(), released())
    row = store.job(job)
    assert (row.name, row.owner, row.project, row.queue) == (HOSTILE,) * 4
    assert store.jobs(JobFilter(name=HOSTILE, owner=HOSTILE, queue=HOSTILE)).items == (row,)
    assert store.last_job(HOSTILE) == job
    assert store.nodes() == (odd,)
    assert store.usage(job)[0].node == HOSTILE
    assert (store.cursor(HOSTILE), store.spec(spec)) == (HOSTILE, HOSTILE)
    assert submit(store, request=(HOSTILE, HOSTILE)) == (JobId(1),)
    put(store, Changes(removed_nodes=[HOSTILE]))
    assert store.planning(1).removed_nodes == (HOSTILE,)
    assert store.check() == []


def test_numbers_rise_and_are_never_given_twice_also_after_a_failed_unit(world, store):
    numbers = [submit(store)[0].number for _ in range(3)]

    def takes_and_fails(view):
        numbers.append(view.next_number())
        raise Conflict("no", "after taking a number")

    with pytest.raises(Conflict):
        store.submit(unit(takes_and_fails)).result(30)
    other = world.open("b")
    later = [submit(other)[0].number for _ in range(2)]
    assert later == sorted(later)
    assert later[0] > numbers[2]


def test_all_transitions_of_a_job_leave_the_row_that_its_events_make(store):
    put(store, Changes(nodes=[node()]))
    job = start(store, part("n1", 0, 1))
    do(store, job, exited(), released())
    row = store.job(job)
    assert row.state is JobState.SUCCEEDED
    assert row.exit.code == 0
    assert replay(store.events(job=job)) == row
    assert store.check() == []


def test_several_commands_of_one_unit_fold_into_one_row(store):
    (job,) = submit(store)
    unit = command_unit(
        job, c.Prepare(), allocate(), c.ReportStarted(attempt=1), exited(), released()
    )
    assert store.submit(unit).result(30).version == 6
    assert [event.version for event in store.events(job=job)] == [1, 2, 3, 4, 5, 6]
    assert store.allocations() == ()


def test_a_unit_that_raises_changes_nothing_and_its_neighbours_are_not_disturbed(store):
    (job,) = submit(store)
    futures = [
        store.submit(unit(failing)),
        store.submit(command_unit(job, c.Prepare())),
        store.submit(command_unit(job, allocate(), c.ReportStarted(attempt=7))),
        store.submit(submit_unit(name="next")),
        store.submit(unit(failing)),
    ]
    failed = [future.exception(30) for future in futures]
    assert [type(error).__name__ for error in failed] == [
        "Conflict", "NoneType", "Stale", "NoneType", "Conflict",
    ]  # fmt: skip
    assert store.job(job).state is JobState.PENDING
    assert store.allocations() == ()
    assert len(store.events()) == 3


def test_later_units_see_what_earlier_ones_changed(store):
    (job,) = submit(store)
    seen = []

    def look(view):
        seen.append((view.job(job).version, len(view.members(job.number))))
        return Changes(), None

    futures = []
    for command in (c.Prepare(), c.Hold(), c.Unhold(reason=HoldReason.USER)):
        futures.append(store.submit(command_unit(job, command)))
        futures.append(store.submit(unit(look, jobs=(job,), submissions=(job.number,))))
    for future in futures:
        future.result(30)
    assert seen == [(2, 1), (3, 1), (4, 1)]


def test_reading_what_was_not_declared_raises_key_error(store):
    (job,) = submit(store)
    for ask in (
        lambda view: view.job(job),
        lambda view: view.members(job.number),
        lambda view: view.node("n1"),
        lambda view: view.held_on("n1"),
        lambda view: view.known_request(),
    ):
        with pytest.raises(KeyError):
            store.submit(unit(ask)).result(30)


def test_a_view_shows_nodes_members_and_what_is_held(store):
    put(store, Changes(nodes=[node("n1"), node("n2")]))
    array = submit(store, members=3)
    job = start(store, part("n1", 0), part("n2", 1))

    def look(view):
        held = view.held_on("n2")
        return Changes(), (view.members(array[0].number), view.node("n2"), view.node("n3"), held)

    reads = {"submissions": (array[0].number,), "nodes": ("n2", "n3")}
    members, found, absent, held = store.submit(unit(look, **reads)).result(30)
    assert tuple(member.id for member in members) == array
    assert (found, absent) == (node("n2"), None)
    assert [a.attempt for a in held] == [AttemptId(job, 1)]
    assert [p.node for p in held[0].parts] == ["n1", "n2"]


def test_a_job_changed_from_an_old_version_is_refused_with_conflict(store):
    (job,) = submit(store)
    old = store.job(job)
    do(store, job, c.Prepare())

    def from_memory(view):
        changes = Changes()
        event = Event(job=job, version=2, at_us=view.now_us, body=e.Cancelled(by="ann"))
        changes.events.append(event)
        changes.jobs.append((old.version, evolve(old, event)))
        return changes, None

    for reads in ({}, {"jobs": (job,)}):
        undisturbed = store.submit(submit_unit())
        with pytest.raises(Conflict):
            store.submit(unit(from_memory, **reads)).result(30)
        undisturbed.result(30)
    assert store.job(job).state is JobState.PENDING
    assert store.check() == []


def test_a_job_is_not_born_twice(store):
    (job,) = submit(store)
    born = store.events(job=job)[0]

    def again(view):
        return Changes(jobs=[(0, evolve(None, born))], events=[born]), None

    with pytest.raises(Conflict):
        store.submit(unit(again)).result(30)
    assert len(store.events()) == 1


def test_events_that_do_not_lead_to_the_row_are_refused_as_a_defect(store):
    (job,) = submit(store)

    def skips(view):
        row = view.job(job)
        event = Event(job=job, version=3, at_us=1, body=e.Prepared())
        return Changes(jobs=[(1, row)], events=[event]), None

    def silent(view):
        return Changes(jobs=[(1, view.job(job))]), None

    for decide in (skips, silent):
        with pytest.raises(InternalError):
            store.submit(unit(decide, jobs=(job,))).result(30)
    assert store.job(job).version == 1


def test_an_attempt_does_not_hold_a_node_twice(store):
    put(store, Changes(nodes=[node()]))
    job = start(store, part("n1", 0))
    again = Allocation(attempt=AttemptId(job, 1), cluster="local", parts=(part("n1", 1),))
    doubled = Allocation(
        attempt=AttemptId(job, 2), cluster="local", parts=(part("n1", 1), part("n1", 2))
    )
    for held in (again, doubled):
        for reads in ({"jobs": (job,)}, {"jobs": (job,), "nodes": ("n1",)}):
            changes = Changes(allocated=[held])
            with pytest.raises(Conflict):
                store.submit(unit(lambda view, c=changes: (c, None), **reads)).result(30)
    assert [a.parts for a in store.allocations()] == [(part("n1", 0),)]


def test_releasing_what_is_not_held_changes_nothing(store):
    put(store, Changes(released=[AttemptId(JobId(7), 1)]))
    assert store.allocations() == ()


def test_a_request_key_names_one_submission_for_good(world, store):
    first = submit(store, request=("ann", "key-1"))
    futures = [store.submit(submit_unit(request=("ann", "key-1"))) for _ in range(3)]
    assert {future.result(30) for future in futures} == {first}
    assert submit(world.open("b"), request=("ann", "key-1")) == first
    assert submit(store, request=("bob", "key-1")) != first
    with pytest.raises(Conflict):
        put(store, Changes(request=("ann", "key-1", 77, "other")))


def test_listeners_hear_of_every_commit_in_order(store):
    heard: list[Committed] = []
    store.listen(heard.append)
    for count in range(1, 6):
        submit(store)
        assert len(heard) == count
    assert [committed.seq for committed in heard] == [1, 2, 3, 4, 5]
    assert [event.seq for committed in heard for event in committed.events] == [1, 2, 3, 4, 5]


def test_listeners_hear_of_a_commit_before_its_futures_are_done(world, store):
    heard: list[Committed] = []
    order: list[int] = []
    attached, done = threading.Event(), threading.Event()
    if world.kind == "memory":  # it commits before `submit` returns
        attached.set()

    def decide(view):
        assert attached.wait(30)
        return submit_unit().decide(view)

    def is_done(_future):
        order.append(len(heard))
        done.set()

    store.listen(heard.append)
    store.submit(unit(decide)).add_done_callback(is_done)
    attached.set()
    assert done.wait(30)
    assert order == [1]


def test_a_unit_that_changes_nothing_is_not_heard(store):
    heard: list[Committed] = []
    store.listen(heard.append)
    store.submit(unit(lambda view: (Changes(), "value"))).result(30)
    assert heard == []
    assert store.seq() == 0


def test_a_listener_that_fails_or_submits_in_turn_harms_nobody(store):
    order = []

    def bad(committed):
        raise RuntimeError("a defect of the listener's")

    def chains(committed):
        order.append(("first", committed.seq))
        if committed.seq < 3:
            store.submit(submit_unit())

    def ends(committed):
        order.append(("second", committed.seq))
        if committed.seq == 3:
            over.set()

    over = threading.Event()
    store.listen(bad)
    store.listen(chains)
    store.listen(ends)
    submit(store)
    assert over.wait(30)
    assert order == [(who, seq) for seq in (1, 2, 3) for who in ("first", "second")]


def test_units_of_many_threads_are_all_done_once(store):
    (job,) = submit(store)
    seen = []

    def hammer(index):
        for turn in range(10):
            seen.append(submit(store, name=f"{index}-{turn}")[0])
            do(store, job, c.Hold() if turn % 2 else c.Unhold(reason=HoldReason.USER))

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(seen)) == 60
    names = {store.job(job_id).name for job_id in seen}
    assert names == {f"{i}-{turn}" for i in range(6) for turn in range(10)}
    assert store.check() == []


def test_time_never_runs_backwards_between_commits(world, store):
    (job,) = submit(store)
    world.clock.forward(-3600)
    do(store, job, c.Prepare())
    world.clock.forward(-3600)
    do(world.open("b"), job, c.Hold())
    times = [event.at_us for event in store.events()]
    assert times == sorted(times)
    world.clock.forward(3 * 3600)
    do(store, job, c.Unhold(reason=HoldReason.USER))
    assert store.events()[-1].at_us > times[-1]


def test_cursors_and_results_are_kept(store):
    attempt = AttemptId(submit(store)[0], 1)
    sealing = Result(attempt=str(attempt), state=ResultState.SEALING)
    sealed = Result(attempt=str(attempt), state=ResultState.SEALED, files=3, size_bytes=9)
    assert (store.result(attempt), store.cursor("local")) == (None, "")
    for result, cursor in ((sealing, "17"), (sealed, "18\n")):
        put(store, Changes(results=[result], cursors={"local": cursor}))
        assert (store.result(attempt), store.cursor("local")) == (result, cursor)


def test_a_closed_store_takes_no_more_units(store):
    future = store.submit(submit_unit())
    store.close()
    assert future.result(30)
    with pytest.raises(Unavailable):
        store.submit(submit_unit())


def imported(name: str, read: int = 0) -> Unit[JobId]:
    """A job of another installation with a dataset of this name."""

    def decide(view):
        job = JobId(view.next_number())
        body = e.Imported(
            spec=SPEC,
            project="p",
            owner="ada",
            name="n",
            queue="default",
            priority=0,
            state=JobState.FAILED,
            attempt=2,
            origin=Digest("b3:" + "0" * 64),
            exit=Exit(code=3, tail=("no",)),
            nodes=("n1", "n2"),
        )
        event = Event(job=job, version=1, at_us=view.now_us, body=body)
        change = DatasetChange(name=name, read=read, dataset=Dataset(name=name, owner="ada"))
        row = evolve(None, event)
        return Changes(jobs=[(0, row)], events=[event], datasets=[change]), job

    return Unit(reads=Reads(), decide=decide)


def test_an_imported_job_and_its_datasets_come_together(store):
    job = store.submit(imported("digits")).result(30)
    row = store.job(job)
    assert (row.origin, row.exit, row.nodes) == (
        "b3:" + "0" * 64,
        Exit(code=3, tail=("no",)),
        ("n1", "n2"),
    )
    assert replay(store.events(job=job)) == row
    assert store.datasets.dataset("digits").dataset.revision == 1


def test_if_a_dataset_has_changed_meanwhile_the_job_is_not_there_either(store):
    store.submit(imported("digits")).result(30)
    with pytest.raises(Conflict):
        store.submit(imported("digits")).result(30)
    assert len(store.jobs(JobFilter()).items) == 1
    assert store.datasets.dataset("digits").dataset.revision == 1
    (job,) = submit(store)  # its neighbours are not disturbed
    assert store.job(job) is not None
