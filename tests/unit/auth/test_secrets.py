"""Secrets are the owner's alone, complete or absent, and never told to anybody who did not ask."""

import json
import os
import stat
import threading

import pytest

from zenkei import spec
from zenkei.auth.secrets import MOST_BYTES, FileSecrets
from zenkei.model.errors import Denied, InvalidInput, NotFound, Unavailable, ZenkeiError

VALUE = b"correct horse\nbattery\x00staple"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "secrets"


@pytest.fixture
def secrets(folder):
    return FileSecrets(folder)


def everything_said(error: ZenkeiError) -> str:
    return " ".join(map(str, (error, error.message, error.hint, error.details, repr(error))))


def test_what_is_set_is_got_byte_by_byte(secrets):
    secrets.set("default", "TOKEN", VALUE)
    assert secrets.get("default", "TOKEN") == VALUE


def test_another_process_finds_it_too(secrets, folder):
    secrets.set("default", "TOKEN", VALUE)
    assert FileSecrets(folder).get("default", "TOKEN") == VALUE


def test_setting_again_replaces(secrets):
    secrets.set("default", "TOKEN", b"old and much longer than the new one")
    secrets.set("default", "TOKEN", b"new")
    assert secrets.get("default", "TOKEN") == b"new"


def test_projects_do_not_see_each_other(secrets):
    secrets.set("vision", "TOKEN", b"of vision")
    assert secrets.names("speech") == ()
    with pytest.raises(NotFound, match="project `speech` has no secret `TOKEN`"):
        secrets.get("speech", "TOKEN")


def test_names_are_listed_in_order_without_half_written_ones(secrets, folder):
    for name in ("b", "A", "c_1"):
        secrets.set("default", name, b"x")
    (folder / "default" / ".b.new").write_bytes(b"left by a killed writer")
    assert secrets.names("default") == ("A", "b", "c_1")


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "wandb", "s3.key-id", "x" * 128, "7"])
def test_what_a_job_file_may_name_can_be_set(secrets, name):
    text = json.dumps({"command": "true", "secrets": [{"name": name, "env": "KEY"}]})
    (use,) = spec.parse(text.encode(), file="job.yaml").secrets
    secrets.set("default", use.name, VALUE)
    assert secrets.get("default", use.name) == VALUE


def test_what_is_removed_is_gone_and_a_killed_writers_rest_too(secrets, folder):
    secrets.set("default", "TOKEN", VALUE)
    (folder / "default" / ".TOKEN.new").write_bytes(VALUE)
    secrets.remove("default", "TOKEN")
    assert os.listdir(folder / "default") == []
    with pytest.raises(NotFound):
        secrets.remove("default", "TOKEN")


def test_a_missing_secret_says_how_to_set_it(secrets):
    with pytest.raises(NotFound) as caught:
        secrets.get("default", "TOKEN")
    assert "zenkei secret set TOKEN --project default" in caught.value.hint


def test_directories_are_0700_and_files_0600_whatever_the_umask(secrets, folder):
    before = os.umask(0)
    try:
        secrets.set("default", "TOKEN", VALUE)
    finally:
        os.umask(before)
    modes = [p.stat().st_mode for p in (folder, folder / "default", folder / "default" / "TOKEN")]
    assert [stat.S_IMODE(mode) for mode in modes] == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "a\0b",
        "a\n",
        "a b",
        "-x",
        ".a",
        "鍵",
        "x" * 129,
    ],
)
def test_a_name_that_is_none_is_refused_and_not_repeated(secrets, name):
    for act in (secrets.get, secrets.remove, lambda p, n: secrets.set(p, n, b"v")):
        with pytest.raises(InvalidInput) as caught:
            act("default", name)
        assert caught.value.code == "bad-secret-name"
        assert len(name) < 2 or name not in caught.value.message


@pytest.mark.parametrize(
    "project", ["", ".", "..", "../home", "a/b", "/abs", ".hidden", "-x", "a\0", "a\n", "x" * 400]
)
def test_a_project_that_would_leave_the_folder_is_refused(secrets, project, tmp_path):
    with pytest.raises(InvalidInput) as caught:
        secrets.set(project, "TOKEN", VALUE)
    assert caught.value.code == "bad-project-name"
    assert list(tmp_path.iterdir()) == []


def test_a_project_may_have_a_japanese_name_in_either_unicode_form(secrets):
    secrets.set("ガ", "TOKEN", VALUE)
    assert secrets.get("ガ", "TOKEN") == VALUE


@pytest.mark.parametrize("value", [b"", b"x" * (MOST_BYTES + 1)], ids=["empty", "too long"])
def test_a_value_that_is_empty_or_too_long_is_refused(secrets, value):
    with pytest.raises(InvalidInput) as caught:
        secrets.set("default", "TOKEN", value)
    assert caught.value.code == "bad-secret-value"
    assert secrets.names("default") == ()


def test_the_longest_value_is_kept(secrets):
    secrets.set("default", "TOKEN", b"x" * MOST_BYTES)
    assert len(secrets.get("default", "TOKEN")) == MOST_BYTES


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_others_may_touch_is_not_believed(secrets, folder, mode):
    secrets.set("default", "TOKEN", VALUE)
    (folder / "default" / "TOKEN").chmod(mode)
    with pytest.raises(Denied, match="open to others") as caught:
        secrets.get("default", "TOKEN")
    assert "correct horse" not in everything_said(caught.value)


@pytest.mark.parametrize("place", ["", "default"])
def test_a_folder_that_others_may_write_is_refused_for_reading_and_writing(secrets, folder, place):
    secrets.set("default", "TOKEN", VALUE)
    (folder / place).chmod(0o770)
    with pytest.raises(Denied):
        secrets.get("default", "TOKEN")
    with pytest.raises(Denied):
        secrets.set("default", "OTHER", VALUE)


@pytest.mark.root
def test_a_file_of_somebody_else_is_not_believed(secrets, folder):
    secrets.set("default", "TOKEN", VALUE)
    os.chown(folder / "default" / "TOKEN", 12345, -1)
    with pytest.raises(Denied, match="belongs to uid 12345"):
        secrets.get("default", "TOKEN")


def test_a_link_in_the_place_of_a_secret_is_not_followed(secrets, folder, tmp_path):
    secrets.set("default", "OTHER", VALUE)
    outside = tmp_path / "outside"
    outside.write_bytes(b"of another program")
    outside.chmod(0o600)
    (folder / "default" / "TOKEN").symlink_to(outside)
    with pytest.raises(Denied):
        secrets.get("default", "TOKEN")
    secrets.set("default", "TOKEN", VALUE)
    assert outside.read_bytes() == b"of another program"
    assert secrets.get("default", "TOKEN") == VALUE


def test_a_link_planted_where_a_new_value_is_written_is_not_followed(secrets, folder, tmp_path):
    secrets.set("default", "OTHER", VALUE)
    (folder / "default" / ".TOKEN.new").symlink_to(tmp_path / "outside")
    secrets.set("default", "TOKEN", VALUE)
    assert not (tmp_path / "outside").exists()
    assert secrets.get("default", "TOKEN") == VALUE


@pytest.mark.parametrize("place", ["folder", "project"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(folder, tmp_path, place):
    elsewhere = FileSecrets(tmp_path / "elsewhere")
    elsewhere.set("default", "TOKEN", VALUE)
    if place == "folder":
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
        (folder / "default").symlink_to(tmp_path / "elsewhere" / "default")
    with pytest.raises(Denied):
        FileSecrets(folder).get("default", "TOKEN")
    with pytest.raises(Denied):
        FileSecrets(folder).set("default", "OTHER", VALUE)


def test_a_pipe_in_the_place_of_a_secret_makes_nobody_wait(secrets, folder):
    secrets.set("default", "OTHER", VALUE)
    os.mkfifo(folder / "default" / "TOKEN", 0o600)
    with pytest.raises(Denied):
        secrets.get("default", "TOKEN")


def test_a_file_that_grew_beyond_the_limit_is_not_read_whole(secrets, folder):
    secrets.set("default", "TOKEN", VALUE)
    with open(folder / "default" / "TOKEN", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Denied):
        secrets.get("default", "TOKEN")


def test_a_disk_that_refuses_leaves_the_old_value_and_no_rest(secrets, folder, monkeypatch):
    secrets.set("default", "TOKEN", b"old")
    real = os.fsync

    def full(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left") as caught:
        secrets.set("default", "TOKEN", VALUE)
    assert "correct horse" not in everything_said(caught.value)
    assert secrets.get("default", "TOKEN") == b"old"
    assert os.listdir(folder / "default") == ["TOKEN"]


def test_writers_at_the_same_time_leave_one_whole_value(secrets):
    values = [bytes([65 + i]) * 5000 for i in range(8)]
    threads = [
        threading.Thread(target=secrets.set, args=("default", "TOKEN", value)) for value in values
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert secrets.get("default", "TOKEN") in values


def test_a_value_is_in_no_picture_of_the_store(secrets):
    secrets.set("default", "TOKEN", VALUE)
    assert "correct horse" not in repr(secrets) + str(vars(secrets))
