"""Starts the daemon in the background and waits until it answers. Called when none runs.

Several command lines may start at once: each forks a daemon, one gets the lock of the home, the
others report `busy` and end; every command line then connects to the one that won. Nothing of the
starting terminal is kept: own session, cwd /, no descriptors, umask 077.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

from zenkei.client import connection, places
from zenkei.client.failure import Failure, NotRunning

PATIENCE_S = 60.0
LOOK_EVERY_S = 0.02
SETTLE_S = 1.0
"""A busy home that does not answer for so long is tried again: its daemon may have been ending."""


def start(home: str) -> None:
    """Returns when a daemon of this home answers. Raises Failure with what kept it from that."""
    _own_home(home)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = _spawn(home, deadline)
        if "ready" in said:
            return
        if "error" in said:
            raise _refused(said["error"])
        if _answers(home, min(deadline, time.monotonic() + SETTLE_S)):
            return
        if time.monotonic() >= deadline:
            raise Failure(
                "daemon-silent",
                f"another process holds the home {home}, and does not answer",
                hint=f"{os.path.join(home, 'state.lock')} names it",
                exit_code=75,
            )


def _own_home(home: str) -> None:
    places.check_home(home, os.geteuid())
    try:
        os.makedirs(home, mode=0o700, exist_ok=True)
        owner = os.stat(home).st_uid
    except OSError as error:
        raise Failure(
            "home-unusable",
            f"the home directory {home} cannot be made: {error.strerror}",
            hint="set ZENKEI_HOME to a directory of your own on a local disk",
            exit_code=2,
        ) from error
    if owner != os.geteuid():
        raise Failure(
            "home-of-another",
            f"the home directory {home} belongs to uid {owner}: its daemon is theirs to start",
            hint="set ZENKEI_HOME to a directory of yours",
            exit_code=5,
        )


def _answers(home: str, until: float) -> bool:
    while True:
        try:
            connection.connect(places.socket_path(home), timeout_s=5).close()
            return True
        except NotRunning:
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_EVERY_S)


def _spawn(home: str, deadline: float) -> dict[str, Any]:
    """Fork a daemon; what it says about its start: {ready}, {busy}, or {error}."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as error:
        raise Failure(
            "no-process",
            f"the daemon cannot be started: {error.strerror}",
            hint="this machine, or your user, has too many processes just now: try again",
            exit_code=75,
        ) from error
    if child == 0:
        try:
            _become_daemon(home, write)
        finally:
            os._exit(70)
    os.close(write)
    try:
        os.waitpid(child, 0)
        return _hear(read, home, deadline)
    finally:
        os.close(read)


def _become_daemon(home: str, write: int) -> None:
    """In the child: its parent returns at once, the grandchild becomes the daemon."""
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    story = os.open(os.path.join(home, "daemon.stderr"), flags, 0o600)
    os.dup2(null, 0)
    os.dup2(story, 1)
    os.dup2(story, 2)
    os.dup2(write, 3)
    os.set_inheritable(3, True)
    os.closerange(4, 65536)
    argv = [sys.executable, "-P", "-m", "zenkei.app", "--ready-fd", "3"]
    os.execve(sys.executable, argv, {**os.environ, "ZENKEI_HOME": home})  # noqa: S606


def _hear(read: int, home: str, deadline: float) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([read], [], [], left)[0]:
            text = f"the daemon did not start within {PATIENCE_S:.0f} s"
            raise Failure("daemon-slow", text, hint=_where(home), exit_code=75)
        piece = os.read(read, 65536)
        if not piece:
            text = "the daemon ended while it was starting"
            raise Failure("daemon-died", text, hint=_where(home), exit_code=70)
        data += piece
    said: dict[str, Any] = json.loads(data)
    return said


def _where(home: str) -> str:
    return f"the story is in {os.path.join(home, 'daemon.log')} and daemon.stderr beside it"


def _refused(error: dict[str, Any]) -> Failure:
    return Failure(
        str(error.get("code")),
        str(error.get("message")),
        hint=str(error.get("hint", "")),
        exit_code=int(error.get("exit_code", 70)),
        details=error.get("details") or {},
        problems=error.get("problems") or [],
    )
