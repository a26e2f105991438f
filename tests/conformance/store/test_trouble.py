"""When the database does not work: who asked is told, what was said is kept, and it goes on."""

import pytest

from tests.builders import put, submit
from zenkei.model.data import Digest
from zenkei.model.errors import NotAvailable, Unavailable
from zenkei.ports.store import Changes
from zenkei.store.sql import SqlStore


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_full_disk_fails_the_unit_and_nothing_else(world):
    store = world.open()
    (job,) = submit(store)
    with store._database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 4}")
    with pytest.raises(Unavailable, match="full") as caught:
        put(store, Changes(specs={Digest("b3:big"): "x" * 200_000}))
    assert "space" in caught.value.hint
    assert store.job(job) is not None
    with store._database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert submit(store)[0].number > job.number
    assert store.check() == []


@pytest.mark.parametrize("kind", [pytest.param("postgres", marks=pytest.mark.postgres)])
def test_connections_that_the_server_ended_are_replaced(world, server):
    store = world.open()
    (job,) = submit(store)
    assert store.job(job) is not None
    with server.connect() as other:
        ended = other.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
    assert ended[0] >= 2
    assert submit(store)[0].number > job.number
    assert store.job(job) is not None


@pytest.mark.parametrize("kind", [pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_server_that_is_not_there_is_an_error_with_a_hint(tmp_path, kind):
    with pytest.raises(Unavailable) as caught:
        SqlStore(f"postgresql+psycopg://nobody@/x?host={tmp_path}")
    assert caught.value.hint


def test_a_backup_is_a_database_or_is_refused_with_a_hint(world, store, tmp_path):
    (job,) = submit(store)
    copy = tmp_path / "copy.sqlite3"
    if world.kind != "sqlite":
        with pytest.raises(NotAvailable):
            store.backup(str(copy))
        return
    store.backup(str(copy))
    submit(store)
    restored = SqlStore(f"sqlite:///{copy}")
    assert restored.members(job.number) == store.members(job.number)
    assert restored.seq() == 1
    assert restored.check() == []
    restored.close()
    assert copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unavailable):
        store.backup(str(tmp_path / "nowhere" / "copy.sqlite3"))
