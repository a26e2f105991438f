"""Open a database: make it, bring it up to date, or refuse it untouched.

Called by `SqlStore.__init__`. The version is read first, and on SQLite through a read-only
connection: a database of a newer zenkei, of another program, or a damaged one is never written to.
Alembic is imported only when there is something to do. Cost: 1 ms if the schema is current.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, exc, inspect

from zenkei.api.version import SCHEMAS
from zenkei.model.errors import Conflict, Unavailable
from zenkei.store.sql.database import Database, Place, corrupt

REVISION: Final = SCHEMAS[-1]
"""The schema that this program writes; the newest of `migrations`."""
_REVISIONS: Final = SCHEMAS
_LOCK: Final = 0x7A656E6B
_ONE_AT_A_TIME: Final = threading.Lock()
"""Alembic keeps the migration that runs in a global."""


def open_database(url: str, *, backups_dir: Path | None = None) -> Database:
    """A database with the schema of this program. Raises an error of zenkei's tree."""
    place = Place.of(url)
    version = None
    if place.path is not None:
        _need_access(place.path)
        if not place.path.exists() or not place.path.stat().st_size:
            _make_file(place, place.path)
        version = _read_version(place, place.path)
        _refuse_unknown(place, version)
        _set_journal(place, place.path)
    database = Database(place)
    try:
        if place.path is None:
            with database.reading() as connection:
                version = _version(place, connection)
            _refuse_unknown(place, version)
        if version != REVISION:
            _migrate(database, version, backups_dir)
    except BaseException:
        database.close()
        raise
    return database


def _need_access(path: Path) -> None:
    if not path.parent.is_dir():
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot be made: its directory does not exist",
            hint="make the directory, or choose another place",
        )
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise Unavailable(
            "store-unavailable",
            f"the database {path} may not be written to",
            hint="make the file and its directory writable",
        )


def _make_file(place: Place, path: Path) -> None:
    """A private file with the schema, complete or not there at all, also when several do this."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".new-", suffix=".sqlite3", dir=path.parent)
        os.close(descriptor)  # mkstemp makes it 0600; SQLite gives its log the same mode
        new = Path(name)
        try:
            _fill(place, new)
            _publish(new, path)
        finally:
            for suffix in ("", "-wal", "-shm"):
                Path(name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot be made: {error.strerror}",
            hint="look whether the directory is writable and has space",
        ) from error


def _fill(place: Place, new: Path) -> None:
    made = Place(url=place.url.set(database=str(new)), path=new)
    _set_journal(made, new)
    database = Database(made)
    try:
        _migrate(database, None, None)
    finally:
        database.close()  # the last connection empties the log into the file


def _publish(new: Path, path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        new.replace(path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        return  # somebody else was faster; his is as good
    except OSError:  # a file system without links
        new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _set_journal(place: Place, path: Path) -> None:
    with _connected(place, path, "rw") as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot keep a write-ahead log here ({mode})",
            hint="put ZENKEI_HOME on a local file system",
        )


@contextmanager
def _connected(place: Place, path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A plain connection, closed at the end; its errors as zenkei's."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot be opened: {error}",
            hint="another program may hold it; look for a second daemon",
        ) from error
    except sqlite3.DatabaseError as error:
        raise corrupt(place, str(error)) from error


def _read_version(place: Place, path: Path) -> str:
    with _connected(place, path, "ro") as connection:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        if connection.execute(tables).fetchone() != (1,):
            raise _foreign(place)
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(rows) != 1:
        raise _foreign(place)
    return str(rows[0][0])


def _version(place: Place, connection: Connection) -> str | None:
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if "jobs" in tables:
            raise _foreign(place)
        return None
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def _foreign(place: Place) -> Conflict:
    return Conflict(
        "store-foreign",
        f"{place} is a database, but not one of zenkei's",
        hint="choose another file; nothing was changed",
    )


def _refuse_unknown(place: Place, version: str | None) -> None:
    if version is not None and version not in _REVISIONS:
        raise Conflict(
            "store-newer",
            f"{place} was written by a newer zenkei (schema {version}, this one knows {REVISION})",
            hint="update zenkei, or use a backup from before its update; nothing was changed",
            details={"schema": version, "known": REVISION},
        )


def _migrate(database: Database, version: str | None, backups_dir: Path | None) -> None:
    from zenkei.store.sql.maintenance import copy_database

    place = database.place
    if place.path is not None and version is not None and backups_dir is not None:
        backups_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_database(place, backups_dir / f"before-{REVISION}-from-{version}.sqlite3")
    with database.writing() as connection:
        if place.path is None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        try:
            upgrade(connection, REVISION)
        except exc.SQLAlchemyError as error:
            raise Unavailable(
                "store-unavailable",
                f"the schema of {place} could not be made: {error}",
                hint="nothing was changed; look at space and rights, then start again",
            ) from error


def upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations up to `revision` inside the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with _ONE_AT_A_TIME:
        command.upgrade(config, revision)
