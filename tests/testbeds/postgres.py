"""A private PostgreSQL 15 on a Unix socket in a temporary folder, run as an ordinary uid.

Used by the conformance suite of the store and by `bench`. Where the programs are missing,
`install_postgres.sh` installs them (as root). Nothing listens on the network; the server is stopped
by its pid, and the folder is removed.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

HERE = Path(__file__).parent
ROLE = "zenkei"
_FAST = ["-c", "fsync=off", "-c", "full_page_writes=off"]
_names = count(1)


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server. `pid` is its postmaster's."""

    folder: Path
    pid: int

    def url(self, schema: str = "public") -> str:
        """For `SqlStore`; tables are made in `schema`."""
        options = quote(f"-csearch_path={schema}")
        return f"postgresql+psycopg://{ROLE}@/postgres?host={self.folder}&options={options}"

    def connect(self, schema: str = "public") -> psycopg.Connection:
        """A plain connection with autocommit, for looking and meddling."""
        return psycopg.connect(
            host=str(self.folder),
            user=ROLE,
            dbname="postgres",
            options=f"-csearch_path={schema}",
            autocommit=True,
        )

    def new_schema(self) -> str:
        name = f"t{next(_names)}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return name


def programs() -> Path:
    """The folder of initdb and postgres; installs them if there are none."""
    for attempt in range(2):
        found = shutil.which("initdb")
        folders = [Path(found).resolve().parent] if found else []
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        for folder in folders:
            if all((folder / name).exists() for name in ("initdb", "postgres", "pg_ctl")):
                return folder
        if attempt == 0:
            subprocess.run(["/bin/sh", HERE / "install_postgres.sh"], check=True, timeout=300)
    raise RuntimeError("postgresql-15 was installed and its programs are not there")


@contextmanager
def postgres(parent: Path | None = None, *, durable: bool = False) -> Iterator[Postgres]:
    """Start a server below `parent`; durable: with fsync, as in production."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    user = _ordinary_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        pid = _start(folder, user, [] if durable else _FAST)
        try:
            yield Postgres(folder=folder, pid=pid)
        finally:
            _stop(pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ordinary_user() -> pwd.struct_passwd | None:
    """Whom to run as when we are root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _start(folder: Path, user: pwd.struct_passwd | None, options: list[str]) -> int:
    data = folder / "data"
    run_as = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    where = programs()
    initdb = [where / "initdb", "-D", data, "-U", ROLE, "-A", "trust", "-E", "UTF8"]
    _run([*initdb, "--locale=C", "--no-sync"], folder, run_as)
    words = ["-k", str(folder), "-c", "listen_addresses=", "-c", "max_connections=60", *options]
    start = [where / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", " ".join(words)]
    _run([*start, "start"], folder, run_as)
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def _run(command: list[object], folder: Path, run_as: dict[str, object]) -> None:
    with (folder / "setup.log").open("ab") as log:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
            **run_as,  # type: ignore[call-overload]
        )
    if done.returncode:
        logs = [(folder / name) for name in ("setup.log", "log")]
        story = "\n".join(path.read_text() for path in logs if path.exists())
        raise RuntimeError(f"{command[0]} failed: {story[-2000:]}")


def _stop(pid: int) -> None:
    """Immediate shutdown: nothing of the data is kept."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGQUIT)
        if not select.select([descriptor], [], [], 20)[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 20)
    finally:
        os.close(descriptor)
