"""The attempts of this place that are not retired, and the reports they have given rise to.

Called by `engine` and `watch`. Reports have numbers that grow; a cursor is the engine's start and
such a number, so a cursor of an earlier engine means: everything once more.
"""

from __future__ import annotations

import bisect
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from threading import Lock
from typing import Any

from zenkei.engines.local import gang
from zenkei.engines.local.fences import Fence, Fences
from zenkei.engines.local.hanging import Hung
from zenkei.engines.local.layout import ATTEMPT_FILE, Layout
from zenkei.engines.local.ports import Ports
from zenkei.engines.local.silence import Patience, Silence
from zenkei.engines.local.spools import Spools
from zenkei.model.cluster import Node
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, StopReason
from zenkei.ports.engine import (
    Checkpointed,
    Cleared,
    Exited,
    Heard,
    NodeSeen,
    Noticed,
    Released,
    Report,
    Silent,
)
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
    left: set[int] = field(default_factory=set)
    told: set[tuple[object, ...]] = field(default_factory=set)

    def is_new(self, report: Report) -> bool:
        """True once for what says the same."""
        known = len(self.told)
        self.told.add(_identity(report))
        return len(self.told) > known

    def after(self, number: int) -> list[tuple[int, Report]]:
        """Those that are newer: a few at the end of very many."""
        return self.reports[bisect.bisect_right(self.reports, number, key=itemgetter(0)) :]

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
        patience: Patience,
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
        self._signs: dict[tuple[AttemptId, str], tuple[int, Report]] = {}
        self._fences = Fences(layout.fenced)
        self._asked: dict[Fence, float] = {}
        self._spools = Spools(layout)
        self._silence = Silence(layout, patience, self._spools.read, now)

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
            self._spools.forget(attempt)
            for key in [k for k, s in self._signs.items() if k[0] == attempt]:
                if not isinstance(self._signs[key][1], Cleared):
                    del self._signs[key]
        self.ports.end(attempt)

    def fence(self, node: str, attempt: AttemptId) -> None:
        """What its records on this node say from now on is refused; it is ordered to end there."""
        run = self.known(attempt)
        ranks = [r for r, name in enumerate(run.nodes) if name == node] if run is not None else []
        for rank in ranks:
            self._layout.fenced_mark(attempt, rank).touch()
            taken = self._spools.count(attempt, rank)
            fence = Fence(attempt=attempt, rank=rank, node=node, boot_id=self._boot_id, taken=taken)
            if self._fences.put(fence):
                self._stop(attempt, rank, StopReason.NODE_LOST, 0.0)
        if not ranks:
            self._sign(Cleared(attempt=attempt, node=node))
        self.scan(attempt)
        self.look_after_fences()
        self.announce()

    def lift(self, node: str, attempt: AttemptId) -> None:
        self._fences.lift(attempt, node)
        self._spools.forget(attempt)
        with self._lock:
            self._signs.pop((attempt, node), None)

    def fenced(self, attempt: AttemptId, rank: int) -> bool:
        """Whether what lies there is refused; it stays so when the fence is lifted."""
        known = self._fences.get(attempt, rank)
        return known is not None or self._layout.fenced_mark(attempt, rank).exists()

    def look_after_fences(self) -> bool:
        """Fenced attempts of which nothing is left, and those whose supervisor died; True if news.

        An attempt that nobody looks after is cleaned here as everywhere.
        """
        fresh = False
        for fence in self._fences.all():
            if fence.cleared:
                continue
            spool = self._spools.read(fence.attempt, fence.rank)
            over = bool(spool) and spool[-1]["kind"] == records.RELEASED
            if over or fence.boot_id != self._boot_id:
                self._fences.clear(fence)
                self._sign(Cleared(attempt=fence.attempt, node=fence.node))
                fresh = True
            elif now() - self._asked.get(fence, -CLAIM_PATIENCE_S) >= CLAIM_PATIENCE_S:
                self._asked[fence] = now()
                run = self.known(fence.attempt)
                node = self._layout.node(fence.attempt, fence.rank)
                if run is not None and not is_supervised(str(node / names.SPOOL_FILE)):
                    self._resume(run, fence.rank)
        return fresh

    def listen(self) -> bool:
        """Who gives no sign of life, and who does again; True if news. Called every few seconds."""
        with self._lock:
            running = [
                (attempt, live.run.nodes)
                for attempt, live in self._live.items()
                if not live.released
            ]
        signs = self._silence.look(running)
        for sign in signs:
            nodes = dict(running).get(sign.attempt, ())
            if sign.node not in nodes or not self.fenced(sign.attempt, nodes.index(sign.node)):
                self._sign(sign)
        return bool(signs)

    def told_us(self, attempt: AttemptId, rank: int, step: int) -> int:
        """When the ranks of a node had said that a step is saved; 0 if that is not known."""
        return self._spools.told_us(attempt, rank, step)

    def _sign(self, sign: Silent | Heard | Cleared) -> None:
        """The newest about an attempt on a node counts."""
        with self._lock:
            self._number += 1
            self._signs[sign.attempt, sign.node] = (self._number, sign)

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

    @property
    def busy(self) -> bool:
        """Whether somebody must look again although nothing is told."""
        if self.unreleased() or self._silence.is_told:
            return True
        return any(not fence.cleared for fence in self._fences.all())

    def scan(self, attempt: AttemptId) -> bool:
        """Read an attempt's records. True if that gave new reports."""
        with self._lock:
            live = self._live.get(attempt)
        if live is None:
            return False
        if not live.run.nodes:
            found = gang.Gang(reports=_never_started(attempt), stop=())
        else:
            spools = [
                self._fences.of(attempt, rank, self._spools.read(attempt, rank))
                for rank in range(len(live.run.nodes))
            ]
            found = gang.read(attempt, live.run.nodes, spools)
            self._tell_left(live, spools)
        with self._lock:
            fresh = [report for report in found.reports if live.is_new(report)]
            for report in fresh:
                self._number += 1
                live.reports.append((self._number, report))
            stop = [rank for rank in found.stop if rank not in live.stopped]
            live.stopped.update(stop)
            hung = None if live.hung else found.hung
            live.hung = live.hung or hung is not None
        done = max((r.step for r in fresh if isinstance(r, Checkpointed)), default=-1)
        if done >= 0:
            self._spools.drop_saved(attempt, done)
        for rank in stop:
            self._stop(attempt, rank, found.why, found.grace_s)
        if hung is not None:
            self._blame(attempt, hung)
        return bool(fresh)

    def _tell_left(self, live: _Live, spools: list[list[records.Record]]) -> None:
        """A supervisor says that processes do not end although they were killed."""
        for rank, spool in enumerate(spools):
            record = next((r for r in spool if r["kind"] == records.LEFT), None)
            if record is None or rank in live.left or spool[-1]["kind"] == records.RELEASED:
                continue
            live.left.add(rank)
            detail = str(record["detail"])
            node = live.run.nodes[rank]
            self._sign(Silent(attempt=live.run.attempt, node=node, detail=detail, lost=True))
            self.announce()

    def revive(self, attempt: AttemptId) -> None:
        """See to nodes that have work left and no living supervisor."""
        with self._lock:
            live = self._live.get(attempt)
        if live is None:
            return
        for rank in range(len(live.run.nodes)):
            if now() - live.asked.get(rank, -CLAIM_PATIENCE_S) < CLAIM_PATIENCE_S:
                continue
            if self.fenced(attempt, rank):
                continue
            node = self._layout.node(attempt, rank)
            found = self._spools.read(attempt, rank)
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
            found = [entry for live in self._live.values() for entry in live.after(after)]
            rest = [*self._seen.values(), *self._signs.values()]
            found += [entry for entry in rest if entry[0] > after]
            following = f"{self._start}:{self._number}"
        found.sort(key=itemgetter(0))
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
