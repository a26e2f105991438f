"""Which supervisors give no sign of life, for how long, and what is done about it.

Called by `watch` in its slow rounds. A supervisor touches a file every few seconds
(`agent.heartbeat`). Silence is counted in time in which this process itself looked: a machine that
was asleep, or a daemon that was held, has missed nothing. Ideal: who is silent for good is proved
gone. So a supervisor that can be named is killed first, and what it leaves is cleaned as after any
death; only if that does not help is the attempt called lost, to be fenced. Cost: one stat per
attempt and node in a round.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from zenkei.engines.local.layout import Layout
from zenkei.model.ids import AttemptId
from zenkei.ports.engine import Heard, Silent
from zenkei.protocol import names, records
from zenkei.protocol.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """silent_s: how long nothing may be heard before it is told. lost_s: before it is ended.

    gone_s: how long it may take until a supervisor that was killed is proved gone. A round counts
    for at most most_round_s.
    """

    silent_s: float = 20.0
    lost_s: float = 60.0
    gone_s: float = 15.0
    most_round_s: float = 4.0


@dataclass(slots=True)
class _Heartbeat:
    """Of one node of an attempt. told: whether its silence was."""

    node: str
    seen: int
    silent_s: float = 0.0
    told: bool = False
    killed: bool = False
    lost: bool = False


def _end(claimed: Record) -> None:
    """SIGKILL to the very process that claimed the attempt; nothing if it is another one now."""
    pid, start = int(claimed["pid"]), int(claimed["start"])
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start and _start_ticks(pid) == start:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass  # it has just ended
    finally:
        os.close(handle)


def _start_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


@dataclass(slots=True)
class Silence:
    """spool: records of a node. See the module's docstring."""

    layout: Layout
    patience: Patience
    spool: Callable[[AttemptId, int], list[Record]]
    clock: Callable[[], float]
    kill: Callable[[Record], None] = _end
    _known: dict[tuple[AttemptId, int], _Heartbeat] = field(default_factory=dict)
    _last: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether somebody counts as silent, so that a later round has to take it back."""
        return any(beat.told for beat in self._known.values())

    def look(self, running: Iterable[tuple[AttemptId, tuple[str, ...]]]) -> list[Silent | Heard]:
        """One round over what runs: attempts with the names of their nodes, by rank."""
        now = self.clock()
        passed_s = 0.0 if self._last is None else min(now - self._last, self.patience.most_round_s)
        self._last = now
        found: list[Silent | Heard] = []
        current: dict[tuple[AttemptId, int], _Heartbeat] = {}
        for attempt, nodes in running:
            for rank, node in enumerate(nodes):
                seen = self._seen(attempt, rank)
                if seen is None:
                    continue
                beat = self._known.pop((attempt, rank), None)
                if beat is None or seen != beat.seen:
                    if beat is not None and beat.told:
                        found.append(Heard(attempt=attempt, node=node))
                    # time before anybody looked at this one is no silence of its
                    current[attempt, rank] = _Heartbeat(node, seen)
                else:
                    current[attempt, rank] = beat
                    beat.silent_s += passed_s
                    found += self._judge(attempt, rank, node, beat)
        # released since the last round: nobody is silent there any more
        over = {(attempt, beat.node) for (attempt, _), beat in self._known.items() if beat.told}
        found += [Heard(attempt=attempt, node=node) for attempt, node in sorted(over)]
        self._known = current
        return found

    def _seen(self, attempt: AttemptId, rank: int) -> int | None:
        """When it was last touched; None if there is nothing to touch (yet)."""
        try:
            return os.stat(self.layout.node(attempt, rank) / names.HEARTBEAT_FILE).st_mtime_ns
        except OSError:
            return None

    def _judge(
        self, attempt: AttemptId, rank: int, node: str, beat: _Heartbeat
    ) -> Iterable[Silent | Heard]:
        limits = self.patience
        if beat.silent_s < limits.silent_s or beat.lost:
            return
        spool = self.spool(attempt, rank)
        if spool and spool[-1]["kind"] == records.RELEASED:
            if beat.told:
                beat.told = False
                yield Heard(attempt=attempt, node=node)
            return
        detail = f"its supervisor gives no sign of life for {beat.silent_s:.0f} s"
        if not beat.told:
            beat.told = True
            yield Silent(attempt=attempt, node=node, detail=detail)
        if beat.silent_s >= limits.lost_s and not beat.killed:
            beat.killed = True
            claimed = next((r for r in spool if r["kind"] == records.CLAIMED), None)
            if claimed is not None:
                self.kill(claimed)
        if beat.silent_s >= limits.lost_s + limits.gone_s:
            beat.lost = True
            yield Silent(attempt=attempt, node=node, detail=detail, lost=True)
