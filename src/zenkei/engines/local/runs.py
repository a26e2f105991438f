"""The attempts of this place that are not retired, and the reports they have given rise to.

Called by `engine` and `watch`. Reports have numbers that grow; a cursor is the engine's start and
such a number, so a cursor of an earlier engine means: everything once more.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from zenkei.engines.local import gang
from zenkei.engines.local.hanging import Hung
from zenkei.engines.local.layout import ATTEMPT_FILE, Layout
from zenkei.engines.local.ports import Ports
from zenkei.model.cluster import Node
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, StopReason
from zenkei.ports.engine import Checkpointed, Exited, NodeSeen, Noticed, Released, Report
from zenkei.protocol import names, records

CLAIM_PATIENCE_S = 2.0
TOMBSTONE = "never-started"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is committed about an attempt. nodes: by rank; none: a tombstone, it must never start.

    secrets: (name in the project, variable). port: where its ranks meet; 0: they do not.
    """

    attempt: AttemptId
    nodes: tuple[str, ...]
    boot_id: str
    project: str = ""
    secrets: tuple[tuple[str, str], ...] = ()
    port: int = 0


@dataclass(slots=True)
class _Live:
    """reports: with their numbers. asked: when a supervisor was last asked for, by node rank."""

    run: Run
    reports: list[tuple[int, Report]] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)
    asked: dict[int, float] = field(default_factory=dict)
    hung: bool = False

    @property
    def released(self) -> bool:
        return bool(self.reports) and isinstance(self.reports[-1][1], Released)


class Runs:
    """Thread-safe. resume: start or finish a node without supervisor. stop: order to a node."""

    def __init__(
        self,
        layout: Layout,
        boot_id: str,
        resume: Callable[[Run, int], None],
        stop: Callable[[AttemptId, int, StopReason, float], None],
        blame: Callable[[AttemptId, Hung], None],
    ) -> None:
        self._layout = layout
        self._boot_id = boot_id
        self._resume = resume
        self._stop = stop
        self._blame = blame
        self.ports = Ports(layout.home)
        self._lock = Lock()
        self._live: dict[AttemptId, _Live] = {}
        self._number = 0
        self._start = f"{os.getpid()}-{time.time_ns():x}"
        self._wake: Callable[[], None] = lambda: None
        self._seen: dict[str, tuple[int, Report]] = {}
        self._fenced: set[str] = set()
        if layout.fenced.exists():
            found = json.loads(layout.fenced.read_text(encoding="utf-8"))
            # a new boot has ended whatever the fence was against
            self._fenced = {node for node, boot in found.items() if boot == boot_id}

    # -- commitments -------------------------------------------------------------------------------

    def known(self, attempt: AttemptId) -> Run | None:
        """What was committed about an attempt, retired ones included."""
        with self._lock:
            live = self._live.get(attempt)
        if live is not None:
            return live.run
        try:
            data = (self._layout.attempt(attempt) / ATTEMPT_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return _load(json.loads(data))

    def commit(self, run: Run) -> None:
        """From here on the attempt was launched, or never will be. Durable on return."""
        folder = self._layout.attempt(run.attempt)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._layout.active_mark(run.attempt).touch()
        draft = folder / f"{ATTEMPT_FILE}.draft"
        with open(draft, "wb") as file:
            file.write(json.dumps(_dump(run)).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.rename(folder / ATTEMPT_FILE)
        _sync_folder(folder)
        with self._lock:
            self._live[run.attempt] = _Live(run, asked=dict.fromkeys(range(len(run.nodes)), now()))

    def retire(self, attempt: AttemptId) -> None:
        self._layout.active_mark(attempt).unlink(missing_ok=True)
        with self._lock:
            self._live.pop(attempt, None)
        self.ports.end(attempt)

    def fence(self, node: str) -> None:
        """Reports of attempts on this node are refused until the machine is started anew."""
        with self._lock:
            self._fenced.add(node)
            text = json.dumps(dict.fromkeys(sorted(self._fenced), self._boot_id))
        draft = self._layout.fenced.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.rename(self._layout.fenced)

    # -- scanning ----------------------------------------------------------------------------------

    def load_active(self) -> None:
        """Attempts of earlier engines. An index entry without a commitment was cut off: nothing."""
        for attempt in self._layout.active_attempts():
            run = self.known(attempt)
            if run is None:
                continue
            self.ports.keep(attempt, run.port)
            with self._lock:
                self._live.setdefault(attempt, _Live(run))

    def unreleased(self) -> list[AttemptId]:
        """Attempts from which a report is still to come."""
        with self._lock:
            return [attempt for attempt, live in self._live.items() if not live.released]

    def scan(self, attempt: AttemptId) -> bool:
        """Read an attempt's records. True if that gave new reports."""
        with self._lock:
            live = self._live.get(attempt)
            fenced = live is not None and not self._fenced.isdisjoint(live.run.nodes)
        if live is None or fenced:
            return False
        if not live.run.nodes:
            found = gang.Gang(reports=_never_started(attempt), stop=())
        else:
            spools = [
                records.read(str(self._layout.node(attempt, rank) / names.SPOOL_FILE))
                for rank in range(len(live.run.nodes))
            ]
            found = gang.read(attempt, live.run.nodes, spools)
        with self._lock:
            have = {_identity(report) for _, report in live.reports}
            fresh = [report for report in found.reports if _identity(report) not in have]
            for report in fresh:
                self._number += 1
                live.reports.append((self._number, report))
            stop = [rank for rank in found.stop if rank not in live.stopped]
            live.stopped.update(stop)
            hung = None if live.hung else found.hung
            live.hung = live.hung or hung is not None
        for rank in stop:
            self._stop(attempt, rank, found.why, found.grace_s)
        if hung is not None:
            self._blame(attempt, hung)
        return bool(fresh)

    def revive(self, attempt: AttemptId) -> None:
        """See to nodes that have work left and no living supervisor."""
        with self._lock:
            live = self._live.get(attempt)
        if live is None:
            return
        for rank in range(len(live.run.nodes)):
            if now() - live.asked.get(rank, -CLAIM_PATIENCE_S) < CLAIM_PATIENCE_S:
                continue
            node = self._layout.node(attempt, rank)
            found = records.read(str(node / names.SPOOL_FILE))
            over = bool(found) and found[-1]["kind"] == records.RELEASED
            if not over and not is_supervised(str(node / names.SPOOL_FILE)):
                live.asked[rank] = now()
                self._resume(live.run, rank)

    # -- reports -----------------------------------------------------------------------------------

    def on_report(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def see(self, node: Node) -> None:
        """A node has changed; only its newest state is reported."""
        with self._lock:
            self._number += 1
            self._seen[node.name] = (self._number, NodeSeen(node=node))
        self._wake()

    def announce(self) -> None:
        self._wake()

    def since(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        """Reports after `cursor`, in the order in which they were noticed."""
        start, _, number = cursor.rpartition(":")
        after = int(number) if start == self._start and number.isdigit() else 0
        with self._lock:
            found = [entry for live in self._live.values() for entry in live.reports]
            found += self._seen.values()
            following = f"{self._start}:{self._number}"
        found = sorted((entry for entry in found if entry[0] > after), key=lambda entry: entry[0])
        return tuple(report for _, report in found), following


def is_supervised(spool: str) -> bool:
    """True while a supervisor holds its spool's lock; the kernel lets go of it when it dies."""
    try:
        fd = os.open(spool, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def now() -> float:
    return time.monotonic()


def _identity(report: Report) -> tuple[object, ...]:
    """Equal for two that say the same, whenever they were derived."""
    if isinstance(report, Checkpointed):
        return (Checkpointed, report.step)
    if isinstance(report, Noticed):
        return (Noticed, report.notice, report.rank, report.node, report.detail)
    return (type(report),)


def _never_started(attempt: AttemptId) -> tuple[Report, ...]:
    ended = Exit(detail="stopped before it was launched")
    return (
        Exited(attempt=attempt, reason=StopReason.LAUNCH_FAILED, exit=ended),
        Released(attempt=attempt, proof=TOMBSTONE),
    )


def _dump(run: Run) -> dict[str, Any]:
    return {
        "attempt": str(run.attempt),
        "nodes": list(run.nodes),
        "boot_id": run.boot_id,
        "project": run.project,
        "secrets": [list(pair) for pair in run.secrets],
        "port": run.port,
    }


def _load(fields: dict[str, Any]) -> Run:
    return Run(
        attempt=AttemptId.parse(fields["attempt"]),
        nodes=tuple(fields["nodes"]),
        boot_id=fields["boot_id"],
        project=fields.get("project", ""),
        secrets=tuple((name, variable) for name, variable in fields.get("secrets", ())),
        port=int(fields.get("port", 0)),
    )


def _sync_folder(folder: os.PathLike[str]) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
