"""Group commit: one unit is not kept waiting, what waits goes together, closing loses nothing."""

import threading

import pytest

from zenkei.model.errors import Unavailable
from zenkei.model.ids import JobId
from zenkei.ports.store import Changes, Reads, Unit
from zenkei.store.units import LostRace, Pending, run_batch
from zenkei.store.writer import MAX_WEIGHT, Writer


def pending(jobs=0):
    reads = Reads(jobs=tuple(JobId(n) for n in range(jobs)))
    return Pending(Unit(reads=reads, decide=lambda view: (Changes(), None)))


class Gate:
    """A `run` that stops in its first batch until it is opened."""

    def __init__(self):
        self.batches = []
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, batch):
        self.batches.append(len(batch))
        self.entered.set()
        assert self.open.wait(30)
        for one in batch:
            one.resolve()


def blocked():
    """A writer in its first batch, and its gate."""
    gate = Gate()
    writer = Writer(gate, name="test")
    writer.submit(pending())
    assert gate.entered.wait(30)
    return writer, gate


def test_a_single_unit_is_not_kept_waiting_and_what_waits_goes_together():
    writer, gate = blocked()
    for _ in range(50):
        writer.submit(pending())
    gate.open.set()
    writer.close()
    assert gate.batches == [1, 50]


def test_a_transaction_does_not_grow_without_bound():
    writer, gate = blocked()
    for _ in range(7):
        writer.submit(pending(jobs=MAX_WEIGHT // 2))
    gate.open.set()
    writer.close()
    assert gate.batches == [1, 2, 2, 2, 1]


def test_closing_runs_what_waits_and_then_refuses():
    writer, gate = blocked()
    waiting = [pending() for _ in range(3)]
    for one in waiting:
        writer.submit(one)
    gate.open.set()
    writer.close()
    writer.close()
    assert all(one.future.done() for one in waiting)
    with pytest.raises(Unavailable):
        writer.submit(pending())


def test_a_unit_whose_future_was_cancelled_in_time_is_not_run():
    writer, gate = blocked()
    kept, cancelled = pending(), pending()
    for one in (cancelled, kept):
        writer.submit(one)
    assert cancelled.future.cancel()
    gate.open.set()
    writer.close()
    assert gate.batches == [1, 1]
    assert kept.future.done()


def test_a_batch_that_a_guilty_unit_spoils_is_run_one_by_one():
    guilty, good = pending(), pending()
    batches = []

    def transaction(batch):
        batches.append(len(batch))
        if guilty in batch:
            raise LostRace("job 1")

    run_batch([good, guilty], transaction, lambda committed: None)
    assert batches == [2, 1, 1]
    assert good.future.exception() is None
    assert "job 1" in str(guilty.future.exception())


def test_a_database_that_does_not_work_fails_the_batch_and_the_next_one_is_tried():
    units = [pending(), pending()]
    calls = []

    def transaction(batch):
        calls.append(len(batch))
        raise Unavailable("store-unavailable", "the disk is full")

    run_batch(units, transaction, lambda committed: None)
    assert calls == [2]
    assert {str(one.future.exception()) for one in units} == {"the disk is full"}


def test_a_unit_that_cannot_be_written_does_not_take_its_neighbours_down():
    bad, good = pending(), pending()

    def transaction(batch):
        if bad in batch:
            raise TypeError("set has no place in a row")

    run_batch([bad, good], transaction, lambda committed: None)
    assert good.future.exception() is None
    assert isinstance(bad.future.exception(), TypeError)
