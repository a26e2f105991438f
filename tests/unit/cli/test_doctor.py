"""What `zenkei doctor` finds: a sound machine is usable, a defect is named with what helps."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from zenkei.agent import groups
from zenkei.api.version import SCHEMAS
from zenkei.cli import checks, doctor, machine
from zenkei.cli.checks import Verdict
from zenkei.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, min_free_bytes=0, min_free_percent=0.0)


def test_a_sound_machine_is_usable_and_nothing_is_started(zenkei_home, capsys):
    assert doctor.doctor(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {one["verdict"] for one in found["checks"]} <= {"ok", "note", "warn"}
    assert list(zenkei_home.iterdir()) == []


def test_a_bad_setting_makes_it_unusable_and_the_rest_is_still_told(
    zenkei_home, monkeypatch, capsys
):
    monkeypatch.setenv("ZENKEI_MIN_FREE_BYTES", "much")
    assert doctor.doctor([]) == doctor.UNUSABLE
    said = capsys.readouterr().out
    assert "fail  settings: setting `min_free_bytes`" in said
    assert "gpus:" in said


def test_a_home_that_is_not_there_yet_is_fine(tmp_path):
    assert checks.home(str(tmp_path / "a" / "b")).verdict is Verdict.OK


def test_a_home_that_is_a_file_is_none(tmp_path):
    (tmp_path / "home").write_text("")
    assert checks.home(str(tmp_path / "home")).verdict is Verdict.FAIL


@pytest.mark.root
def test_a_home_of_another_is_refused(tmp_path):
    os.chown(tmp_path, 12345, -1)
    found = checks.home(str(tmp_path))
    assert found.verdict is Verdict.FAIL
    assert "12345" in found.text


def test_a_home_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = f"36 35 98:0 / {tmp_path} rw - nfs4 server:/export rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_args: mounts)
    found = checks.network(str(tmp_path))
    assert (found.verdict, found.facts) == (Verdict.FAIL, {"file_system": "nfs4"})


def test_too_little_space_makes_it_unusable_and_little_is_a_warning(tmp_path):
    def verdict(least_bytes):
        limits = Settings(home=tmp_path, min_free_bytes=least_bytes, min_free_percent=0.0)
        return checks.disk(str(tmp_path / "not" / "there"), limits).verdict

    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert verdict(1 << 60) is Verdict.FAIL
    assert verdict(free * 3 // 4) is Verdict.WARN
    assert verdict(0) is Verdict.OK


def test_a_path_that_is_too_long_for_a_socket_is_noted(tmp_path):
    assert checks.socket_path("/x").verdict is Verdict.OK
    assert checks.socket_path("/" + "x" * 200).verdict is Verdict.NOTE


def test_a_sound_database_is_sound_and_a_damaged_one_is_told(tmp_path, settings):
    assert checks.database(str(tmp_path), settings).text == "none yet"
    file = tmp_path / "db.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE jobs (a)")
        _written_by(connection, SCHEMAS[-1])
        connection.executemany("INSERT INTO jobs VALUES (?)", [("x" * 100,)] * 5000)
    connection.close()
    assert checks.database(str(tmp_path), settings).verdict is Verdict.OK
    before = file.read_bytes()
    file.write_bytes(before[:8192] + os.urandom(8192) + before[16384:])
    damaged = file.read_bytes()
    found = checks.database(str(tmp_path), settings)
    assert found.verdict is Verdict.FAIL
    assert "backups" in found.hint
    file.write_bytes(b"not a database at all" * 100)
    assert checks.database(str(tmp_path), settings).verdict is Verdict.FAIL
    file.write_bytes(damaged)
    checks.database(str(tmp_path), settings)
    assert file.read_bytes() == damaged


def _written_by(connection: sqlite3.Connection, schema: str) -> None:
    connection.execute("CREATE TABLE alembic_version (version_num)")
    connection.execute("INSERT INTO alembic_version VALUES (?)", (schema,))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_database_of_an_earlier_zenkei_is_sound(tmp_path, settings, schema):
    with sqlite3.connect(tmp_path / "db.sqlite3") as connection:
        _written_by(connection, schema)
    connection.close()
    assert checks.database(str(tmp_path), settings).verdict is Verdict.OK


def test_a_database_of_a_newer_zenkei_is_called_so_with_what_to_do(tmp_path, settings):
    with sqlite3.connect(tmp_path / "db.sqlite3") as connection:
        _written_by(connection, "9999")
    connection.close()
    found = checks.database(str(tmp_path), settings)
    assert found.verdict is Verdict.FAIL
    assert "newer zenkei (schema 9999" in found.text
    assert "update zenkei" in found.hint
    assert f"{tmp_path}/backups" in found.hint


def test_a_database_of_another_program_is_not_called_sound(tmp_path, settings):
    with sqlite3.connect(tmp_path / "db.sqlite3") as connection:
        connection.execute("CREATE TABLE notes (a)")
    connection.close()
    found = checks.database(str(tmp_path), settings)
    assert (found.verdict, found.text) == (Verdict.FAIL, "a database, but not one of zenkei's")


def test_files_from_the_future_tell_of_a_clock_that_went_back(tmp_path):
    assert machine.clock(str(tmp_path)).verdict in (Verdict.OK, Verdict.NOTE)
    (tmp_path / "db.sqlite3").write_text("")
    os.utime(tmp_path / "db.sqlite3", (4_000_000_000, 4_000_000_000))
    found = machine.clock(str(tmp_path))
    assert found.verdict is Verdict.WARN
    assert "gone back" in found.text


def test_without_a_writable_cgroup_it_says_what_is_done_instead(monkeypatch):
    monkeypatch.setattr(groups, "find_places", groups.Places)
    found = machine.control_groups()
    assert found.verdict is Verdict.NOTE
    assert "subreaper" in found.text
    assert "watched" in found.text
    assert found.hint


def test_a_driver_that_crashes_is_a_warning(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    monkeypatch.setattr(machine, "_NVML", "import os; os.abort()")
    assert machine.gpus().verdict is Verdict.WARN


def test_foreign_processes_on_a_gpu_are_named(monkeypatch):
    device = {"index": 0, "name": "H200", "memory_bytes": 1, "pids": [os.getpid()]}
    answer = json.dumps({"driver": "1", "devices": [device]})
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    monkeypatch.setattr(machine, "_NVML", f"print({answer!r})")
    found = machine.gpus()
    assert found.verdict is Verdict.NOTE
    assert f"(pid {os.getpid()})" in found.text
    monkeypatch.setattr(machine, "_is_ours", lambda pid: True)
    assert machine.gpus().verdict is Verdict.OK


def test_a_missing_uv_says_what_cannot_be_done(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    found = machine.uv()
    assert found.verdict is Verdict.WARN
    assert "packages" in found.text
