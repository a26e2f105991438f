"""A host that the control plane hears nothing of, and that hears nothing of the control plane.

`Hosts.cut` takes a host's network away; what its supervisor writes still reaches the daemon, which
lies on the same disk. With `divide(Layout)` in the daemon's process (`a_daemon` starts one so), an
`Isolation` of an attempt on a node divides that too: from then on the control plane sees what lay
there in that moment and nothing later, its orders lie where no supervisor looks, and it can signal
nothing there. Supervisor and ranks go on, as on a host whose cable was pulled. `end` brings both
sides together: orders arrive, and all that was written meanwhile is seen at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from zenkei.engines.local.engine import wake_supervisor
from zenkei.engines.local.layout import Layout
from zenkei.model.ids import AttemptId
from zenkei.protocol import names

REPO = Path(__file__).resolve().parents[2]
DAEMON = """
import sys
from functools import partial
sys.path.insert(0, sys.argv[1])
import zenkei.app as app
from tests.testbeds.isolation import divide
from zenkei.engines.local import silence
from zenkei.engines.local.layout import Layout
Layout.node = divide(Layout.node)
silence._start_ticks = lambda pid: 0  # nobody's processes can be named from afar
patience = silence.Patience(silent_s=8.0, lost_s=12.0, gone_s=4.0)
app.LogLimits = partial(app.LogLimits, patience=patience)
sys.exit(app.main(["--ready-fd", sys.argv[2]]))
"""
_Node = Callable[[Layout, AttemptId, int], Path]


def _known(node: Path) -> Path:
    """What the control plane knows of a node that is isolated."""
    return node.with_name(f"known-{node.name}")


def divide(node: _Node) -> _Node:
    """`Layout.node`, where isolated nodes are seen as they were."""

    def divided(layout: Layout, attempt: AttemptId, rank: int) -> Path:
        path = node(layout, attempt, rank)
        known = _known(path)
        return known if known.exists() else path

    return divided


class Isolation:
    """Of the directory of an attempt on a node. As a context it ends with its block."""

    def __init__(self, node: Path) -> None:
        self._node = node
        self._known = _known(node)
        self._lock = -1

    def begin(self) -> Self:
        draft = self._known.with_name(f".{self._known.name}")
        while not _copied(self._node, draft):
            shutil.rmtree(draft)
        # to the control plane the supervisor lives: what ends is its word, not its process
        self._lock = os.open(draft / names.SPOOL_FILE, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        draft.rename(self._known)
        return self

    def end(self) -> None:
        if self._lock < 0:
            return
        orders = (self._known / names.INBOX_FILE).read_bytes()
        with (self._node / names.INBOX_FILE).open("r+b") as file:
            file.write(orders)
        self._known.rename(self._known.with_name(f".{self._known.name}"))
        os.close(self._lock)
        self._lock = -1
        wake_supervisor(self._node)

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


def _copied(source: Path, target: Path) -> bool:
    """False if something vanished meanwhile."""
    try:
        shutil.copytree(source, target, symlinks=True, ignore=_no_files)
    except (shutil.Error, OSError):
        return False
    return True


def _no_files(folder: str, found: list[str]) -> list[str]:
    """What cannot be copied (sockets), and what is about to get another name."""
    return [name for name in found if ".draft" in name or not _is_plain(Path(folder, name))]


def _is_plain(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


@contextmanager
def a_daemon() -> Iterator[subprocess.Popen[bytes]]:
    """The daemon of $ZENKEI_HOME, whose nodes can be isolated; the caller ends it (`down`)."""
    read, write = os.pipe()
    argv: list[Any] = [sys.executable, "-c", DAEMON, str(REPO), str(write)]
    process = subprocess.Popen(argv, cwd="/", stdin=subprocess.DEVNULL, pass_fds=[write])
    try:
        os.close(write)
        with open(read, "rb") as said:
            line = said.readline()
        assert b'"ready"' in line, line
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
