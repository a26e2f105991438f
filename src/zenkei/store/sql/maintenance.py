"""Forget, copy and check a database. Called by the composition root and `zenkei doctor`.

`check` and `backup` read while others write; the others write like any unit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, and_, delete, exists, or_, select, update

from zenkei.model.errors import NotAvailable, Unavailable
from zenkei.model.event import Event
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Job
from zenkei.store.checking import (
    effects_of_nobody,
    replay_differs,
    wrongly_counted,
    wrongly_held,
)
from zenkei.store.codec import decode_allocations, decode_effect, decode_event, decode_node, loads
from zenkei.store.sql import schema as t
from zenkei.store.sql.database import Database, Place, translated
from zenkei.store.sql.jsonrows import NUMBER, Statement, pack, rows
from zenkei.store.sql.queries import EVENT_COLUMNS
from zenkei.store.sql.rows import (
    JOB_COLUMNS,
    PART_COLUMNS,
    PART_ORDER,
    JobCache,
    decode_past,
    key_range,
)

_keys = rows(key=NUMBER)
_OVER = Statement(
    select(t.jobs.c.key).where(
        t.jobs.c.key == _keys.c.key, or_(*(t.jobs.c.state == str(s) for s in sorted(TERMINAL)))
    )
)


def _delete_of(table: Table) -> Statement:
    job = table.c.key if table is t.jobs else table.c.job
    return Statement(delete(table).where(job.in_(select(_keys.c.key))))


_OF_JOBS: Final = [
    _delete_of(table)
    for table in (
        t.jobs,
        t.events,
        t.usage,
        t.dependencies,
        t.results,
        t.verdicts,
        t.result_tags,
        t.checkpoints,
        t.outbox,
    )
]
_ranges = rows(number=NUMBER, first=NUMBER, last=NUMBER)
_left = exists().where(and_(t.jobs.c.key >= _ranges.c.first, t.jobs.c.key <= _ranges.c.last))
_EMPTY = Statement(select(_ranges.c.number, _ranges.c.first).where(~_left))
_REQUESTS = Statement(delete(t.requests).where(t.requests.c.number.in_(select(_keys.c.key))))
_OUTBOX = _delete_of(t.outbox)
_CHUNK: Final = 10_000


class SqlMaintenance:
    """`ports.store.Maintenance`. Needs `_database` and `_cache` of the store."""

    _database: Database
    _cache: JobCache

    def forget(self, jobs: Iterable[JobId]) -> int:
        with self._database.writing() as connection:
            self._database.counters(connection, lock=True)
            asked = pack([(job.key,) for job in jobs])
            over = [JobId.from_key(key) for (key,) in _OVER.run(connection, j=asked)]
            gone = pack([(job.key,) for job in over])
            for statement in _OF_JOBS:
                statement.run(connection, j=gone)
            ranges = [(number, *key_range(number)) for number in {job.number for job in over}]
            empty = _EMPTY.run(connection, j=pack(ranges)).fetchall()
            _REQUESTS.run(connection, j=pack([(number,) for number, _ in empty]))
            _OUTBOX.run(connection, j=pack([(first,) for _, first in empty]))
            return len(over)

    def backup(self, to: str) -> None:
        if self._database.place.path is None:
            raise NotAvailable(
                "no-backup",
                "zenkei does not copy a PostgreSQL database",
                hint="use pg_dump, or the backups of whoever runs the server",
            )
        copy_database(self._database.place, Path(to))

    def inherit(self, owners: str) -> int:
        """End the leases of owners whose names begin with `owners`; how many effects that freed.

        For one who knows that they are dead, so that what they left is not waited for.
        """
        with self._database.writing() as connection:
            self._database.counters(connection, lock=True)
            theirs = t.outbox.c.owner.startswith(owners, autoescape=True)
            freed = update(t.outbox).where(theirs).values(leased_until_us=0)
            return connection.execute(freed).rowcount

    def continue_after(self, number: int) -> None:
        """Give no job a number up to `number`: they are taken, whatever an old copy knows."""
        with self._database.writing() as connection:
            self._database.counters(connection, lock=True)
            behind = t.counters.c.number < number
            connection.execute(update(t.counters).where(behind).values(number=number))

    def check(self) -> list[str]:
        with self._database.reading() as connection:
            return [*_integrity(connection), *self._breaches(connection)]

    def _breaches(self, connection: Connection) -> Iterator[str]:
        found = connection.execute(select(*JOB_COLUMNS)).fetchall()
        jobs: dict[JobId, Job] = {}
        for row in found:
            job = self._cache.decode(tuple(row))
            jobs[job.id] = job
        yield from replay_differs(jobs, _events(connection))
        nodes = connection.execute(select(t.nodes.c.body).where(t.nodes.c.removed == 0))
        parts = connection.execute(select(*PART_COLUMNS).order_by(*PART_ORDER)).fetchall()
        held = decode_allocations(tuple(part) for part in parts)
        yield from wrongly_held(jobs, [decode_node(loads(body)) for (body,) in nodes], held)
        outbox = connection.execute(
            select(t.outbox.c.id, t.outbox.c.job, t.outbox.c.tries, t.outbox.c.body)
        )
        yield from effects_of_nobody(jobs, [decode_effect(*row) for row in outbox])
        past = connection.execute(select(t.past_usage.c.body))
        yield from wrongly_counted(decode_past(body) for (body,) in past)


def _events(connection: Connection) -> Iterator[Event]:
    last = 0
    while True:
        query = select(*EVENT_COLUMNS).where(t.events.c.seq > last).order_by(t.events.c.seq)
        found = connection.execute(query.limit(_CHUNK)).fetchall()
        for row in found:
            yield decode_event(*row)
        if len(found) < _CHUNK:
            return
        last = found[-1][0]


def _integrity(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if line != "ok":
                yield f"the file is damaged: {line}"


def copy_database(place: Place, to: Path) -> None:
    """A consistent private copy of a SQLite database while others write; complete or not there."""
    assert place.path is not None
    part = to.with_name(f".{to.name}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        with translated(place):
            _copy(place.path, part)
        descriptor = os.open(part, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        part.replace(to)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise Unavailable(
            "backup-failed",
            f"{place} could not be copied to {to}: {error}",
            hint="look whether the directory exists, is writable and has space",
        ) from error


def _copy(source: Path, to: Path) -> None:
    reader = sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True, timeout=30)
    writer = sqlite3.connect(to)
    try:
        reader.backup(writer)
    finally:
        writer.close()
        reader.close()
