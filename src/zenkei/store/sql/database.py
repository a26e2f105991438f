"""Connections: two engines on one database, one that writes and one that reads.

SQLite: WAL, synchronous=FULL (an acknowledged commit survives a power cut), writers begin with
BEGIN IMMEDIATE, readers with BEGIN. PostgreSQL: writers READ COMMITTED behind the counters' row
lock, readers REPEATABLE READ. Driver errors become `Unavailable` with a hint.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    event,
    exc,
    literal_column,
    make_url,
    select,
)

from zenkei.model.errors import InvalidInput, Unavailable
from zenkei.store.sql.schema import counters
from zenkei.store.units import LostRace

BUSY_S: Final = 30.0
CACHE_KIB: Final = 32 * 1024
"""Of pages, at most: SQLite's 2 MiB make a batch of 1,000 jobs read its own pages again."""
SQLITE, POSTGRESQL = "sqlite", "postgresql"
_NOW_US: Final = {
    SQLITE: "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
    " + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000",
    POSTGRESQL: "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the database is. path: of the file, on SQLite."""

    url: URL
    path: Path | None

    @classmethod
    def of(cls, url: str) -> Place:
        """Raises InvalidInput unless it is `sqlite:////path` or `postgresql+psycopg://...`."""
        try:
            parsed = make_url(url)
        except exc.ArgumentError as error:
            raise _bad_url("it cannot be read as a URL") from error
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        name = parsed.get_backend_name()
        if name == SQLITE and parsed.database not in (None, "", ":memory:"):
            assert parsed.database is not None
            return cls(url=parsed, path=Path(parsed.database))
        if name != POSTGRESQL or parsed.get_driver_name() != "psycopg":
            raise _bad_url(f"`{parsed.drivername}` is not offered")
        return cls(url=parsed, path=None)

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)


def _bad_url(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-store-url",
        f"the database's URL is not usable: {why}",
        hint="use sqlite:////absolute/path or postgresql+psycopg://user@host/name",
    )


class Database:
    """Two engines. `dialect` is `sqlite` or `postgresql`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.dialect = place.url.get_backend_name()
        self._file = _identity(place.path) if place.path is not None else None
        if place.path is not None:
            self._writer = _sqlite(place.url, "BEGIN IMMEDIATE")
            self._reader = _sqlite(place.url, "BEGIN")
        else:
            # asked before each use: a server that was restarted costs nobody his command
            alive = {"pool_pre_ping": True}
            self._writer = create_engine(place.url, isolation_level="READ COMMITTED", **alive)
            self._reader = create_engine(place.url, isolation_level="REPEATABLE READ", **alive)
        lock = " FOR UPDATE" if place.path is None else ""
        now: ColumnElement[int] = literal_column(_NOW_US[self.dialect])
        c = counters.c
        counted = select(c.seq, c.number, c.effect, c.at_us, now).where(c.id == literal_column("1"))
        self._counters = str(counted.compile(dialect=self._reader.dialect))
        self._locked_counters = self._counters + lock

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back if the body raises."""
        with translated(self.place), self._writer.begin() as connection:
            self._need_file()
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent snapshot."""
        with translated(self.place), self._reader.connect() as connection:
            yield connection

    def _need_file(self) -> None:
        """SQLite would go on writing to a file that was deleted, and all of it would be lost."""
        if self.place.path is not None and _identity(self.place.path) != self._file:
            raise Unavailable(
                "store-unavailable",
                f"the database {self.place} was deleted or replaced while it was in use",
                hint="stop the daemon (`zenkei down`) and put a copy from backups/ in its place",
            )

    def counters(self, connection: Connection, *, lock: bool = False) -> tuple[Any, ...]:
        """(seq, number, effect, at_us, now_us). With `lock` no other writer comes in between."""
        text = self._locked_counters if lock else self._counters
        return tuple(connection.exec_driver_sql(text).one())

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file at `path`, None if there is none. Cost: 2 µs."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _sqlite(url: URL, begin: str) -> Engine:
    assert url.database is not None
    # never made here: a file that is gone is an error, not a new database
    uri = f"{Path(url.database).absolute().as_uri()}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_S, check_same_thread=False)

    engine = create_engine(url, creator=connect)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Driver errors as errors of zenkei's tree. What breaks a constraint lost a race."""
    try:
        yield
    except exc.IntegrityError as error:
        raise LostRace("a row") from error
    except exc.OperationalError as error:
        raise _unavailable(place, str(error.orig)) from error
    except (exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise _unavailable(place, str(error)) from error
    except exc.DatabaseError as error:
        if place.path is None or isinstance(error, exc.DataError | exc.ProgrammingError):
            raise
        raise corrupt(place, str(error.orig)) from error


_HINTS: Final = (
    ("locked", "another program holds the database; look for a second daemon"),
    ("disk is full", "free some space on the disk"),
    ("readonly", "make the file and its directory writable"),
    ("unable to open", "look whether the directory exists and is writable"),
    ("disk I/O", "look at the disk, and whether it is full"),
)


def _unavailable(place: Place, why: str) -> Unavailable:
    hint = next((hint for word, hint in _HINTS if word in why), "look whether it runs and answers")
    return Unavailable(
        "store-unavailable", f"the database {place} does not work: {why.strip()}", hint=hint
    )


def corrupt(place: Place, why: str) -> Unavailable:
    return Unavailable(
        "store-corrupt",
        f"{place} is damaged or is not a database of zenkei: {why}",
        hint="nothing was changed; put a copy from the backups directory in its place",
    )
