"""The database of a daemon is taken away, locked, damaged, too new, and put back from a copy."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults_home import Home, a_home
from tests.testbeds.local_place import until
from zenkei.client.failure import Failure

FILE = "db.sqlite3"


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as found:
        yield found


def worked(home: Home) -> str:
    """A job that ran, and a daemon that has ended cleanly: the database is one file."""
    home.start()
    job = home.submit("echo first")
    home.until_over(job)
    home.until_still()
    home.end_checks()
    return job


def refused(home: Home) -> dict[str, str]:
    """How a daemon refuses to start; every file of the database is as it was."""
    before = files(home)
    said = home.begin().wait_ready()
    home.newest.gone()
    assert files(home) == before
    error: dict[str, str] = said["error"]
    assert error["hint"], error
    return error


def files(home: Home) -> dict[str, bytes]:
    """What holds data; SQLite makes an index and an empty log even for one who only reads."""
    found = {path.name: path.read_bytes() for path in home.path.glob(f"{FILE}*")}
    return {name: data for name, data in found.items() if data and not name.endswith("-shm")}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def test_a_database_that_another_process_locks_for_a_while_delays_and_loses_nothing(home):
    home.start()
    first = home.submit("echo first; sleep 0.3")
    done: list[str] = []
    with locked(home.path / FILE):
        person = threading.Thread(target=lambda: done.append(home.submit("echo second")))
        person.start()
        # reading goes on meanwhile
        assert home.state(first) in ("preparing", "pending", "starting", "running", "succeeded")
        person.join(1.0)
        assert done == []
    person.join(60)
    assert [home.until_over(job) for job in (first, *done)] == ["succeeded"] * 2
    home.until_still()
    home.end_checks()


def test_a_database_of_a_newer_program_is_refused_untouched(home):
    worked(home)
    with contextlib.closing(sqlite3.connect(home.path / FILE)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    error = refused(home)
    assert error["code"] == "store-newer"
    assert "9999" in error["message"]


def test_a_damaged_database_is_refused_untouched_and_the_hint_leads_to_a_copy(home):
    job = worked(home)
    shutil.copy(home.path / FILE, home.folder / "copy")
    with (home.path / FILE).open("r+b") as file:
        file.write(b"\xa5" * 4096)
    error = refused(home)
    assert error["code"] == "store-corrupt"
    assert "backups" in error["hint"]
    shutil.copy(home.folder / "copy", home.path / FILE)
    home.start()
    assert home.state(job) == "succeeded"
    home.end_checks()


def test_a_database_that_is_deleted_while_it_is_used_is_told_and_none_is_made_instead(home):
    daemon = home.start()
    job = home.submit("echo hi")
    home.until_over(job)
    home.until_still()
    for path in home.path.glob(f"{FILE}*"):
        path.unlink()

    with pytest.raises(Failure, match="deleted or replaced") as caught:
        home.submit("echo lost")
    assert (caught.value.code, caught.value.exit_code) == ("store-unavailable", 75)
    assert "backups" in caught.value.hint
    assert not (home.path / FILE).exists()
    daemon.signal(signal.SIGTERM)
    daemon.gone()
    assert not (home.path / FILE).exists()
    assert refused(home)["code"] == "store-missing"
    assert not (home.path / FILE).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_database_that_may_not_be_written_is_refused_untouched_and_says_so(home):
    job = worked(home)
    (home.path / FILE).chmod(0o400)
    error = refused(home)
    assert error["code"] == "store-unavailable"
    (home.path / FILE).chmod(0o600)
    home.start()
    assert home.state(job) == "succeeded"
    home.end_checks()


def test_a_daily_copy_is_made_and_what_it_holds_can_be_put_back(home):
    home.start()
    job = home.submit("echo kept")
    home.until_over(job)
    home.until_still()
    daemon = home.newest
    daemon.kill()
    for copy in home.path.glob("backups/daily-*"):
        copy.unlink()
    home.start()
    copies = until(lambda: list(home.path.glob("backups/daily-*.sqlite3")), "the day's copy")
    newer = home.submit("echo newer than the copy")
    home.until_over(newer)
    home.until_still()
    assert copies[0].stat().st_mode & 0o077 == 0
    home.end_checks()
    for path in home.path.glob(f"{FILE}*"):
        path.unlink()
    # as docs/concepts/store.md says: the copy in its place, nothing else beside it
    shutil.copy(copies[0], home.path / FILE)
    home.start()
    assert home.state(job) == "succeeded"
    assert home.log(job) == b"kept\n"
    after = home.submit("echo after")
    assert home.until_over(after) == "succeeded"
    home.until_still()
    assert int(after) > int(newer), "its folder holds another job's attempt"
    assert home.log(after) == b"after\n"
    home.end_checks()


def test_copies_are_few_however_many_days_pass(home):
    worked(home)
    backups = home.path / "backups"
    backups.mkdir(exist_ok=True)
    for day in range(1, 15):
        (backups / f"daily-2020-01-{day:02}.sqlite3").write_bytes(b"old")
    (backups / "mine.sqlite3").write_bytes(b"a person's own")
    home.start()
    until(lambda: not (backups / "daily-2020-01-01.sqlite3").exists(), "the old ones to go")
    kept = sorted(path.name for path in backups.glob("daily-*"))
    assert len(kept) == 7
    assert kept[-2] == "daily-2020-01-14.sqlite3"
    assert (backups / "mine.sqlite3").exists()
    home.end_checks()
