"""The state directory of one daemon: whose it is, where it lies, and that nobody else has it.

Called by the composition root before anything is opened or bound. The lock is an flock that the
kernel drops with the process; beside it an owner record says who held it last. A home on a network
file system is refused, because such locks and SQLite's do not hold there; a home that another
machine has left without ending properly is refused, because its jobs may still run there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
from pathlib import Path
from typing import Any

from zenkei.client import places
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotAvailable

_KINDS = """
9p acfs afs beegfs ceph cifs coda fuse.ceph fuse.glusterfs fuse.s3fs fuse.sshfs gfs gfs2 glusterfs
gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs pvfs2 smb3 smbfs virtiofs wekafs
"""
NETWORK = frozenset(_KINDS.split())
BACKLOG = 512


class Busy(Exception):
    """Another process of this machine holds the home."""


class Home:
    """A held home. `release` ends it; a killed process is as good as released."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._bound = ""

    def bind(self, environ: dict[str, str]) -> socket.socket:
        """The listening socket, 0600 in a 0700 folder. What a dead daemon left is replaced."""
        uid = os.geteuid()
        key = hashlib.sha256(os.fsencode(os.path.realpath(self.path))).hexdigest()[:16]
        path = places.make_socket_path(str(self.path), environ, uid, key)
        with contextlib.suppress(FileNotFoundError):
            # the lock is held: nobody can be listening here
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        self._bound = path
        return sock

    def release(self) -> None:
        """Clean end: no socket, no owner, no lock."""
        if self._bound:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._bound)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def claim(path: Path, record: dict[str, Any]) -> Home:
    """Take the home for this process. record: who we are (host, pid, boot_id, …).

    Raises Busy, Denied (another's home), NotAvailable (network file system), Conflict (another
    machine's home).
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(path)
    kind = file_system(path, Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))
    if kind in NETWORK:
        raise NotAvailable(
            "home-on-network",
            f"the home directory {path} lies on a network file system ({kind})",
            hint="set ZENKEI_HOME to a directory on a local disk",
        )
    lock = os.open(
        path / "state.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Busy(str(path)) from None
    try:
        _check_last(path, os.pread(lock, 65536, 0), record)
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(record).encode() + b"\n", 0)
        os.fsync(lock)
    except BaseException:
        os.close(lock)
        raise
    return Home(path, lock)


def _check_owner(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidInput("home-no-directory", f"{path} is not a directory")
    if found.st_uid != os.geteuid():
        raise Denied(
            "home-of-another",
            f"the home directory {path} belongs to uid {found.st_uid}, you are uid {os.geteuid()}",
            hint="set ZENKEI_HOME to a directory of yours",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def _check_last(path: Path, data: bytes, record: dict[str, Any]) -> None:
    """Who held it last did so here, or ended properly (and left no record)."""
    try:
        last = json.loads(data) if data.strip() else {}
    except ValueError:
        last = {}
    host = last.get("host", record["host"]) if isinstance(last, dict) else record["host"]
    if host != record["host"]:
        name = str(last.get("name", host))[:80]
        raise Conflict(
            "home-on-another-host",
            f"the home directory {path} is in use on the machine {name}",
            hint=f"a home belongs to one machine; if that one is gone, remove {path}/state.lock",
        )


def file_system(path: Path, mounts: str) -> str:
    """Type of the file system at `path`, from the text of mountinfo; empty if unknown."""
    real = os.path.realpath(path)
    best, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _unescape(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # a later mount on the same point hides the earlier one
        if inside and len(point) >= best:
            best, found = len(point), right.split(" ")[0]
    return found


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def name_of(home: Path) -> str:
    """What this installation is called elsewhere: made once, tells nothing about the machine."""
    place = home / "installation"
    with contextlib.suppress(FileExistsError):
        part = place.with_suffix(f".{os.getpid()}")
        part.write_text(f"{secrets.token_hex(6)}\n", "ascii")
        try:
            os.link(part, place)
        finally:
            part.unlink()
    return place.read_text("ascii").strip()
