"""Where the home and the socket are. Shared by the client and the daemon, so they always agree.

A socket's path has 107 bytes. Where the home's own is longer, the socket lies in a private folder
below XDG_RUNTIME_DIR or /tmp, and the home's file `socket.path` names it; that file is as
trustworthy as the home, the folder is checked for owner and mode at each use.
Takes the environment as a value; `settings.home_directory` gives the same home (a test says so).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from zenkei.client.failure import Failure

MOST_SOCKET_BYTES = 107
SOCKET = "zenkei.sock"
RECORD = "socket.path"


def home(environ: Mapping[str, str]) -> str:
    """ZENKEI_HOME, else the XDG state directory of this person."""
    own = environ.get("ZENKEI_HOME")
    if own:
        return os.path.abspath(os.path.expanduser(own))
    state = environ.get("XDG_STATE_HOME")
    base = state if state and os.path.isabs(state) else os.path.expanduser("~/.local/state")
    return os.path.join(base, "zenkei")


def check_home(path: str, uid: int) -> None:
    """Refuse a home that is somebody else's, or open to others. An absent one is fine."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failure(
            "home-unreadable",
            f"the home directory {path} cannot be used: {error.strerror}",
            hint="set ZENKEI_HOME to a directory of your own",
            exit_code=2,
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise Failure("home-no-directory", f"{path} is not a directory", exit_code=2)
    if found.st_uid not in (uid, _root_sees(found.st_uid, uid)):
        raise Failure(
            "home-of-another",
            f"the home directory {path} belongs to uid {found.st_uid}, you are uid {uid}",
            hint="each person has a zenkei of their own: set ZENKEI_HOME to a directory of yours",
            exit_code=5,
        )


def _root_sees(owner: int, uid: int) -> int:
    """Root may talk to anybody's daemon; starting one there is refused elsewhere."""
    return owner if uid == 0 else uid


def own_socket(home_path: str) -> str:
    return os.path.join(home_path, SOCKET)


def too_long(path: str) -> bool:
    return len(os.fsencode(path)) > MOST_SOCKET_BYTES


def socket_path(home_path: str) -> str:
    """Where a client finds the socket; empty if the home has a long path and no record yet."""
    own = own_socket(home_path)
    if not too_long(own):
        return own
    try:
        with open(os.path.join(home_path, RECORD), "rb") as file:
            path = os.fsdecode(file.read(1024))
    except FileNotFoundError:
        return ""
    check_folder(os.path.dirname(path), os.stat(home_path).st_uid)
    return path


def check_folder(folder: str, owner: int) -> None:
    """A folder outside the home must be the owner's alone. Raises Failure, FileNotFoundError."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise Failure(
            "socket-folder-unsafe",
            f"the folder {folder} of the socket is not yours alone",
            hint="remove it, or set ZENKEI_HOME to a shorter path",
            exit_code=5,
        )


def make_socket_path(home_path: str, environ: Mapping[str, str], uid: int, key: str) -> str:
    """The path at which the daemon binds. key: names this home among the uid's; [0-9a-f]+.

    Makes the short folder and writes the record if the home's own path is too long.
    """
    own = own_socket(home_path)
    if not too_long(own):
        return own
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    base = os.path.join(runtime, "zenkei")
    if not os.path.isabs(runtime) or too_long(os.path.join(base, f"{key}.sock")):
        base = f"/tmp/zenkei-{uid}"  # noqa: S108 - owner and mode are checked at each use
    os.makedirs(base, mode=0o700, exist_ok=True)
    check_folder(base, uid)
    path = os.path.join(base, f"{key}.sock")
    temporary = os.path.join(home_path, f"{RECORD}.new")
    with open(temporary, "wb") as file:
        file.write(os.fsencode(path))
    os.replace(temporary, os.path.join(home_path, RECORD))
    return path
