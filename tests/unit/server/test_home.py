"""One daemon for each home, on a local disk, of its owner, on one machine."""

import json
import os
import socket
import stat

import pytest

from zenkei.model.errors import Conflict, Denied, NotAvailable
from zenkei.server import home as homes

RECORD = {"host": "here", "name": "here", "pid": 1}


def test_a_home_is_held_by_one_process_at_a_time(short_tmp):
    held = homes.claim(short_tmp / "h", RECORD)
    with pytest.raises(homes.Busy):
        homes.claim(short_tmp / "h", RECORD)
    held.release()
    homes.claim(short_tmp / "h", RECORD).release()


def test_a_home_is_made_for_its_owner_alone(short_tmp):
    homes.claim(short_tmp / "a" / "h", RECORD).release()
    assert stat.S_IMODE((short_tmp / "a" / "h").stat().st_mode) == 0o700


def test_a_home_open_to_others_is_closed(short_tmp):
    short_tmp.chmod(0o755)
    homes.claim(short_tmp, RECORD).release()
    assert stat.S_IMODE(short_tmp.stat().st_mode) == 0o700


def test_the_owner_record_says_who_holds_it_and_goes_with_a_clean_end(short_tmp):
    held = homes.claim(short_tmp, RECORD)
    assert json.loads((short_tmp / "state.lock").read_text()) == RECORD
    held.release()
    assert (short_tmp / "state.lock").read_text() == ""


def test_a_home_that_another_machine_left_without_ending_is_refused(short_tmp):
    (short_tmp / "state.lock").write_text(json.dumps({"host": "id-2", "name": "other"}))
    with pytest.raises(Conflict, match="machine other") as refused:
        homes.claim(short_tmp, RECORD)
    assert "state.lock" in refused.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "here"}', "{}"])
def test_what_a_killed_daemon_of_this_machine_left_is_no_obstacle(short_tmp, text):
    (short_tmp / "state.lock").write_text(text)
    homes.claim(short_tmp, RECORD).release()


def test_a_link_in_place_of_the_lock_is_not_followed(short_tmp):
    (short_tmp / "h").mkdir(mode=0o700)
    (short_tmp / "victim").write_text("precious")
    (short_tmp / "h" / "state.lock").symlink_to(short_tmp / "victim")
    with pytest.raises(OSError, match="symbolic"):
        homes.claim(short_tmp / "h", RECORD)
    assert (short_tmp / "victim").read_text() == "precious"


@pytest.mark.root
def test_the_home_of_another_is_refused(short_tmp):
    os.chown(short_tmp, 12345, -1)
    with pytest.raises(Denied, match="12345"):
        homes.claim(short_tmp, RECORD)
    os.chown(short_tmp, os.geteuid(), -1)


MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 30 8:2 / /home/ann/local rw,relatime - xfs /dev/sdb1 rw
32 21 0:41 / /with\\040space rw - fuse.sshfs host:/x rw
33 21 0:42 / /over rw - nfs a:/ rw
34 33 0:43 / /over rw - ext4 /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x", "ext4"),
        ("/home/ann/z", "nfs4"),
        ("/home/ann/local/z", "xfs"),
        ("/homework", "ext4"),
        ("/with space/z", "fuse.sshfs"),
        ("/over/z", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(path, kind):
    assert homes.file_system(path, MOUNTS) == kind


def test_a_home_on_a_network_file_system_is_refused(short_tmp, monkeypatch):
    monkeypatch.setattr(homes, "file_system", lambda path, mounts: "nfs4")
    with pytest.raises(NotAvailable, match="network file system"):
        homes.claim(short_tmp, RECORD)
    assert not (short_tmp / "state.lock").exists()


def test_the_socket_is_the_owners_alone_and_goes_with_the_home(short_tmp):
    held = homes.claim(short_tmp, RECORD)
    sock = held.bind({})
    found = (short_tmp / "zenkei.sock").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    sock.close()
    held.release()
    assert not (short_tmp / "zenkei.sock").exists()


def test_the_socket_of_a_killed_daemon_is_replaced(short_tmp):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(short_tmp / "zenkei.sock"))
    stale.close()
    held = homes.claim(short_tmp, RECORD)
    sock = held.bind({})
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(short_tmp / "zenkei.sock"))
    sock.close()
    held.release()
