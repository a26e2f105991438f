"""`ports.book.ResultBook` in the database of the jobs. Made by `SqlStore`.

A verdict is a row for each of its two jobs, so that one of them can be forgotten. Names are a log:
the newest row of a name says what it means. Cost: one short transaction per change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, Table, func, insert, select

from zenkei.model.data import ResultTag
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.verdict import Verification
from zenkei.store.codec import column, decode_result_tag, decode_verification, dumps, loads
from zenkei.store.sql import schema as t
from zenkei.store.sql.database import Database


class SqlBook:
    """clock: for tests; the database's own otherwise."""

    def __init__(self, database: Database, clock: Callable[[], int] | None = None) -> None:
        self._database = database
        self._clock = clock

    def keep(self, verification: Verification) -> Verification:
        with self._database.writing() as connection:
            kept = replace(verification, at_us=self._now_us(connection))
            seq = _next(connection, t.verdicts)
            for job in sorted({JobId.parse(kept.job), JobId.parse(kept.against)}):
                row = {"job": job.key, "seq": seq, "body": dumps(kept)}
                connection.execute(insert(t.verdicts).values(**row))
            return kept

    def verdicts(self, job: JobId) -> tuple[Verification, ...]:
        table = t.verdicts
        asked = select(table.c.body).where(table.c.job == job.key).order_by(table.c.seq)
        with self._database.reading() as connection:
            rows = connection.execute(asked).fetchall()
        return tuple(decode_verification(loads(body)) for (body,) in rows)

    def tag(self, tag: ResultTag) -> ResultTag:
        table = t.result_tags
        with self._database.writing() as connection:
            at_us, seq = self._now_us(connection), _next(connection, table)
            kept = replace(tag, at_us=at_us, seq=seq)
            job = AttemptId.parse(tag.attempt).job.key if tag.attempt else 0
            row = {
                "seq": seq,
                "job": job,
                "project": column(tag.project),
                "tag": column(tag.tag),
                "body": dumps(kept),
            }
            connection.execute(insert(table).values(**row))
            return kept

    def tags(self, project: str = "") -> tuple[ResultTag, ...]:
        table = t.result_tags
        newest = select(func.max(table.c.seq)).group_by(table.c.project, table.c.tag)
        asked = select(table.c.body).where(table.c.seq.in_(newest))
        if project:
            asked = asked.where(table.c.project == column(project))
        with self._database.reading() as connection:
            rows = connection.execute(asked).fetchall()
        found = [decode_result_tag(loads(body)) for (body,) in rows]
        return tuple(sorted((tag for tag in found if tag.attempt), key=_by_name))

    def history(self, project: str, tag: str) -> tuple[ResultTag, ...]:
        table = t.result_tags
        named = (table.c.project == column(project)) & (table.c.tag == column(tag))
        asked = select(table.c.body).where(named).order_by(table.c.seq)
        with self._database.reading() as connection:
            rows = connection.execute(asked).fetchall()
        return tuple(decode_result_tag(loads(body)) for (body,) in rows)

    def _now_us(self, connection: Connection) -> int:
        *_, now_us = self._database.counters(connection, lock=True)
        return int(self._clock() if self._clock else now_us)


def _next(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.coalesce(func.max(table.c.seq), 0))).scalar_one()) + 1


def _by_name(tag: ResultTag) -> tuple[str, str]:
    return tag.project, tag.tag
