"""The statements themselves: a stale row is absent from RETURNING and nothing is written."""

from dataclasses import replace

import pytest

from tests.builders import do, submit
from zenkei.lifecycle import commands as c
from zenkei.store.sql import SqlStore
from zenkei.store.sql.writes import write
from zenkei.store.units import Counters, LostRace, WriteSet


def test_the_compare_and_set_refuses_a_version_that_is_no_longer_there(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/db.sqlite3")
    (job,), (other,) = submit(store), submit(store)
    do(store, job, c.Prepare())
    row, fine = store.job(job), store.job(other)
    assert row is not None
    assert fine is not None
    counters = Counters(seq=9, number=9, effect=9, at_us=9)
    writes = WriteSet(now_us=1, before=counters, after=counters)
    writes.changed = {
        other: (1, replace(fine, version=2, message="written")),
        job: (1, replace(row, version=2, message="too late")),
    }

    def write_all():
        with store._database.writing() as connection:
            write(connection, writes, owner="a", lease_us=1)

    with pytest.raises(LostRace, match=f"job {job}$"):
        write_all()
    assert (store.job(job), store.job(other)) == (row, fine)
    del writes.changed[job]
    write_all()
    assert store.job(other).message == "written"  # type: ignore[union-attr]
    store.close()
