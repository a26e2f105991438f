"""Where the home and the socket are, and which homes are refused."""

import os
import stat

import pytest

from zenkei.client import places
from zenkei.client.failure import Failure
from zenkei.settings import home_directory


@pytest.mark.parametrize(
    "environ",
    [
        {"ZENKEI_HOME": "/tmp/a"},
        {"ZENKEI_HOME": "relative/b"},
        {"ZENKEI_HOME": "~/c"},
        {"XDG_STATE_HOME": "/state"},
        {"XDG_STATE_HOME": "not/absolute"},
        {"ZENKEI_HOME": "", "XDG_STATE_HOME": ""},
        {},
    ],
)
def test_client_and_daemon_agree_on_the_home(environ):
    assert places.home(environ) == str(home_directory(environ))


def test_a_short_home_holds_its_own_socket(short_tmp):
    assert places.socket_path(str(short_tmp)) == str(short_tmp / "zenkei.sock")
    assert places.make_socket_path(str(short_tmp), {}, os.geteuid(), "ab") == str(
        short_tmp / "zenkei.sock"
    )


@pytest.fixture
def long_home(short_tmp):
    home = short_tmp / ("long-" * 20)
    home.mkdir(mode=0o700)
    return str(home)


def test_a_long_home_has_its_socket_in_the_runtime_folder(long_home, short_tmp):
    made = places.make_socket_path(
        long_home, {"XDG_RUNTIME_DIR": str(short_tmp)}, os.geteuid(), "ab"
    )
    assert made == str(short_tmp / "zenkei" / "ab.sock")
    assert stat.S_IMODE(os.stat(os.path.dirname(made)).st_mode) == 0o700
    # a client with another environment finds it too: the home says where it is
    assert places.socket_path(long_home) == made


def test_a_long_home_without_a_daemon_has_no_socket_yet(long_home):
    assert places.socket_path(long_home) == ""


def test_a_folder_open_to_others_is_refused(long_home, short_tmp):
    (short_tmp / "zenkei").mkdir(mode=0o755)
    with pytest.raises(Failure) as refused:
        places.make_socket_path(long_home, {"XDG_RUNTIME_DIR": str(short_tmp)}, os.geteuid(), "ab")
    assert refused.value.code == "socket-folder-unsafe"


def test_a_link_in_place_of_the_folder_is_refused(long_home, short_tmp):
    (short_tmp / "real").mkdir(mode=0o700)
    (short_tmp / "zenkei").symlink_to(short_tmp / "real")
    with pytest.raises(Failure) as refused:
        places.make_socket_path(long_home, {"XDG_RUNTIME_DIR": str(short_tmp)}, os.geteuid(), "ab")
    assert refused.value.code == "socket-folder-unsafe"


def test_the_home_of_another_is_refused(short_tmp):
    with pytest.raises(Failure) as refused:
        places.check_home(str(short_tmp), os.geteuid() + 1)
    assert refused.value.exit_code == 5
    assert str(os.geteuid()) in refused.value.message


def test_root_may_talk_to_anybodys_daemon(short_tmp):
    places.check_home(str(short_tmp), 0)


def test_a_file_is_no_home(short_tmp):
    (short_tmp / "file").write_text("")
    with pytest.raises(Failure, match="not a directory"):
        places.check_home(str(short_tmp / "file"), os.geteuid())
