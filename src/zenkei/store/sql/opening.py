"""Open a database: make it, bring it up to date, or refuse it untouched.

Called by `SqlStore.__init__`. The version is read first, and on SQLite through a read-only
connection: a database of a newer zenkei, of another program, or a damaged one is never written to.
Alembic is imported only when there is something to do. Cost: 1 ms if the schema is current.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, exc, inspect

from zenkei.model.errors import Conflict, Unavailable
from zenkei.store.sql.database import Database, Place, corrupt

REVISION: Final = "0001"
"""The schema that this program writes; the newest of `migrations`."""
_REVISIONS: Final = ("0001",)
_LOCK: Final = 0x7A656E6B


def open_database(url: str, *, backups_dir: Path | None = None) -> Database:
    """A database with the schema of this program. Raises an error of zenkei's tree."""
    place = Place.of(url)
    version = _prepare_file(place) if place.path is not None else None
    database = Database(place)
    try:
        if version is None and place.path is None:
            with database.reading() as connection:
                version = _version(connection)
        _refuse_unknown(place, version)
        if version != REVISION:
            _migrate(database, version, backups_dir)
    except BaseException:
        database.close()
        raise
    return database


def _prepare_file(place: Place) -> str | None:
    """The version of an existing file, None for a new one, which is made private."""
    path = place.path
    assert path is not None
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot be made: {error.strerror}",
            hint="look whether the directory exists, is writable and has space",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        raise Unavailable(
            "store-unavailable",
            f"the database {path} may not be written to",
            hint="make the file and its directory writable",
        )
    return _read_version(place, path) if path.stat().st_size else None


def _read_version(place: Place, path: Path) -> str:
    uri = path.absolute().as_uri() + "?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=30)
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise _foreign(place) from error
        raise Unavailable(
            "store-unavailable",
            f"the database {path} cannot be read: {error}",
            hint="another program may hold it; look for a second daemon",
        ) from error
    except sqlite3.DatabaseError as error:
        raise corrupt(place, str(error)) from error
    if len(rows) != 1:
        raise _foreign(place)
    return str(rows[0][0])


def _version(connection: Connection) -> str | None:
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if "jobs" in tables:
            raise Conflict("store-foreign", "the database has tables of another program")
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
    if place.path is not None:
        if version is not None and backups_dir is not None:
            backups_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy_database(place, backups_dir / f"before-{REVISION}-from-{version}.sqlite3")
        with database.outside() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
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
    command.upgrade(config, revision)
