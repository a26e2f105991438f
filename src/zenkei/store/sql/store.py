"""`ports.store.Store` on SQLite or PostgreSQL: group commit by one writer thread.

Made by the composition root. Who writes holds the database's one write lock (SQLite's own, on
PostgreSQL the row of `counters`) from before it reads until it has committed: units of all
controllers run as if one after another and seq is in commit order. Cost: one transaction per batch,
about 0.1 ms of CPU per unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from zenkei.model.event import Effect
from zenkei.model.instants import FURTHEST_US
from zenkei.ports.store import Committed, Unit
from zenkei.store.codec import decode_effect
from zenkei.store.listeners import Listeners
from zenkei.store.sql import schema as t
from zenkei.store.sql.book import SqlBook
from zenkei.store.sql.datasets import SqlDatasets
from zenkei.store.sql.maintenance import SqlMaintenance
from zenkei.store.sql.opening import open_database
from zenkei.store.sql.queries import SqlQueries
from zenkei.store.sql.rows import ClusterCache, JobCache, SqlRows
from zenkei.store.sql.writes import write
from zenkei.store.units import Batch, Counters, Pending, run_batch
from zenkei.store.writer import Writer

T = TypeVar("T")


class SqlStore(SqlQueries, SqlMaintenance):
    """Store and Maintenance of controller `owner` on the database at `url`.

    owner: differs between controllers that live at the same time. lease_s: how long others leave
    this controller's new effects to it. clock: for tests; the database's own otherwise.
    backups_dir: where a copy goes before a migration changes a database.
    Raises an error of zenkei's tree if the database cannot be used; it is untouched then.
    """

    def __init__(
        self,
        url: str,
        *,
        owner: str = "zenkei",
        lease_s: float = 30.0,
        clock: Callable[[], int] | None = None,
        backups_dir: Path | None = None,
    ) -> None:
        self._database = open_database(url, backups_dir=backups_dir)
        self._owner = owner
        self._lease_us = int(lease_s * 1e6)
        self._clock = clock
        self.book = SqlBook(self._database, clock)
        self.datasets = SqlDatasets(self._database, clock)
        self._cache = JobCache()
        self._cluster = ClusterCache()
        self._listeners = Listeners()
        self._writer = Writer(self._run, name="zenkei-store")

    def submit(self, unit: Unit[T]) -> Future[T]:
        pending = Pending(unit)
        self._writer.submit(pending)
        return pending.future

    def listen(self, listener: Callable[[Committed], None]) -> None:
        self._listeners.add(listener)

    def close(self) -> None:
        self._writer.close()
        self._database.close()

    def _run(self, batch: Sequence[Pending]) -> None:
        run_batch(batch, self._transaction, self._listeners.tell)

    def _transaction(self, batch: Sequence[Pending]) -> Committed | None:
        with self._database.writing() as connection:
            seq, number, effect, at_us, now_us = self._database.counters(connection, lock=True)
            rows = SqlRows(connection, self._cache, self._cluster)
            counters = Counters(seq=seq, number=number, effect=effect, at_us=at_us)
            writes = Batch(rows, counters, self._clock() if self._clock else now_us).decide(batch)
            if writes.empty:
                return None
            inserted = write(connection, writes, owner=self._owner, lease_us=self._lease_us)
        for job in writes.born.values():
            self._cache.put(job)
        for _, job in writes.changed.values():
            self._cache.put(job)
        return writes.committed(inserted)

    def claim(self, *, owner: str, limit: int, lease_s: float) -> tuple[Effect, ...]:
        with self._database.reading() as connection:
            now_us = self._now_us(connection)
            first = connection.execute(select(t.outbox.c.id).where(_due(now_us)).limit(1)).first()
        if first is None:  # the usual answer, and no write lock was taken for it
            return ()
        with self._database.writing() as connection:
            self._database.counters(connection, lock=True)
            now_us = self._now_us(connection)
            due = select(t.outbox.c.id).where(_due(now_us)).order_by(t.outbox.c.id).limit(limit)
            claimed = connection.execute(
                update(t.outbox)
                .where(t.outbox.c.id.in_(due.scalar_subquery()))
                .values(owner=owner, leased_until_us=now_us + int(lease_s * 1e6))
                .returning(t.outbox.c.id, t.outbox.c.job, t.outbox.c.tries, t.outbox.c.body)
            ).fetchall()
        return tuple(decode_effect(*row) for row in sorted(tuple(row) for row in claimed))

    def _now_us(self, connection: Connection) -> int:
        *_, now_us = self._database.counters(connection)
        return int(self._clock() if self._clock else now_us)


def _due(now_us: int) -> ColumnElement[bool]:
    far_us = now_us + FURTHEST_US
    instants = (t.outbox.c.due_us, t.outbox.c.leased_until_us)
    return and_(*(or_(instant <= now_us, instant > far_us) for instant in instants))
