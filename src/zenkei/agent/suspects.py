"""What each rank of a silent job does: computes, polls, waits, is stopped, or lives on; for `hang`.

One `Suspects` per attempt and node; `look` is called every few seconds while there is silence.
A rank lives if bytes flow, if it sleeps until a time that it has named itself, if a debugger holds
it, or if it serves clients: then there is no hang, however long the silence (`hang.timeout` apart).
A rank that waits is followed to what it waits for: its children, the other ends of its pipes and
connections, who holds a lock. What is done outside the job may take as long as it likes.
What cannot be told counts for life. The table of all cases is in docs/concepts/hangs.md.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterator, List, NamedTuple

from zenkei.agent import sockets, vitals, waits
from zenkei.agent.vitals import Look, Process, Thread
from zenkei.protocol import hangs

LONG_SLEEP_S = 2.0
"""A shorter one is polling."""
MOST_SLEEPS = 3
"""So many that have ended without a sign of progress, and the next is polling (a shell's loop)."""
FOREVER_S = 30 * 86400.0
LIVES = "lives"
_OUTSIDE = re.compile(
    r"anon_inode:\[?(timerfd|inotify|fanotify|signalfd)|/dev/(pts/|tty)|/(?!dev/)"
)
"""Timers, changes of files, terminals, named pipes: whoever wakes the waiter is not to be seen."""
Groups = Dict[int, List[int]]
OTHERS = -1
"""Stands for processes of the attempt that belong to no rank: launchers, daemons of the job."""


class State(NamedTuple):
    """kind: LIVES or a word of `protocol.hangs`. woke: helper threads work, or will by themselves.

    timed: all that speaks for life is a time limit of the wait, which may be a library's own.
    """

    kind: str
    how: str = ""
    woke: bool = False
    timed: bool = False


class _Rank:
    """Times at which something was last seen of a rank."""

    def __init__(self, now: float) -> None:
        self.look: Look | None = None
        self.busy_at = self.flowed_at = self.ran_at = self.woke_at = now
        self.stopped_since = 0.0
        # thread -> until when it said it would wait: once per silence, or polling would be life
        self.sleeps: dict[tuple[int, int], float] = {}


class Suspects:
    """groups: pids by rank, now, OTHERS included. alone: the attempt has one rank in all."""

    def __init__(
        self, groups: Callable[[], Groups], addresses: tuple[str, ...], *, alone: bool
    ) -> None:
        # nodes that are declared only share the machine's loopback
        addresses = (*addresses, "127.0.0.1", "::1") if len(addresses) > 1 else addresses
        self._groups = groups
        self._addresses = addresses
        self._alone = alone
        self._ranks: dict[int, _Rank] = {}
        self._net: sockets.Sockets | None = None
        self._own: frozenset[int] = frozenset()
        self._pids: frozenset[int] = frozenset()

    def forget(self) -> None:
        """There was a sign of progress."""
        self._ranks.clear()

    def rebase(self, now: float) -> None:
        """What ran until now did so because of us (a dump makes threads run)."""
        for rank, pids in self._groups().items():
            if rank in self._ranks:
                self._ranks[rank].look = vitals.look(now, pids, self._net)

    def look(self, now: float) -> None:
        """Read everything once, and compare with the last time."""
        groups = self._groups()
        self._net = sockets.Sockets()
        looks = {rank: vitals.look(now, pids, self._net) for rank, pids in groups.items()}
        own = [process for look in looks.values() for process in look.processes.values()]
        self._own = frozenset(inode for process in own for inode in process.sockets)
        self._pids = frozenset(process.pid for process in own)
        for gone in set(self._ranks) - set(groups):
            del self._ranks[gone]
        for rank, look in looks.items():
            self._update(self._ranks.setdefault(rank, _Rank(now)), look)

    def _update(self, rank: _Rank, look: Look) -> None:
        now = look.at
        if rank.look is not None:
            motion = vitals.compare(rank.look, look)
            rank.busy_at = now if motion.busy else rank.busy_at
            rank.flowed_at = now if motion.flows else rank.flowed_at
            rank.ran_at = now if motion.ran else rank.ran_at
            rank.woke_at = now if motion.woke else rank.woke_at
        self._note_sleeps(rank, look)
        rank.look = look
        is_stopped = any(process.state == "T" for process in look.processes.values())
        if is_stopped and now - rank.busy_at > 0:
            rank.stopped_since = rank.stopped_since or now
        else:
            rank.stopped_since = 0.0

    @staticmethod
    def _note_sleeps(rank: _Rank, look: Look) -> None:
        over = sum(until < look.at for until in rank.sleeps.values())
        for pid, process in look.processes.items():
            for number, thread in enumerate(process.threads):
                left_s = thread.wait.left_s
                if not LONG_SLEEP_S < left_s < FOREVER_S or over >= MOST_SLEEPS:
                    continue
                # helpers wait for their next turn with a time limit all the time
                if thread.wait.kind == waits.SLEEP or number == 0:
                    rank.sleeps.setdefault((pid, thread.tid), look.at + left_s)

    # -- answers -----------------------------------------------------------------------------------

    def stopped_s(self, now: float) -> dict[int, float]:
        """Ranks that are stopped, and for how long they have been seen so."""
        return {
            number: now - rank.stopped_since
            for number, rank in self._ranks.items()
            if rank.stopped_since
        }

    def states(
        self,
        now: float,
        window_s: float,
        collective: frozenset[int] = frozenset(),
        joins: frozenset[int] = frozenset(),
    ) -> dict[int, State]:
        """Of each rank, by what was seen within `window_s`.

        collective: ranks whose stack is in a collective: the time limits of their waits do not
        count, they are the libraries' own. joins: those whose main thread waits for threads of its
        own: what these wait for counts.
        """
        found = {}
        for number, rank in self._ranks.items():
            look = rank.look
            if look is None or not look.processes:
                continue
            if number == OTHERS:
                if now - rank.flowed_at < window_s:
                    found[number] = State(LIVES, "bytes flow")
                elif now - rank.busy_at < window_s:
                    found[number] = State(hangs.COMPUTES, "computes")
                continue
            life = self._life(rank, look, now, window_s, joins=number in joins)
            found[number] = self._state(
                rank, look, now, window_s, life=life, in_collective=number in collective
            )
        return found

    def _state(
        self,
        rank: _Rank,
        look: Look,
        now: float,
        window_s: float,
        *,
        life: str,
        in_collective: bool,
    ) -> State:
        if rank.stopped_since:
            return State(hangs.STOPPED, "is stopped (SIGSTOP)")
        if life:
            return State(LIVES, life)
        if now - rank.busy_at < window_s:
            return State(hangs.COMPUTES, "computes")
        if self._sleeps(rank, look, now):
            return State(LIVES, "sleeps until a time of its own")
        if not in_collective and any(_timed(rank, look, now)):
            return State(LIVES, "waits with a time limit", timed=True)
        process = leaf(look)
        if process is None:
            return State(LIVES, "cannot be seen")
        doubt = self._doubt(rank, look, process, now, window_s)
        if not in_collective and process.threads[0].wait.left_s >= 0:
            doubt = doubt or process.threads[0].wait.text
        if doubt:
            return State(hangs.POLLS, doubt)
        woke = now - rank.woke_at < window_s or any(
            thread.wait.left_s >= 0 or self._serves(process, thread)
            for thread in process.threads[1:]
        )
        return State(hangs.WAITS, process.threads[0].wait.text, woke)

    def _life(self, rank: _Rank, look: Look, now: float, window_s: float, *, joins: bool) -> str:
        """What speaks against a hang, whatever else is seen; empty if nothing does."""
        if any(process.state == "t" for process in look.processes.values()):
            return "is held by a debugger"
        if now - rank.flowed_at < window_s:
            return "reads or writes"
        process = leaf(look)
        threads = process.threads if process is not None else ()
        for thread in threads if joins else threads[:1]:
            if process is not None and self._serves(process, thread):
                return "waits for clients"
        return ""

    def _doubt(self, rank: _Rank, look: Look, process: Process, now: float, window_s: float) -> str:
        """Why what looks like waiting may be none."""
        thread = process.threads[0]
        if thread.state == "D":
            return "waits for a device (state D)"
        if now - rank.ran_at < window_s:
            return "polls"
        for one in _behind(look, process):
            for waiter in one.threads:
                doubt = self._outside(one, waiter)
                if doubt:
                    return doubt
        # a timer may end it, or somebody outside
        outside = thread.wait.kind in (waits.SIGNAL, waits.OTHER, waits.UNKNOWN, waits.SLEEP)
        return thread.wait.text if outside or not thread.wait.sure else ""

    @staticmethod
    def _sleeps(rank: _Rank, look: Look, now: float) -> bool:
        """True if a thread is in a sleep it began before it could have been polling."""
        return any(thread.wait.kind == waits.SLEEP for thread in _timed(rank, look, now))

    def _serves(self, process: Process, thread: Thread) -> bool:
        """True if it waits for clients of a job that has one rank, so that they are others."""
        wait = thread.wait
        if not self._alone or self._net is None:
            return False
        if wait.kind == waits.POLL:
            return self._net.listens(_sockets_of(process, wait))
        main = thread is process.threads[0]
        among = main and wait.kind in (waits.SOCKET, waits.SIGNAL)
        return wait.kind == waits.ACCEPT or (among and self._net.listens(process.sockets))

    def _outside(self, process: Process, thread: Thread) -> str:
        """Of a thread that may be waiting for what is done outside (by a daemon, another host)."""
        wait, net = thread.wait, self._net
        if wait.kind == waits.FILE_LOCK:
            inside = self._pids.issuperset(waits.lock_holders(process.pid))
            return "" if inside else f"{wait.text} that nobody of the job holds"
        if wait.kind not in (waits.SOCKET, waits.POLL, waits.OTHER) or net is None:
            return ""
        if any(_OUTSIDE.match(target) for target in wait.on):
            return "waits for somebody outside the job"
        if wait.kind == waits.OTHER:
            return ""
        inodes = _sockets_of(process, wait)
        unknown = wait.kind == waits.SOCKET and not all(map(net.knows, inodes))
        if unknown or any(net.is_foreign(inode, self._own, self._addresses) for inode in inodes):
            return "waits for data from outside the job"
        return ""


def _sockets_of(process: Process, wait: waits.Wait) -> list[int]:
    """Those for which it waits; all that it has, if that is not known."""
    return sockets.inodes_of(wait.on) if wait.on else list(process.sockets)


def _behind(look: Look, process: Process) -> Iterator[Process]:
    """A process, and those of its rank for which it waits: children, other ends of its pipes."""
    yield process
    children = any(thread.wait.kind == waits.CHILD for thread in process.threads)
    pipes = {target for thread in process.threads for target in thread.wait.on}
    for other in look.processes.values():
        if other is not process and (children or not pipes.isdisjoint(other.pipes)):
            yield other


def leaf(look: Look) -> Process | None:
    """The process on which a rank depends: the last that does not wait for a child of its own."""
    living = [p for p in look.processes.values() if p.threads and p.state != "Z"]
    own = [p for p in living if p.threads[0].wait.kind != waits.CHILD]
    return own[0] if own else (living[0] if living else None)


def _timed(rank: _Rank, look: Look, now: float) -> Iterator[Thread]:
    """Threads whose wait ends by itself, for the first times in this silence."""
    for pid, process in look.processes.items():
        for thread in process.threads:
            until = rank.sleeps.get((pid, thread.tid), 0.0)
            if until + LONG_SLEEP_S >= now and thread.wait.left_s >= 0:
                yield thread
