"""`ports.datasets.Registry` in the database of the jobs.

Made by `SqlStore.datasets`. A change takes the database's write lock, as batches of units do. Cost:
one transaction per change (about 1 ms), a read is one query per table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, delete, func, insert, select, update

from zenkei.model.data import Digest
from zenkei.model.dataset import Dataset, DatasetEvent, DatasetVersion
from zenkei.ports.datasets import DatasetChange, DatasetRows
from zenkei.store.codec import (
    decode_dataset,
    decode_dataset_event,
    decode_dataset_version,
    dumps,
    loads,
)
from zenkei.store.sql import schema as t
from zenkei.store.sql.database import Database


class SqlDatasets:
    """clock: for tests; the database's own otherwise."""

    def __init__(self, database: Database, clock: Callable[[], int] | None = None) -> None:
        self._database = database
        self._clock = clock

    def dataset(self, name: str) -> DatasetRows | None:
        with self._database.reading() as connection:
            found = _row(connection, name)
            if found is None:
                return None
            table, tags = t.dataset_versions, t.dataset_tags
            rows = connection.execute(
                select(table.c.body).where(table.c.dataset == name).order_by(table.c.number)
            )
            versions = [decode_dataset_version(loads(body)) for (body,) in rows]
            named = connection.execute(
                select(tags.c.tag, tags.c.number).where(tags.c.dataset == name).order_by(tags.c.tag)
            )
            return DatasetRows(
                dataset=found,
                versions={version.number: version for version in versions},
                tags={str(row.tag): int(row.number) for row in named},
            )

    def datasets(self) -> tuple[Dataset, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(select(t.datasets.c.body)).fetchall()
        return tuple(sorted((decode_dataset(loads(b)) for (b,) in rows), key=lambda d: d.name))

    def version_of(self, digest: Digest) -> tuple[DatasetVersion, ...]:
        table = t.dataset_versions
        asked = select(table.c.body).where(table.c.digest == digest)
        with self._database.reading() as connection:
            rows = connection.execute(asked.order_by(table.c.dataset, table.c.number)).fetchall()
        return tuple(decode_dataset_version(loads(body)) for (body,) in rows)

    def digests(self) -> frozenset[Digest]:
        with self._database.reading() as connection:
            rows = connection.execute(select(t.dataset_versions.c.digest).distinct()).fetchall()
        return frozenset(Digest(digest) for (digest,) in rows)

    def history(self, name: str, *, limit: int = 1000) -> tuple[DatasetEvent, ...]:
        table = t.dataset_log
        newest = select(table.c.body).where(table.c.dataset == name)
        with self._database.reading() as connection:
            rows = connection.execute(newest.order_by(table.c.seq.desc()).limit(limit)).fetchall()
        return tuple(decode_dataset_event(loads(body)) for (body,) in reversed(rows))

    def apply(self, change: DatasetChange) -> bool:
        with self._database.writing() as connection:
            *_, now_us = self._database.counters(connection, lock=True)
            now_us = self._clock() if self._clock else now_us
            return enter(connection, change, now_us)


def enter(connection: Connection, change: DatasetChange, now_us: int) -> bool:
    """`Registry.apply` inside a transaction that holds the write lock."""
    found = _row(connection, change.name)
    if (found.revision if found else 0) != change.read:
        return False
    _write_dataset(connection, change, now_us)
    _write_versions(connection, change, now_us)
    _write_tags(connection, change)
    _write_log(connection, change, now_us)
    return True


def _row(connection: Connection, name: str) -> Dataset | None:
    asked = select(t.datasets.c.body).where(t.datasets.c.name == name)
    body = connection.execute(asked).scalar()
    return None if body is None else decode_dataset(loads(body))


def _write_dataset(connection: Connection, change: DatasetChange, now_us: int) -> None:
    table, name = t.datasets, change.name
    if change.dataset is None:
        for child in (t.dataset_versions, t.dataset_tags):
            connection.execute(delete(child).where(child.c.dataset == name))
        connection.execute(delete(table).where(table.c.name == name))
        return
    row = replace(
        change.dataset,
        revision=change.read + 1,
        created_us=change.dataset.created_us or now_us,
    )
    values = {"revision": row.revision, "body": dumps(row)}
    if change.read:
        connection.execute(update(table).where(table.c.name == name).values(**values))
    else:
        connection.execute(insert(table).values(name=name, **values))


def _write_versions(connection: Connection, change: DatasetChange, now_us: int) -> None:
    table = t.dataset_versions
    for version in change.versions:
        row = replace(version, at_us=version.at_us or now_us)
        connection.execute(
            insert(table).values(
                dataset=change.name, number=row.number, digest=row.digest, body=dumps(row)
            )
        )
    if change.removed:
        gone = (table.c.dataset == change.name) & table.c.number.in_(change.removed)
        connection.execute(delete(table).where(gone))


def _write_tags(connection: Connection, change: DatasetChange) -> None:
    table = t.dataset_tags
    for tag, number in change.tags.items():
        connection.execute(
            delete(table).where((table.c.dataset == change.name) & (table.c.tag == tag))
        )
        if number:
            connection.execute(insert(table).values(dataset=change.name, tag=tag, number=number))


def _write_log(connection: Connection, change: DatasetChange, now_us: int) -> None:
    table = t.dataset_log
    seq = connection.execute(select(func.coalesce(func.max(table.c.seq), 0))).scalar_one()
    for place, event in enumerate(change.events, start=seq + 1):
        body = dumps(replace(event, at_us=event.at_us or now_us))
        connection.execute(insert(table).values(seq=place, dataset=change.name, body=body))
