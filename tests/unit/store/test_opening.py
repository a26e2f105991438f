"""Opening: made once and privately, brought up to date with a copy, or refused untouched."""

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.builders import submit
from zenkei.model.errors import Conflict, InvalidInput, Unavailable, ZenkeiError
from zenkei.model.ids import JobId
from zenkei.store.sql import SqlStore, opening
from zenkei.store.sql.database import Database, Place
from zenkei.store.sql.schema import metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "db.sqlite3"


def url_of(path):
    return f"sqlite:///{path}"


def filled(path):
    """A database with one job, at rest."""
    store = SqlStore(url_of(path))
    submit(store)
    store.close()
    return path.read_bytes()


def refused(path, **options):
    """The error, after seeing that the file is as it was."""
    before = path.read_bytes()
    with pytest.raises(ZenkeiError) as caught:
        SqlStore(url_of(path), **options)
    assert path.read_bytes() == before
    assert caught.value.hint
    return caught.value


def open_and_check(path):
    store = SqlStore(url_of(path))
    try:
        return store.check()
    finally:
        store.close()


def run(script, *words):
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_version(path, version):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


def test_a_new_database_is_private_and_survives_closing(path):
    filled(path)
    assert path.stat().st_mode & 0o777 == 0o600
    store = SqlStore(url_of(path))
    assert store.job(JobId(1)) is not None
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    store.close()


def test_what_is_written_survives_a_power_cut(path):
    store = SqlStore(url_of(path))
    with store._database.writing() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        ]
    store.close()
    assert pragmas == ["wal", 2]  # 2 is FULL


def test_migrations_make_the_schema_that_the_program_uses(path):
    filled(path)
    with Database(Place.of(url_of(path))).reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_that_the_program_names(repo):
    scripts = ScriptDirectory(str(repo / "src/zenkei/store/sql/migrations"))
    assert scripts.get_current_head() == opening.REVISION
    names = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(names)) == opening._REVISIONS


def test_a_database_of_a_newer_zenkei_is_refused_untouched(path):
    filled(path)
    set_version(path, "9999")
    error = refused(path)
    assert isinstance(error, Conflict)
    assert error.code == "store-newer"
    assert "9999" in error.message


def test_a_database_of_another_program_is_refused_untouched(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (x)")
    connection.close()
    assert refused(path).code == "store-foreign"


@pytest.mark.parametrize("content", [b"not a db" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_not_a_database_is_refused_untouched(path, content):
    path.write_bytes(content)
    error = refused(path)
    assert isinstance(error, Unavailable)
    assert error.code == "store-corrupt"


def test_a_damaged_page_is_an_error_with_a_hint_and_found_by_check(path):
    content = bytearray(filled(path))
    size = len(content) // 4096
    for page in range(2, size):
        content[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        open_and_check(path)
    assert caught.value.code == "store-corrupt"


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Unavailable, match="nowhere"):
        SqlStore(url_of(tmp_path / "nowhere" / "db.sqlite3"))


def test_an_unusable_url_is_the_callers_mistake():
    for url in (
        "mysql://x/y",
        "sqlite://",
        "sqlite:///:memory:",
        "nonsense",
        "postgresql+pg8000://x",
    ):
        with pytest.raises(InvalidInput):
            SqlStore(url)


def test_a_password_is_not_shown():
    assert "hunter2" not in str(Place.of("postgresql://ann:hunter2@nowhere/x"))


@pytest.mark.root
def test_a_read_only_directory_is_refused_for_an_ordinary_user(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "db.sqlite3"
    filled(path)
    for place, mode in ((folder, 0o555), (path, 0o444)):
        place.chmod(mode)
    os.chmod(tmp_path, 0o755)
    script = (
        "import os, sys; from zenkei.store.sql import SqlStore\n"
        "from zenkei.model.errors import Unavailable\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: SqlStore(sys.argv[1])\n"
        "except Unavailable as error: print(error.code, error.hint)\n"
    )
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o055)
    assert run(script, url_of(path)).startswith("store-unavailable make the file")


def test_a_locked_database_is_an_error_that_names_the_cause(path, monkeypatch):
    monkeypatch.setattr("zenkei.store.sql.database.BUSY_S", 0.05)
    filled(path)
    store = SqlStore(url_of(path))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked") as caught:
        submit(store)
    assert "second daemon" in caught.value.hint
    holder.execute("ROLLBACK")
    holder.close()
    assert submit(store) == (JobId(2),)
    store.close()


def test_two_that_open_a_new_database_at_once_make_one_schema(path):
    opened = []
    threads = [
        threading.Thread(target=lambda: opened.append(SqlStore(url_of(path)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(opened) == 4
    assert {submit(store)[0].number for store in opened} == {1, 2, 3, 4}
    for store in opened:
        store.close()


def test_a_migration_of_an_existing_database_is_preceded_by_a_copy(path, tmp_path, monkeypatch):
    filled(path)
    backups = tmp_path / "backups"
    monkeypatch.setattr(opening, "REVISION", "9999")
    monkeypatch.setattr(opening, "_REVISIONS", (*opening._REVISIONS, "9999"))
    with pytest.raises(Exception, match="9999"):
        SqlStore(url_of(path), backups_dir=backups)
    monkeypatch.undo()
    (copy,) = backups.iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    store = SqlStore(url_of(copy))
    assert store.job(JobId(1)) is not None
    assert store.check() == []
    store.close()


def test_opening_a_current_database_does_not_import_alembic(path):
    filled(path)
    script = (
        "import sys; from zenkei.store.sql import SqlStore; SqlStore(sys.argv[1]).close()\n"
        "print([name for name in sys.modules if name.startswith('alembic')])"
    )
    assert run(script, url_of(path)) == "[]\n"


def test_importing_the_store_or_its_memory_form_imports_no_sql():
    script = (
        "import sys; import zenkei.store, zenkei.store.memory\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('sqlalchemy', 'alembic', 'psycopg')])"
    )
    assert run(script) == "[]\n"
