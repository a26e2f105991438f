"""What operators wish of the cluster, and past usage: kept, in order, and told to the planner."""

from dataclasses import replace

import pytest

from tests.builders import (
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
from zenkei.model.clusterlog import EVERYTHING, Change, ClusterRecord, ClusterRecordKind, Switch
from zenkei.model.ids import AttemptId
from zenkei.model.job import HoldReason, JobState
from zenkei.model.queue import (
    Amounts,
    ClusterConfig,
    NodePlace,
    Policy,
    Queue,
    Reclaim,
    Reservation,
    counted_s,
)
from zenkei.ports.store import Changes, Reads, Unit

DAY_S = 86_400.0
CONFIG = ClusterConfig(
    levels=("rack",),
    places=(NodePlace(nodes=("n[1-4]",), topology=("r1",), labels={"disk": "日本"}),),
    queues=(
        Queue(
            name="vision",
            quota=Amounts(gpu_milli=8000, kinds=(("A100", 4000), ("H100", 4000))),
            reclaim=Reclaim.NEVER,
            gpu_kinds=("A100",),
        ),
        Queue(name="train", parent="vision", weight_milli=0, borrow=False),
    ),
    reservations=(Reservation(name="r", nodes=("n1",), from_us=1, to_us=2, users=("ann",)),),
    policy=Policy(half_life_s=DAY_S),
)


def record(version=1, **values):
    usual = {
        "kind": ClusterRecordKind.APPLIED,
        "version": version,
        "at_us": 5,
        "by": "ann",
        "config": CONFIG,
        "text": f"# version {version}\n",
        "digest": "b3:1",
        "diff": (Change(path="queues.vision", after="a queue"),),
    }
    return ClusterRecord(**(usual | values))


def apply(store, *records):
    put(store, Changes(cluster=list(records)))


def test_a_record_is_read_back_as_it_was_written(store):
    assert store.cluster() is None
    apply(store, record())
    found = store.cluster()
    assert found == replace(record(), text="", seq=found.seq)
    assert found.seq == store.seq() > 0
    assert store.cluster_file(1) == replace(record(), seq=found.seq)
    assert store.cluster_file(2) is None


def test_the_log_has_the_newest_in_order(store):
    for version in range(1, 6):
        apply(store, record(version))
    assert [r.version for r in store.cluster_log(limit=3)] == [3, 4, 5]
    assert store.cluster().version == 5
    assert store.cluster_file(2).text == "# version 2\n"


def test_a_switch_belongs_to_the_version_that_is_in_force_and_brings_no_file(store):
    switch = Switch(queue="train", by="bob", reason="broken", since_us=7)
    apply(store, record(3))
    apply(store, record(3, kind=ClusterRecordKind.PAUSED, text="", switches=(switch,)))
    assert store.cluster().switches == (switch,)
    assert store.cluster_file(3).text == "# version 3\n"
    assert store.cluster_file(3).switches == ()


def test_the_planner_is_told_once_of_what_is_in_force(store):
    assert store.planning(0).config is None
    apply(store, record())
    seq = store.seq()
    assert store.planning(0).config == CONFIG
    assert store.planning(seq - 1).config == CONFIG
    assert store.planning(seq).config is None
    switch = Switch(queue=EVERYTHING, by="bob", reason="", since_us=7)
    apply(store, record(switches=(switch,), text=""))
    assert store.planning(seq).config == replace(CONFIG, paused="paused by bob")


def test_a_unit_sees_what_those_before_it_have_applied(world):
    store = world.open()
    seen = []

    def look(view):
        found = view.cluster()
        seen.append(0 if found is None else found.version)
        return Changes(cluster=[record(seen[-1] + 1)]), None

    for _ in range(3):
        store.submit(Unit(reads=Reads(cluster=True), decide=look)).result(30)
    other = world.open("b")
    other.submit(Unit(reads=Reads(cluster=True), decide=look)).result(30)
    store.submit(Unit(reads=Reads(cluster=True), decide=look)).result(30)
    assert seen == [0, 1, 2, 3, 4]


def test_what_was_not_declared_cannot_be_read(store):
    cluster = store.submit(Unit(decide=lambda view: (Changes(), view.cluster())))
    queues = store.submit(Unit(decide=lambda view: (Changes(), view.unfinished())))
    for future in (cluster, queues):
        with pytest.raises(KeyError):
            future.result(30)


def test_unfinished_jobs_are_counted_by_queue(store):
    submit(store, queue="a", members=3)
    (over,) = submit(store, queue="a")
    (held,) = submit(store, queue="b")
    do(store, over, c.Cancel(by="ann"))
    do(store, held, c.Hold(reason=HoldReason.USER, by="ann"))
    unit = Unit(reads=Reads(queues=True), decide=lambda view: (Changes(), view.unfinished()))
    assert store.submit(unit).result(30) == {"a": 3, "b": 1}
    preparing = JobState.PREPARING
    assert store.queues() == {"a": {preparing: 3}, "b": {JobState.HELD: 1}}


# -- past usage ------------------------------------------------------------------------------------


def end(store, job, attempt=1):
    return do(store, job, exited(attempt), released(attempt))


def test_what_was_released_counts_for_its_queue_and_person(world):
    store = world.open()
    put(store, Changes(nodes=[node()], cluster=[record()]))
    job = start(store, part("n1", 0, 1, cpu_milli=4000))
    assert store.past_usage() == ()
    world.clock.forward(3600)
    seq = store.seq()
    end(store, job)
    (past,) = store.past_usage()
    seconds = counted_s(0, 3_600_000_000, DAY_S)
    assert (past.queue, past.user, past.at_us) == ("default", "ann", world.clock.us)
    assert past.gpu_milli_s == pytest.approx(2000 * seconds)
    assert past.cpu_milli_s == pytest.approx(4000 * seconds)
    assert store.planning(seq).usage == (past,)
    assert store.planning(0).usage == (past,)
    assert store.planning(store.seq()).usage == ()
    assert store.check() == []


def test_use_of_long_ago_counts_less_by_the_half_life_in_force(world):
    store = world.open()
    put(store, Changes(nodes=[node()], cluster=[record()]))
    end_of = []
    for _ in range(2):
        job = start(store, part("n1", 0))
        world.clock.forward(60)
        end(store, job)
        end_of.append(store.past_usage()[0].gpu_milli_s)
        world.clock.forward(DAY_S - 60)
    assert end_of[1] == pytest.approx(1.5 * end_of[0], rel=1e-6)
    apply(store, record(2, config=ClusterConfig(policy=Policy(half_life_s=1.0))))
    job = start(store, part("n1", 0))
    world.clock.forward(60)
    end(store, job)
    assert store.past_usage()[0].gpu_milli_s == pytest.approx(1000 * counted_s(0, 10**9, 1.0))


def test_each_queue_and_person_has_a_sum_of_its_own(world):
    store = world.open()
    put(store, Changes(nodes=[node()]))
    wishes = [("a", "ann"), ("a", "bob"), ("b", "ann"), ("a", "ann")]
    units = [submit_unit(queue=queue, owner=owner) for queue, owner in wishes]
    jobs = [store.submit(one).result(30)[0] for one in units]
    for device, job in enumerate(jobs):
        do(store, job, c.Prepare(), allocate(part("n1", device)), nodes=("n1",))
    world.clock.forward(10)
    futures = [store.submit(command_unit(job, exited(), released())) for job in jobs]
    assert {future.result(30).state for future in futures} == {JobState.SUCCEEDED}
    found = {(past.queue, past.user): past.gpu_milli_s for past in store.past_usage()}
    one = found["b", "ann"]
    assert found == {
        ("a", "ann"): pytest.approx(2 * one),
        ("a", "bob"): pytest.approx(one),
        ("b", "ann"): one,
    }


def test_what_begins_and_ends_in_one_batch_or_was_never_held_counts_nothing(store):
    put(store, Changes(nodes=[node()]))
    (job,) = submit(store)
    do(store, job, c.Prepare(), allocate(part("n1", 0)), exited(), released(), nodes=("n1",))
    assert [past.gpu_milli_s for past in store.past_usage()] == [0.0]
    seq = store.seq()
    put(store, Changes(released=[AttemptId(job, 1), AttemptId(job, 7)]))
    assert store.planning(seq).usage == ()


def test_forgetting_a_job_does_not_forget_what_it_used(world):
    store = world.open()
    put(store, Changes(nodes=[node()]))
    job = start(store, part("n1", 0))
    world.clock.forward(60)
    end(store, job)
    before = store.past_usage()
    assert store.forget([job]) == 1
    assert store.past_usage() == before
    assert before[0].gpu_milli_s > 0


def test_a_clock_that_is_set_back_takes_no_use_away(world):
    store = world.open()
    put(store, Changes(nodes=[node()]))
    job = start(store, part("n1", 0))
    world.clock.forward(-3600)
    end(store, job)
    (past,) = store.past_usage()
    assert past.gpu_milli_s == 0.0
    assert store.check() == []
