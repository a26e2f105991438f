"""Queries: pages, events, dependencies, usage, planning deltas, forget, check."""

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
)
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.effects import wake_dependents
from zenkei.model.cluster import Drain, Fence, NodeEvent, NodeEventKind, NodeHealth, NodeState
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import After, Dependency, HoldReason, JobState, StopReason
from zenkei.ports.store import Changes, JobFilter, Reads, Unit


def all_pages(store, where, limit):
    cursor, found = "", []
    while True:
        page = store.jobs(where, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += [job.id for job in page.items]
        if not page.next:
            return found
        cursor = page.next


def test_jobs_come_newest_first_in_pages_that_miss_and_repeat_nothing(store):
    ids = [i for members in (0, 3, 0, 2) for i in submit(store, members=members)]
    for limit in (1, 2, 3, 100):
        assert all_pages(store, JobFilter(), limit) == sorted(ids, reverse=True)


def test_a_page_is_not_disturbed_by_jobs_that_come_meanwhile(store):
    old = [submit(store)[0] for _ in range(4)]
    page = store.jobs(JobFilter(), limit=2)
    submit(store)
    rest = store.jobs(JobFilter(), cursor=page.next, limit=2)
    assert [job.id for job in page.items + rest.items] == old[::-1]


@pytest.mark.parametrize(
    "where",
    [
        {"owner": "bob"},
        {"project": "p2"},
        {"queue": "q2"},
        {"name": "other"},
        {"number": 2},
        {"states": frozenset({JobState.CANCELLED, JobState.HELD})},
        {"owner": "bob", "project": "p2"},
    ],
    ids="+".join,
)
def test_filters_are_joined_by_and(store, where):
    submit(store)
    submit(store, owner="bob", project="p2", queue="q2", name="other", members=2)
    (cancelled,) = submit(store, owner="bob")
    do(store, cancelled, c.Cancel(by="bob"))
    rows = [job for i in (1, 2, 3) for job in store.members(i)]
    expected = sorted(
        (
            job.id
            for job in rows
            if where.get("owner") in (None, job.owner)
            and where.get("project") in (None, job.project)
            and where.get("queue") in (None, job.queue)
            and where.get("name") in (None, job.name)
            and where.get("number") in (None, job.id.number)
            and job.state in where.get("states", set(JobState))
        ),
        reverse=True,
    )
    assert all_pages(store, JobFilter(**where), 1) == expected


def all_lines(store, where, limit):
    cursor, found = "", []
    while True:
        page = store.lines(where, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += [(line.newest.id, line.changed_us) for line in page.items]
        if not page.next:
            return found
        cursor = page.next


def test_a_list_of_lines_has_one_for_each_submission_with_its_last_change(world, store):
    single = submit(store)[0]
    array = submit(store, members=3)
    began = world.clock.us
    world.clock.forward(60)
    do(store, array[0], c.Prepare())
    last = submit(store, members=2, owner="bob")[-1]
    now = world.clock.us
    expected = [(last, now), (array[2], now), (single, began)]
    for limit in (1, 2, 3, 100):
        assert all_lines(store, JobFilter(), limit) == expected
    pending = JobFilter(states=frozenset({JobState.PENDING}))
    assert all_lines(store, pending, 1) == [(array[0], now)]
    others = JobFilter(states=frozenset({JobState.PREPARING}), owner="ann")
    assert all_lines(store, others, 1) == [(array[2], began), (single, began)]
    assert all_lines(store, JobFilter(owner="nobody"), 1) == []


def test_lines_of_arrays_that_are_longer_than_what_is_read_at_once_are_whole(store, monkeypatch):
    monkeypatch.setattr("zenkei.store.sql.queries.LEAST_REACH", 2)
    monkeypatch.setattr("zenkei.store.sql.queries.MOST_REACH", 3)
    newest = [submit(store, members=members)[-1] for members in (7, 0, 2, 3, 0)]
    for limit in (1, 2, 5, 100):
        assert [job for job, _ in all_lines(store, JobFilter(), limit)] == newest[::-1]


def test_hostile_messages_do_not_change_when_a_line_says_it_changed(world, store):
    (job,) = submit(store, holds=(HoldReason.USER,))
    world.clock.forward(60)
    do(store, job, c.Reject(message='"changed_us":1 \0 \udc80'))
    assert all_lines(store, JobFilter(), 1) == [(job, world.clock.us)]


def test_the_last_job_of_a_person_is_the_newest_whole_submission(store):
    assert store.last_job("ann") is None
    submit(store)
    array = submit(store, members=3)
    submit(store, owner="bob")
    assert store.last_job("ann") == JobId(array[0].number)
    assert store.last_job("nobody") is None


def test_members_are_in_order_and_of_one_submission_only(store):
    submit(store)
    array = submit(store, members=12)
    submit(store)
    assert tuple(job.id for job in store.members(array[0].number)) == array
    assert store.members(99) == ()


def test_events_are_paged_in_order_of_all_jobs_or_of_one(store):
    jobs = [submit(store)[0] for _ in range(3)]
    for job in jobs:
        do(store, job, c.Prepare(), c.Hold())
    everything = store.events()
    assert [event.seq for event in everything] == list(range(1, 10))
    assert store.events(after=2, limit=3) == everything[2:5]
    assert store.events(after=everything[-1].seq) == ()
    own = tuple(event for event in everything if event.job == jobs[1])
    assert store.events(job=jobs[1]) == own
    assert store.events(job=jobs[1], after=own[0].seq, limit=1) == own[1:2]


def test_events_of_a_number_are_those_of_all_its_members_in_order(store):
    submit(store)
    first, second = submit(store, members=2)
    submit(store)
    for member in (second, first, second):
        do(store, member, c.Hold() if member == first else c.Prepare())
    story = store.events(job=JobId(first.number))
    assert [(e.job, e.version) for e in story] == [(first, 1), (second, 1), (second, 2), (first, 2)]
    assert store.events(job=JobId(first.number), after=story[1].seq) == story[2:]
    assert store.events(job=JobId(99)) == ()


def test_allocations_of_given_attempts_have_all_their_parts(store):
    put(store, Changes(nodes=[node("n1"), node("n2")]))
    both = start(store, part("n2", 0), part("n1", 0))
    other = start(store, part("n1", 1))
    asked = [AttemptId(other, 1), AttemptId(both, 1), AttemptId(both, 1), AttemptId(both, 2)]
    found = store.allocations_of(asked)
    assert [a.attempt for a in found] == [AttemptId(both, 1), AttemptId(other, 1)]
    assert [p.node for p in found[0].parts] == ["n2", "n1"]
    assert store.allocations_of([]) == ()


def test_dependents_wait_for_a_member_or_for_its_whole_array(store):
    array = submit(store, members=2)
    waiters = [submit(store, holds=(HoldReason.DEPENDENCY,))[0] for _ in range(3)]
    on = [array[0], JobId(array[0].number), array[1]]
    for waiter, job in zip(waiters, on, strict=True):
        put(store, Changes(dependencies=[(waiter, Dependency(job=job, after=After.OK))]))
    assert store.dependents([array[0]]) == (waiters[0], waiters[1])
    assert store.dependents([array[1]]) == (waiters[1], waiters[2])
    assert store.dependents(array) == tuple(waiters)
    assert store.dependents([]) == ()
    assert store.dependencies(waiters[1]) == (Dependency(job=on[1], after=After.OK),)
    assert store.dependencies(array[0]) == ()


def test_a_spec_that_is_there_is_left_alone(store):
    submit(store)
    put(store, Changes(specs={SPEC: "another text"}))
    assert store.spec(SPEC) == SPEC_TEXT
    assert store.spec(Digest("b3:none")) is None


def test_usage_opens_with_the_allocation_and_closes_with_its_release(world, store):
    put(store, Changes(nodes=[node("n1"), node("n2")]))
    job = start(store, part("n1", 0, 1), part("n2", 3, cpu_milli=2500))
    began = world.clock.us
    first, second = store.usage(job)
    assert (first.attempt, first.node, first.gpu_milli) == (AttemptId(job, 1), "n1", 2000)
    assert (second.node, second.gpu_kind, second.cpu_milli) == ("n2", "h200", 2500)
    assert (first.queue, first.project, first.owner) == ("default", "default", "ann")
    assert (first.from_us, first.to_us) == (began, 0)
    world.clock.forward(10)
    do(store, job, exited(reason=StopReason.NODE_LOST))
    assert {segment.to_us for segment in store.usage(job)} == {0}
    do(store, job, released())
    assert {segment.to_us for segment in store.usage(job)} == {world.clock.us}
    world.clock.forward(10)
    do(store, job, allocate(part("n1", 5)), nodes=("n1",))
    assert [(s.attempt.number, s.to_us > 0) for s in store.usage(job)] == [
        (1, True), (1, True), (2, False),
    ]  # fmt: skip


def test_a_job_that_starts_and_ends_in_one_unit_has_closed_usage(store):
    (job,) = submit(store)
    do(store, job, c.Prepare(), allocate(), exited(), released())
    (segment,) = store.usage(job)
    assert segment.to_us == segment.from_us > 0
    assert store.allocations() == ()


def test_counts_are_by_state(store):
    assert dict(store.counts()) == {}
    submit(store, members=3)
    do(store, submit(store)[0], c.Prepare())
    assert dict(store.counts()) == {JobState.PREPARING: 3, JobState.PENDING: 1}


def test_counts_of_one_submission_are_of_its_members_only(store):
    first, *_others = submit(store, members=3)
    do(store, first, c.Prepare())
    submit(store)
    (single,) = submit(store)
    found = store.counts_of([first.number, single.number, 999, first.number])
    assert found == {
        first.number: {JobState.PREPARING: 2, JobState.PENDING: 1},
        single.number: {JobState.PREPARING: 1},
    }
    assert store.counts_of([]) == {}


def test_a_cold_planner_sees_what_waits_or_holds_and_all_nodes(store):
    put(store, Changes(nodes=[node("n1"), node("n2")]))
    running = start(store, part("n1", 0))
    (pending,) = submit(store)
    do(store, pending, c.Prepare())
    submit(store)
    do(store, submit(store)[0], c.Cancel())
    delta = store.planning(0)
    assert [job.id for job in delta.jobs] == [running, pending]
    assert [a.attempt for a in delta.allocations] == [AttemptId(running, 1)]
    assert delta.nodes == (node("n1"), node("n2"))
    assert delta.specs == {SPEC: SPEC_TEXT}
    assert (delta.since, delta.seq) == (0, store.seq())


def test_a_delta_has_what_changed_since_as_it_is_now(store):
    put(store, Changes(nodes=[node("n1"), node("n2")]))
    job = start(store, part("n1", 0))
    since = store.planning(0).seq
    assert store.planning(since).jobs == ()
    do(store, job, exited(), released())
    put(store, Changes(nodes=[node("n2", gpus=2)], removed_nodes=["n1"]))
    delta = store.planning(since)
    assert [(row.id, row.state) for row in delta.jobs] == [(job, JobState.SUCCEEDED)]
    assert delta.allocations == ()
    assert delta.nodes == (node("n2", gpus=2),)
    assert delta.removed_nodes == ("n1",)
    assert delta.specs == {}
    assert store.nodes() == (node("n2", gpus=2),)
    assert store.planning(0).removed_nodes == ()


def test_a_delta_has_the_very_next_event(store):
    (job,) = submit(store)
    since = store.seq()
    for command in (c.Prepare(), c.Hold(), c.Cancel()):
        do(store, job, command)
        delta = store.planning(since)
        assert [row.version for row in delta.jobs] == [store.job(job).version]
        assert delta.seq == since + 1
        since = delta.seq
        assert store.planning(since).jobs == ()


def test_a_node_that_was_removed_can_come_back(store):
    put(store, Changes(nodes=[node("n1")]))
    put(store, Changes(removed_nodes=["n1"]))
    since = store.seq()
    put(store, Changes(nodes=[node("n1", gpus=1)]))
    delta = store.planning(since)
    assert (delta.nodes, delta.removed_nodes) == ((node("n1", gpus=1),), ())


def test_forgotten_jobs_leave_nothing_and_unfinished_ones_stay(world, store):
    put(store, Changes(nodes=[node()]))
    over = start(store, part("n1", 0))
    do(store, over, exited(), released())
    (waiting,) = submit(store)
    put(store, Changes(dependencies=[(over, Dependency(job=waiting, after=After.OK))]))
    assert store.forget([over, waiting, JobId(99)]) == 1
    assert store.job(over) is None
    assert store.events(job=over) == ()
    assert store.usage(over) == ()
    assert store.dependencies(over) == ()
    assert store.job(waiting) is not None
    world.clock.forward(60)
    assert [e.job for e in store.claim(owner="a", limit=9, lease_s=1)] == [waiting]
    assert store.check() == []
    assert submit(store)[0].number > waiting.number


def test_an_array_is_forgotten_member_by_member(store):
    first, second = submit(store, members=2)
    do(store, first, c.Cancel())
    assert store.forget([first]) == 1
    assert [job.id for job in store.members(second.number)] == [second]
    assert store.check() == []


def test_check_names_a_node_that_is_given_away_twice(store):
    put(store, Changes(nodes=[node()]))
    first = start(store, part("n1", 0))
    start(store, part("n1", 0))
    assert len(store.check()) == 1
    assert "n1" in store.check()[0]
    do(store, first, exited(), released())
    assert store.check() == []


def test_check_names_an_allocation_that_outlived_its_job(store):
    job = start(store, part("n1"))
    decide = command_unit(job, exited(), released()).decide

    def forgets_to_release(view):
        changes, value = decide(view)
        changes.released.clear()
        return changes, value

    store.submit(Unit(reads=Reads(jobs=(job,)), decide=forgets_to_release)).result(30)
    assert [str(AttemptId(job, 1)) in line for line in store.check()] == [True]


def test_check_names_an_effect_of_nobody(store):
    put(store, Changes(effects=[wake_dependents(JobId(404))]))
    assert store.check() == ["effect wake:404 belongs to no job"]


def test_histories_are_the_events_of_each_job_in_order(store):
    first, second = submit(store, members=2)
    other = start(store)
    found = store.histories([other, first, JobId(99)])
    assert set(found) == {other, first}
    assert found[first] == store.events(job=first)
    assert found[other] == store.events(job=other)
    assert len(found[other]) > len(found[first]) == 1
    assert store.events(job=JobId(second.number)) == (
        *store.events(job=first),
        *store.events(job=second),
    )


def test_rows_and_results_of_jobs_are_those_of_each_and_of_no_other(world, store):
    put(store, Changes(nodes=[node()]))
    twice = start(store, part("n1", 0))
    do(store, twice, exited(reason=StopReason.NODE_LOST), released())
    world.clock.forward(10)
    do(store, twice, allocate(part("n1", 0)), nodes=("n1",))
    other, never = start(store, part("n1", 1)), submit(store)[0]
    kept = [
        Result(attempt=str(AttemptId(job, number)), state=ResultState.SEALED, reason=f"{number}")
        for job, number in ((twice, 1), (twice, 2), (other, 1))
    ]
    put(store, Changes(results=kept))
    asked = [twice, never, JobId(99), twice]
    assert store.rows_of(asked) == {twice: store.job(twice), never: store.job(never)}
    assert store.results_of(asked) == {AttemptId(twice, n): kept[n - 1] for n in (1, 2)}
    assert store.rows_of([]) == {}
    assert store.results_of([]) == {}


def test_a_job_is_awaited_until_who_waits_for_it_is_over(store):
    first, second = submit(store, members=2)
    whole = JobId(first.number)
    one, two = (submit(store, holds=(HoldReason.DEPENDENCY,))[0] for _ in range(2))
    assert store.awaited() == frozenset()
    for waiter, job in ((one, second), (two, second), (two, whole)):
        put(store, Changes(dependencies=[(waiter, Dependency(job=job, after=After.OK))]))
    assert store.awaited() == {second, whole}
    do(store, two, c.Cancel())
    assert store.awaited() == {second}
    do(store, one, c.Reject(message="no"))
    assert store.awaited() == frozenset()


def _line(name, reason):
    ready = NodeState.READY
    kind = NodeEventKind.DRAIN
    return NodeEvent(node=name, at_us=7, kind=kind, before=ready, after=ready, reason=reason)


def test_the_log_of_nodes_comes_in_order_of_one_node_or_of_all_and_the_newest_first_to_be_kept(
    store,
):
    for number in range(3):
        put(store, Changes(node_events=[_line("n1", f"{number}"), _line("n2", f"{number}")]))
    assert [line.reason for line in store.node_events("n1")] == ["0", "1", "2"]
    newest = store.node_events(limit=3)
    assert [(line.node, line.reason) for line in newest] == [("n2", "1"), ("n1", "2"), ("n2", "2")]
    assert [line.seq for line in newest] == sorted({line.seq for line in newest})
    assert store.node_events("n3") == ()


def test_a_node_keeps_what_an_operator_and_its_checks_say_of_it(store):
    said = replace(
        node("n1"),
        drain=Drain(by="ann", reason="new disk", since_us=5),
        own_labels={"rack": "r1"},
        health=NodeHealth(state=NodeState.DOWN, failures_milli=1500, silent=("1/1",)),
        fence=Fence(attempts=("1/1",), reason="silent", since_us=6, boot_id="b"),
    )
    put(store, Changes(nodes=[said]))
    assert store.nodes() == (said,)


def test_what_was_submitted_is_counted_by_spec_over_the_newest(store):
    ended, *_waiting = submit(store, members=3)
    do(store, ended, c.Cancel())
    assert store.submitted(100) == ((SPEC, 3, 1),)
    assert store.submitted(2) == ((SPEC, 2, 0),), "the oldest is left out"
    assert store.submitted(0) == ()
