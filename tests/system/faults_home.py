"""A home whose daemon is killed and started again by its tests, and what must hold at the end.

`a_home()` gives a private home; `Home.start` runs a daemon as a child of a process that has
imported everything before (two cores start sixty daemons in no time that way; `fresh=True` is a new
interpreter, as the command line starts it). `end_checks` closes the books: rows and events agree,
the outbox is empty, no process of the home is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process_guard import RUN_DIR
from tests.testbeds.local_place import until
from zenkei.client.client import Client
from zenkei.client.failure import Disconnected, Failure
from zenkei.store.sql import SqlStore

PATIENCE_S = 60.0
ENDED = ("succeeded", "failed", "cancelled")
# forks a daemon for each line of JSON {"environ", "ready"} that comes with a descriptor
NURSERY = """
import json, os, signal, socket, sys
import zenkei.app as app
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
exec(sys.argv[1])
line = socket.socket(fileno=0)
line.send(b"up")
while True:
    data, fds, _, _ = socket.recv_fds(line, 65536, 1)
    if not data:
        os._exit(0)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        line.close()
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.environ.clear()
        os.environ.update(json.loads(data))
        os.dup2(fds[0], 3)
        code = app.main(["--ready-fd", "3"])
        app.logging.shutdown()
        os._exit(code)
    os.close(fds[0])
    line.send(str(pid).encode())
"""


class Nursery:
    """Starts daemons by forking. `close` ends it, not its daemons. prelude: run before, for all."""

    def __init__(self, prelude: str = "") -> None:
        import socket

        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, prelude], stdin=theirs.fileno()
        )
        theirs.close()
        assert self._line.recv(16) == b"up"

    def start(self, environ: dict[str, str], ready: int) -> int:
        import socket

        socket.send_fds(self._line, [json.dumps(environ).encode()], [ready])
        return int(self._line.recv(64))

    def close(self) -> None:
        self._line.close()
        self._process.wait(20)


class Daemon:
    """One daemon process. `said`: what it told of its start, None while it has not."""

    def __init__(self, pid: int, ready: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._ready = ready
        self._heard = b""

    def wait_ready(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """What it said of its start; {} if it has ended without a word."""
        while not self._heard.endswith(b"\n"):
            found, _, _ = select.select([self._ready], [], [], patience_s)
            assert found, "the daemon does not say whether it has started"
            piece = os.read(self._ready, 65536)
            if not piece:
                return {}
            self._heard += piece
        said: dict[str, Any] = json.loads(self._heard)
        return said

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def gone(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for its end."""
        assert select.select([self._pidfd], [], [], patience_s)[0], f"{self.pid} does not end"

    def kill(self) -> None:
        """SIGKILL, and wait until nothing is left of it."""
        self.signal(signal.SIGKILL)
        self.gone()

    def alive(self) -> bool:
        return not select.select([self._pidfd], [], [], 0)[0]

    def close(self) -> None:
        os.close(self._pidfd)
        os.close(self._ready)


class Home:
    """See the module's docstring."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.path = Path(environ.get("ZENKEI_HOME", folder / "home"))
        for name in ("home", "user", "run", "tmp", "work"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if k.startswith(("ZENKEI_TEST", "COV"))}
        self.environ = {
            **kept,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HOME": str(folder / "user"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C",
            "TZ": "UTC",
            "ZENKEI_HOME": str(self.path),
            # the machine's disk may be nearly full; what is tested says so
            "ZENKEI_MIN_FREE_PERCENT": "0.1",
            "ZENKEI_MIN_FREE_BYTES": str(64 << 20),
            **environ,
        }
        self.client = Client(str(self.path))
        self.prelude = ""
        self._nursery: Nursery | None = None
        self._daemons: list[Daemon] = []

    # -- daemons -----------------------------------------------------------------------------------

    def begin(self, *, fresh: bool = False, prefix: tuple[str, ...] = (), **more: str) -> Daemon:
        """Start a daemon and do not wait. prefix: words before the interpreter's."""
        read, write = os.pipe()
        environ = {**self.environ, **more}
        try:
            if fresh or prefix:
                pid = self._spawn(environ, prefix, write)
            else:
                self._nursery = self._nursery or Nursery(self.prelude)
                pid = self._nursery.start(environ, write)
        finally:
            os.close(write)
        daemon = Daemon(pid, read)
        self._daemons.append(daemon)
        return daemon

    def _spawn(self, environ: dict[str, str], prefix: tuple[str, ...], write: int) -> int:
        argv = [*prefix, sys.executable, "-P", "-m", "zenkei.app", "--ready-fd", str(write)]
        story = (self.folder / "daemon.stderr").open("ab")
        with story:
            process = subprocess.Popen(
                argv,
                cwd="/",
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=story,
                stderr=story,
                pass_fds=[write],
                start_new_session=True,
            )
        # reaped by whoever starts the next process; its end is seen through a pidfd
        _children.append(process)
        return process.pid

    @property
    def newest(self) -> Daemon:
        return self._daemons[-1]

    def start(self, **options: Any) -> Daemon:
        """A daemon that answers."""
        daemon = self.begin(**options)
        said = daemon.wait_ready()
        assert "ready" in said, (said, self.story())
        return daemon

    def story(self, least: str = "warning") -> str:
        """The end of the daemon's log, for messages of failed tests."""
        log = self.path / "daemon.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(line for line in lines if f'"level": "{least}"' in line)[-3000:]

    def log_text(self) -> str:
        return (self.path / "daemon.log").read_text(errors="replace")

    # -- requests ----------------------------------------------------------------------------------

    def submit(self, command: str, *, key: str = "", **keys: Any) -> str:
        """A job's, or an array's, id. The spec is YAML, of which JSON is a part."""
        spec = {"name": "t", "command": command, "code": False, **keys}
        body = json.dumps(spec).encode()
        return str(self.client.post("/v1/jobs", body, **({"key": key} if key else {}))["id"])

    def show(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job}")
        return found

    def state(self, job: str) -> str:
        return str(self.show(job)["state"])

    def rows(self) -> list[dict[str, Any]]:
        found, cursor = [], ""
        while True:
            page = self.client.get("/v1/jobs", limit=1000, cursor=cursor)
            found += page["jobs"]
            cursor = page["next"]
            if not cursor:
                return found

    def until_state(self, job: str, *states: str, patience_s: float = PATIENCE_S) -> str:
        """Until the job is in one of `states`; a follower would hide what these tests break."""

        def found() -> str:
            state = self.state(job)
            return state if state in states else ""

        return str(until(found, f"job {job} in {states}", patience_s))

    def until_over(self, job: str, patience_s: float = PATIENCE_S) -> str:
        return self.until_state(job, *ENDED, patience_s=patience_s)

    def log(self, job: str, **query: Any) -> bytes:
        return b"".join(self.client.fetch(f"/v1/jobs/{job}/logs", raw=1, **query))

    # -- the end -----------------------------------------------------------------------------------

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.path / 'db.sqlite3'}?mode=ro", uri=True)

    def outbox(self) -> list[Any]:
        with contextlib.closing(self.database()) as connection:
            return connection.execute("SELECT * FROM outbox").fetchall()

    def until_still(self, patience_s: float = PATIENCE_S) -> None:
        """Until no job is unfinished and nothing is left to do."""

        def left() -> list[Any]:
            unfinished = [row for row in self.rows() if row["state"] not in ENDED]
            return unfinished + self.outbox()

        try:
            until(lambda: not left(), "the end of all jobs and an empty outbox", patience_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {left()}\n{self.story()}") from None

    def end_checks(self) -> None:
        """After the daemon's clean end: the books agree and nothing of the home runs."""
        for daemon in self._daemons:
            daemon.signal(signal.SIGTERM)
            daemon.gone()
        store = SqlStore(f"sqlite:///{self.path / 'db.sqlite3'}")
        try:
            assert store.check() == []
        finally:
            store.close()
        assert self.outbox() == []
        until(lambda: not processes_of(self.path), "the end of all processes of the home")

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.kill()
            daemon.close()
        if self._nursery is not None:
            self._nursery.close()
        for pid in processes_of(self.path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


_children: list[subprocess.Popen[bytes]] = []


def processes_of(home: Path) -> dict[int, str]:
    """Living processes that work in the home, name it in their arguments, or have it in their
    environment; with their command."""
    mark = os.fsencode(home)
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        proc = Path("/proc") / name
        try:
            if (proc / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                continue
            command = (proc / "cmdline").read_bytes()
            seen = command + (proc / "environ").read_bytes()
            here = os.fsencode(os.readlink(proc / "cwd"))
        except OSError:
            continue
        if int(name) != os.getpid() and (mark + b"/" in seen + b"/" or here.startswith(mark)):
            found[int(name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


@contextmanager
def a_home(folder: Path | None = None, **environ: str) -> Iterator[Home]:
    """A fresh home; afterwards nothing of it is left."""
    place = folder or Path(tempfile.mkdtemp(prefix="", dir=os.environ[RUN_DIR]))
    home = Home(place, **environ)
    try:
        yield home
    finally:
        home.close()
        if folder is None and not os.environ.get("ZENKEI_TEST_KEEP"):
            shutil.rmtree(place, ignore_errors=True)


def insist(call: Callable[[], Any], give_up: Callable[[], bool]) -> Any:
    """Repeat while no daemon answers, as a client with a request key does; None if given up."""
    import threading

    pause = threading.Event()
    while not give_up():
        try:
            return call()
        except Disconnected:
            pause.wait(0.02)
        except Failure as failure:
            if failure.exit_code != 75:
                raise
            pause.wait(0.05)
    return None
