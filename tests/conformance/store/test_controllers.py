"""Two controllers on one database: as if one after another, and nobody misses an event."""

import threading
from types import SimpleNamespace
from typing import Any

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
    submit,
    submit_unit,
)
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale
from zenkei.model.cluster import Allocation
from zenkei.model.errors import Conflict
from zenkei.model.ids import AttemptId
from zenkei.model.job import HoldReason, JobState
from zenkei.model.resources import Free, fits
from zenkei.ports.store import Changes, Reads, Unit

# a memory store commits on the caller's thread: two of them are never in a transaction at once
several = pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)


class Follower:
    """Reads the log page by page, as the event stream does."""

    def __init__(self, store):
        self._store = store
        self.seen = []
        self._after = 0

    def read(self):
        while events := self._store.events(after=self._after, limit=7):
            self.seen += [event.seq for event in events]
            self._after = self.seen[-1]


def paused(job, entered, go_on, command):
    """A unit that stops in the middle of its transaction until `go_on`."""
    inner = command_unit(job, command)

    def decide(view):
        entered.set()
        assert go_on.wait(60)
        return inner.decide(view)

    return Unit(reads=inner.reads, decide=decide)


@several
def test_an_older_transaction_that_commits_after_a_newer_one_began_is_missed_by_no_follower(world):
    old, new = world.open("old"), world.open("new")
    follower = Follower(world.open("reader"))
    (slow,), (quick,) = submit(old), submit(old)
    entered, go_on = threading.Event(), threading.Event()
    older = old.submit(paused(slow, entered, go_on, c.Prepare()))
    assert entered.wait(60)
    newer = [new.submit(command_unit(quick, command)) for command in (c.Prepare(), c.Hold())]
    follower.read()
    go_on.set()
    while not (older.done() and all(future.done() for future in newer)):
        follower.read()
    for future in (older, *newer):
        future.result(60)
    follower.read()
    assert follower.seen == [event.seq for event in old.events()] == [1, 2, 3, 4, 5]


@several
def test_readers_are_not_held_up_by_a_writer(world):
    store, other = world.open("a"), world.open("b")
    (job,) = submit(store)
    entered, go_on = threading.Event(), threading.Event()
    future = store.submit(paused(job, entered, go_on, c.Prepare()))
    assert entered.wait(60)
    assert other.job(job).state is JobState.PREPARING
    assert [event.seq for event in other.events()] == [1]
    go_on.set()
    assert future.result(60).state is JobState.PENDING


@several
def test_units_of_two_controllers_on_the_same_jobs_give_a_serial_result(world):
    stores = [world.open("a"), world.open("b")]
    jobs = [submit(stores[0])[0] for _ in range(8)]
    toggles = (c.Hold(), c.Unhold(reason=HoldReason.USER))
    futures = []

    def load(store, shift):
        for turn in range(200):
            job = jobs[(turn * shift) % len(jobs)]
            futures.append(store.submit(command_unit(job, toggles[turn // 8 % 2])))

    threads = [
        threading.Thread(target=load, args=(s, n)) for s, n in zip(stores, (1, 3), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for future in futures:
        future.result(60)
    assert len(futures) == 400
    assert stores[0].check() == []
    versions = [event.version for event in stores[1].events(job=jobs[0])]
    assert versions == list(range(1, len(versions) + 1))
    seqs = [event.seq for event in stores[0].events(limit=5000)]
    assert seqs == list(range(1, len(seqs) + 1))


@several
def test_two_controllers_that_start_jobs_on_one_node_never_give_a_device_twice(world):
    stores = [world.open("a"), world.open("b")]
    put(stores[0], Changes(nodes=[node()]))
    jobs = [submit(stores[0])[0] for _ in range(24)]
    for job in jobs:
        do(stores[0], job, c.Prepare())
    wish = part("n1", 0).request

    def start_unit(job):
        def decide(view):
            free = Free.of(view.node("n1").capacity)
            for held in view.held_on("n1"):
                for piece in held.parts:
                    free.take(piece.request, piece.devices)
            devices = fits(view.node("n1").capacity, free, wish)
            if not isinstance(devices, tuple):
                raise Conflict("full", "no device is free")
            inner = command_unit(job, allocate(part("n1", *(d.index for d in devices))))
            return inner.decide(view)

        return Unit(reads=Reads(jobs=(job,), nodes=("n1",)), decide=decide)

    futures = [store.submit(start_unit(job)) for job in jobs for store in stores]
    started = [future for future in futures if future.exception(60) is None]
    assert len(started) == 8
    assert stores[0].check() == []
    holder = started[0].result().id
    do(stores[1], holder, exited(), released())
    waiting = next(job for job in jobs if stores[0].job(job).state is JobState.PENDING)
    assert stores[0].submit(start_unit(waiting)).result(60).state is JobState.STARTING


@several
def test_an_effect_is_claimed_by_one_of_many(world):
    stores = [world.open(name) for name in ("a", "b", "c")]
    for _ in range(30):
        submit(stores[0])
    world.clock.forward(60)
    claimed: list[int] = []

    def claim(store, name):
        while found := store.claim(owner=name, limit=4, lease_s=30):
            claimed.extend(effect.id for effect in found)

    threads = [
        threading.Thread(target=claim, args=(s, n)) for s, n in zip(stores, "abc", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(claimed) == list(range(1, 31))


def test_a_report_about_a_dead_attempt_is_stale_whoever_brings_it(world):
    first, second = world.open("a"), world.open("b")
    (job,) = submit(first)
    do(first, job, c.Prepare(), allocate(), exited(), released())
    with pytest.raises(Stale):
        do(second, job, c.ReportStarted(attempt=1))


def test_a_batch_that_loses_a_race_is_run_again_one_by_one_and_only_the_stale_unit_fails(world):
    store = world.open("a")
    job, other = submit(store)[0], submit(store)[0]
    stale = store.job(job)
    do(world.open("b"), job, c.Prepare())
    held = Allocation(attempt=AttemptId(job, 9), cluster="local", parts=(part(),))
    unread = Unit(decide=lambda view: command_unit(job, c.Hold()).decide(_fixed(view, stale)))
    undeclared_node = Unit(
        reads=Reads(jobs=(job,)), decide=lambda v: (Changes(allocated=[held]), 1)
    )
    futures = [
        store.submit(command_unit(other, c.Prepare())),
        store.submit(unread),
        store.submit(submit_unit()),
        store.submit(undeclared_node),
    ]
    outcomes = [type(future.exception(60)).__name__ for future in futures]
    assert outcomes == ["NoneType", "Conflict", "NoneType", "NoneType"]
    assert store.job(other).version == 2
    assert store.job(job).version == 2


def _fixed(view, job) -> Any:
    """A view that shows a row read long ago."""
    return SimpleNamespace(now_us=view.now_us, job=lambda _: job)
