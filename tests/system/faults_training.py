"""A training of four ranks on two of three hosts, and all that may happen to it meanwhile.

`Faults.strike` lets one thing happen: SIGKILL or SIGSTOP of a rank, a supervisor, the warm agent or
the daemon, a host cut off, a checkpoint torn, the disk full for a moment, a preemption. Kinds are
dealt from a shuffled deck, so that each comes up. Processes are found by what they are (see
`test_faults_agent.Targets`) and signalled by pid.

The daemon is the real one; only its patience with silent supervisors is short, so that one that was
frozen for good is replaced within seconds.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.system import exact_training
from tests.system.faults_home import ENDED, Home, a_home, insist
from tests.system.test_faults_agent import Targets
from tests.testbeds.hosts import Hosts
from tests.testbeds.small_disk import small_disk
from zenkei.client.failure import Failure

NODES, RANKS = 2, 2
HOSTS = 3
MOST_MISSED = 60
DISK_BYTES = 512 << 20
STEPS = 800
IMPATIENT = """
from functools import partial
from zenkei.engines.local.silence import Patience
patience = Patience(silent_s=3.0, lost_s=6.0, gone_s=30.0)
app.LogLimits = partial(app.LogLimits, patience=patience)
"""


@contextmanager
def a_training_home(folder: Path) -> Iterator[tuple[Home, Hosts]]:
    """A home on a small disk of its own, whose nodes are hosts; its daemon has started."""
    free = {"ZENKEI_MIN_FREE_BYTES": str(4 << 20), "ZENKEI_MIN_FREE_PERCENT": "0.1"}
    with (
        Hosts(HOSTS) as hosts,
        small_disk(folder / "home", DISK_BYTES),
        a_home(folder, **free) as home,
    ):
        home.prelude = IMPATIENT
        hosts.nodes().save(home.path / "nodes.json")
        home.start()
        yield home, hosts


class Training:
    """One job. ledger: the folder of its ranks' own notes."""

    def __init__(self, home: Home, steps: int, *, pause_s: float, every_s: float) -> None:
        self.home = home
        self.steps = steps
        self.ledger = home.folder / "ledger"
        self.ledger.mkdir(exist_ok=True)
        program = shlex.quote(exact_training.__file__)
        self.job = home.submit(
            f"exec python {program} {self.ledger} {steps} {pause_s} {every_s}",
            name="exact",
            resources={"nodes": NODES, "ranks": RANKS, "cpus": 1},
            checkpoint={"signal": "none", "grace": "5s"},
            retry={"limit": 100, "backoff": "0s"},
            grace="1s",
        )

    def show(self) -> dict[str, Any]:
        found: dict[str, Any] = insist(lambda: self.home.show(self.job), lambda: False)
        return found

    @property
    def is_over(self) -> bool:
        return self.show()["state"] in ENDED

    @property
    def reached(self) -> int:
        """The highest step of a checkpoint that is kept."""
        return max((point["step"] for point in self.checkpoints("kept")), default=-1)

    def checkpoints(self, state: str) -> list[dict[str, Any]]:
        path = f"/v1/jobs/{self.job}/checkpoints"
        found = insist(lambda: self.home.client.get(path), lambda: False)
        return [point for point in found["checkpoints"] if point["state"] == state]


class Faults:
    """What may happen. `struck` counts what did."""

    def __init__(self, home: Home, hosts: Hosts, rng: Random) -> None:
        self._home = home
        self._hosts = hosts
        self._rng = rng
        self._targets = Targets(home)
        self._pause = threading.Event()
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._deck: list[str] = []
        self._missed = 0
        self.struck: Counter[str] = Counter()
        self.training: Training | None = None
        self._kinds: dict[str, Callable[[], bool]] = {
            "rank killed": lambda: self._kill("rank"),
            "supervisor killed": lambda: self._kill("supervisor"),
            "agent killed": lambda: self._kill("agent"),
            "daemon killed": self._kill_daemon,
            "all killed": self._kill_all,
            "rank stopped": lambda: self._freeze("rank"),
            "supervisor stopped": lambda: self._freeze("supervisor"),
            "agent stopped": lambda: self._freeze("agent"),
            "daemon stopped": self._freeze_daemon,
            "host cut off": self._cut,
            "stored checkpoint torn": self._tear_stored,
            "saved checkpoint torn": self._tear_saved,
            "disk full": self._fill_disk,
            "preempted": self._preempt,
        }

    def are_enough(self, count: int) -> bool:
        """At least so many, and each kind among them."""
        return self.struck.total() >= count and len(self.struck) == len(self._kinds)

    def strike(self, training: Training) -> str:
        """The next thing that happens to a job; empty if there was nothing to happen to."""
        self.training = training
        if not self._deck:
            self._deck = self._rng.sample(sorted(self._kinds), len(self._kinds))
        kind = self._deck.pop()
        if not self._kinds[kind]():
            self._missed += 1
            assert self._missed < MOST_MISSED, f"there is never anything to be {kind}"
            # an agent that was killed has no successor until something is launched
            others = self._deck or self._rng.sample(sorted(self._kinds), len(self._kinds))
            self._deck = [kind, *others] if kind not in others else others
            return ""
        self._missed = 0
        self.struck[kind] += 1
        return kind

    def wait(self, seconds: float) -> None:
        """Let time pass, in which what was frozen or cut off comes back."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for due in [entry for entry in self._undo if entry[0] <= now]:
                self._undo.remove(due)
                due[1]()
            if now >= until:
                return
            self._pause.wait(0.02)

    def undo(self) -> None:
        """Everything comes back now."""
        while self._undo:
            self._undo.pop()[1]()

    # -- processes ---------------------------------------------------------------------------------

    def _one(self, kind: str) -> int:
        """A descriptor of a random process of a kind; -1 if there is none."""
        pids = self._targets.find(kind)
        try:
            return os.pidfd_open(self._rng.choice(pids)) if pids else -1
        except ProcessLookupError:
            return -1

    def _send(self, handle: int, number: int, *, close: bool = True) -> bool:
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            if close:
                os.close(handle)
        return True

    def _kill(self, kind: str) -> bool:
        handle = self._one(kind)
        return handle >= 0 and self._send(handle, signal.SIGKILL)

    def _kill_daemon(self) -> bool:
        self._home.newest.kill()
        self._pause.wait(self._rng.uniform(0.0, 0.5))
        self._home.start()
        return True

    def _kill_all(self) -> bool:
        """Daemon, agent and a supervisor in one instant."""
        handles = [handle for kind in ("agent", "supervisor") if (handle := self._one(kind)) >= 0]
        self._home.newest.signal(signal.SIGKILL)
        for handle in handles:
            self._send(handle, signal.SIGKILL)
        self._home.newest.gone()
        self._home.start()
        return True

    def _freeze(self, kind: str) -> bool:
        """For a moment, or for so long that the job must go on without it."""
        handle = self._one(kind)
        if handle < 0 or not self._send(handle, signal.SIGSTOP, close=False):
            return False
        seconds = self._rng.choice((self._rng.uniform(0.05, 1.0), 10.0))
        self._later(seconds, lambda: self._send(handle, signal.SIGCONT) and None)
        return True

    def _freeze_daemon(self) -> bool:
        self._home.newest.signal(signal.SIGSTOP)
        self._pause.wait(self._rng.uniform(0.1, 1.5))
        self._home.newest.signal(signal.SIGCONT)
        return True

    def _later(self, seconds: float, undo: Callable[[], Any]) -> None:
        self._undo.append((time.monotonic() + seconds, undo))

    # -- the world ---------------------------------------------------------------------------------

    def _cut(self) -> bool:
        """A host is cut off: for less than TCP bears, or for longer than the ranks do."""
        place = self._rng.randrange(HOSTS)
        self._hosts.cut(place)
        seconds = self._rng.choice((0.3, exact_training.PATIENCE_S + 1.0))
        self._later(seconds, lambda: self._hosts.heal(place))
        return True

    def _tear_stored(self) -> bool:
        """The newest checkpoint is spoilt where it is kept, and the job has to go on from one."""
        assert self.training is not None
        kept = self.training.checkpoints("kept")
        if not kept:
            return False
        step = max(point["step"] for point in kept)
        wanted, torn = f'{{"step": {step}, '.encode(), f'{{"torn": {step}, '.encode()
        found = 0
        stored = self._home.path / "attempts" / self.training.job / "kept"
        for path in stored.rglob("*"):
            with contextlib.suppress(OSError):
                data = path.read_bytes() if path.is_file() else b""
                if wanted in data:
                    path.chmod(0o600)
                    path.write_bytes(data.replace(wanted, torn))
                    found += 1
        return found > 0 and self._kill("rank")

    def _tear_saved(self) -> bool:
        """The newest file of a checkpoint is cut off on its node, before or after it is stored."""
        assert self.training is not None
        folder = self._home.path / "attempts" / self.training.job
        files = [
            (status.st_mtime_ns, path)
            for path in folder.glob("*/node-*/checkpoints/step-*/rank-?")
            if (status := _status(path)) is not None
        ]
        if not files:
            return False
        with contextlib.suppress(OSError):
            os.truncate(max(files)[1], 7)
        return True

    def _fill_disk(self) -> bool:
        filler = self._home.path / "filler"
        disk = os.statvfs(self._home.path)
        left = self._rng.choice((0, 1 << 16, 3 << 20))
        try:
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - left))
        except OSError:
            filler.unlink(missing_ok=True)
            return False
        self._pause.wait(self._rng.uniform(0.2, 1.5))
        filler.unlink()
        return True

    def _preempt(self) -> bool:
        assert self.training is not None
        path = f"/v1/jobs/{self.training.job}/preempt"
        try:
            insist(lambda: self._home.client.post(path, {}), lambda: False)
        except Failure as failure:
            if failure.exit_code == 6:
                return False  # it is between two attempts
            raise
        return True


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def train_under_faults(
    home: Home, hosts: Hosts, count: int, seed: int, *, steps: int = STEPS
) -> tuple[Counter[str], list[Training]]:
    """Trainings until `count` things have happened, all kinds among them; all jobs are over then.

    Most of the time the job gets further before the next thing happens; else it is hit while it
    recovers.
    """
    rng = Random(seed)
    faults = Faults(home, hosts, rng)
    trainings: list[Training] = []
    while not faults.are_enough(count):
        training = Training(home, steps, pause_s=0.004, every_s=0.2)
        trainings.append(training)
        while not training.is_over and not faults.are_enough(count):
            reached, until = training.reached, time.monotonic() + 8.0
            in_peace = rng.random() < 0.7
            while in_peace and training.reached == reached and time.monotonic() < until:
                faults.wait(0.1)
                in_peace = not training.is_over
            faults.wait(rng.uniform(0.0, 0.6))
            kind = faults.strike(training)
            if kind and os.environ.get("ZENKEI_TEST_STORY"):
                at = training.show()
                words = (faults.struck.total(), kind, training.job, at["attempt"], at["state"])
                print(f"{time.monotonic():.2f}", *words, reached, file=sys.stderr, flush=True)
    faults.undo()
    for training in trainings:
        home.until_over(training.job, 300)
    home.until_still(60)
    return faults.struck, trainings
