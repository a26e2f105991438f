"""One finding of `zenkei doctor`, and the checks of the home: owner, disk, locks, daemon, database.

Called by `doctor`. A check never raises and changes nothing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from zenkei.api.version import SCHEMAS
from zenkei.cli import render
from zenkei.client import places
from zenkei.client.client import Client
from zenkei.client.failure import Failure, NotRunning
from zenkei.model.errors import ZenkeiError
from zenkei.server.home import NETWORK, file_system
from zenkei.settings import Settings, load

MOST_DATABASE_BYTES = 1 << 30


class Verdict(StrEnum):
    """FAIL makes zenkei unusable; WARN takes something away; NOTE is good to know."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """hint: what would help, and what that would enable. facts: for --json."""

    name: str
    verdict: Verdict
    text: str
    hint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        return asdict(self)


def home(path: str) -> Finding:
    """Whose it is, and whether it can be written."""
    facts: dict[str, Any] = {"home": path, "uid": os.geteuid()}
    nearest = path
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    if nearest != path:
        if os.access(nearest, os.W_OK | os.X_OK):
            text = f"{path} is not there yet; the first job makes it"
            return Finding(name="home", verdict=Verdict.OK, text=text, facts=facts)
        text, hint = (
            f"{path} cannot be made in {nearest}",
            "set ZENKEI_HOME to a directory of yours",
        )
        return Finding(name="home", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
    found = os.stat(path)
    facts |= {"owner": found.st_uid, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        text = f"{path} is not a directory of yours (it belongs to uid {found.st_uid})"
        hint = "each person has a home of their own: set ZENKEI_HOME"
        return Finding(name="home", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
    if not os.access(path, os.W_OK | os.X_OK):
        hint = f"chmod 700 {path}; a read-only file system must be mounted writable"
        text = f"{path} cannot be written"
        return Finding(name="home", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
    return Finding(name="home", verdict=Verdict.OK, text=f"{path}, yours", facts=facts)


def network(path: str) -> Finding:
    kind = file_system(Path(path), Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
    facts = {"file_system": kind}
    if kind in NETWORK:
        text = f"the home lies on a network file system ({kind}): its locks do not hold there"
        hint = "set ZENKEI_HOME to a directory on a local disk"
        return Finding(name="file system", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
    text = f"the home lies on {kind or 'an unknown file system'}, which is local"
    return Finding(name="file system", verdict=Verdict.OK, text=text, facts=facts)


def disk(path: str, settings: Settings) -> Finding:
    """Below the limit nothing new starts."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = shutil.disk_usage(path)
    least = max(settings.min_free_bytes, int(found.total * settings.min_free_percent / 100))
    facts = {"free_bytes": found.free, "total_bytes": found.total, "least_bytes": least}
    text = f"{render.size(found.free)} of {render.size(found.total)} are free"
    if found.free < least:
        text += f"; below {render.size(least)} nothing new starts"
        hint = "`zenkei du` shows what zenkei keeps, `zenkei prune` removes old jobs"
        return Finding(name="disk", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
    if found.free < 2 * least:
        text += f"; at {render.size(least)} nothing new starts any more"
        return Finding(name="disk", verdict=Verdict.WARN, text=text, facts=facts)
    return Finding(name="disk", verdict=Verdict.OK, text=text, facts=facts)


def socket_path(path: str) -> Finding:
    own = places.own_socket(path)
    length = len(os.fsencode(own))
    facts: dict[str, Any] = {"bytes": length, "limit": places.MOST_SOCKET_BYTES}
    if not places.too_long(own):
        text = f"{length} of {places.MOST_SOCKET_BYTES} bytes"
        return Finding(name="socket", verdict=Verdict.OK, text=text, facts=facts)
    text = f"the home's path is too long for a socket ({length} bytes): it lies elsewhere"
    hint = "a shorter ZENKEI_HOME keeps everything in one place"
    return Finding(name="socket", verdict=Verdict.NOTE, text=text, hint=hint, facts=facts)


def settings_of() -> tuple[Settings | None, Finding]:
    """The settings as a daemon would read them."""
    try:
        settings = load()
    except ZenkeiError as error:
        finding = Finding(
            name="settings", verdict=Verdict.FAIL, text=error.message, hint=error.hint
        )
        return None, finding
    changed = [
        name
        for name in settings.__dataclass_fields__
        if name != "home" and getattr(settings, name) != settings.__dataclass_fields__[name].default
    ]
    text = f"changed: {', '.join(changed)}" if changed else "all as they come"
    facts = {"changed": changed}
    return settings, Finding(name="settings", verdict=Verdict.OK, text=text, facts=facts)


def daemon(path: str) -> Finding:
    """Whether one runs, and what it says of itself. None is started."""
    try:
        health = Client(path).health()
    except NotRunning:
        text = "none runs; the next command that needs one starts it"
        return Finding(name="daemon", verdict=Verdict.OK, text=text, facts={"running": False})
    except Failure as error:
        # 75: it runs, and is unwell or busy
        verdict = Verdict.WARN if error.exit_code == 75 else Verdict.FAIL
        return Finding(name="daemon", verdict=verdict, text=error.message, hint=error.hint)
    facts = {"running": True, "health": health}
    text = f"version {health['version']} runs, pid {health['pid']}"
    if health["problems"]:
        problems = "; ".join(health["problems"])
        return Finding(name="daemon", verdict=Verdict.WARN, text=f"{text}: {problems}", facts=facts)
    return Finding(name="daemon", verdict=Verdict.OK, text=text, facts=facts)


def database(path: str, settings: Settings) -> Finding:
    """SQLite's own quick check, reading only. PostgreSQL is somebody else's to check."""
    if settings.database:
        text = "a database server is used; see its own checks"
        return Finding(name="database", verdict=Verdict.OK, text=text)
    file = os.path.join(path, "db.sqlite3")
    if not os.path.exists(file):
        return Finding(name="database", verdict=Verdict.OK, text="none yet")
    size = os.path.getsize(file)
    if size > MOST_DATABASE_BYTES:
        text = f"{render.size(size)}: too large to be checked here"
        return Finding(name="database", verdict=Verdict.NOTE, text=text)
    try:
        connection = sqlite3.connect(f"{Path(file).as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            answer = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
            schema = _schema(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        answer, schema = [str(error)], ""
    if answer == ["ok"] and schema not in SCHEMAS:
        return _unknown_schema(path, schema)
    if answer == ["ok"]:
        text = f"sound, {render.size(size)}"
        return Finding(name="database", verdict=Verdict.OK, text=text, facts={"bytes": size})
    return Finding(
        name="database",
        verdict=Verdict.FAIL,
        text=f"damaged: {'; '.join(answer)}",
        hint=f"`zenkei down`, keep {file}, and put a copy from backups/ in its place",
    )


def _schema(connection: sqlite3.Connection) -> str:
    """As Alembic wrote it; empty if it is no database of zenkei's."""
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    if connection.execute(tables).fetchone() != (1,):
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _unknown_schema(home: str, schema: str) -> Finding:
    """Sound, and yet no daemon of this version opens it."""
    if not schema:
        text, hint = "a database, but not one of zenkei's", "set ZENKEI_HOME to another directory"
    else:
        text = f"written by a newer zenkei (schema {schema}, this one knows {SCHEMAS[-1]})"
        hint = (
            f"update zenkei, or put a copy from before its update ({home}/backups) in the "
            "place of db.sqlite3; nothing is changed until then"
        )
    facts = {"schema": schema, "known": list(SCHEMAS)}
    return Finding(name="database", verdict=Verdict.FAIL, text=text, hint=hint, facts=facts)
