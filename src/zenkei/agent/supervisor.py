"""Runs one attempt on one node, from claim to proof that nothing of it is left.

Called by the warm agent in a fork, or by `__main__` in a fresh interpreter. Promises:
- the ranks of an attempt are started at most once, whoever calls how often (flock on the spool
  while a supervisor lives, `claimed` record for ever);
- the spool says `exited` when all ranks have ended and `released` when every process of the tree is
  gone: this process is a subreaper, so the tree is empty when it has no child left;
- its own death breaks the ranks' pipes; the warm agent and `cleaner` end what is left.
One loop, no threads. Cost: 1-2 MB of its own, wakes up only for events and deadlines.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import time
from typing import Collection

from zenkei.agent import (
    cleaner,
    diagnosis,
    diary,
    gpus,
    groups,
    health,
    heartbeat,
    kernel,
    processes,
    remains,
    staging,
)
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.checkpoints import CheckpointWatch, Stop
from zenkei.agent.control import ControlSocket
from zenkei.agent.hang import HangWatch
from zenkei.agent.heartbeat import Heartbeat
from zenkei.agent.meeting import Meeting
from zenkei.agent.memory import MemoryWatch
from zenkei.agent.mpi_ranks import MpiRanks
from zenkei.agent.pipes import Pipes
from zenkei.agent.ranks import Ranks
from zenkei.agent.stop import LEFT_S, Stopper
from zenkei.agent.torchrun_ranks import TorchrunRanks
from zenkei.agent.watching import Watch
from zenkei.protocol import launch, names, records

DRAIN_BYTES = 4 << 20
IDLE_TICK_S = 30.0
SHARE_CPU_S = 0.2
"""Who lives shorter takes nothing from anybody."""
LOCK_TRIES = 5
LOCK_AGAIN_S = 0.02
NEVER_STARTED = "never-started"
PEERS_GRACE_S = 0.5
"""For the other ranks of a gang when one has failed: what they do cannot be finished any more."""


def main(
    directory: str,
    secrets: dict[str, bytes],
    places: groups.Places,
    *,
    inside: bool = False,
    used: Collection[str] = (),
) -> None:
    """Start the attempt in `directory`, or finish it if an earlier supervisor died.

    used: shared memory that the processes of a dead one had in use.
    """
    os.chdir(directory)
    with open(names.LAUNCH_FILE, "rb") as file:
        document = launch.load(file.read())
    journal = records.Journal(names.SPOOL_FILE, attempt=document.attempt, node=document.node_rank)
    if not _lock(journal):
        return
    # another supervisor may have written between our reading and our locking
    journal.refresh()
    if journal.last(records.RELEASED):
        return
    group = groups.Group(places, document.tree, inside=inside)
    if journal.last(records.CLAIMED) or document.boot_id not in ("", processes.boot_id()):
        cleaner.finish(document, journal, group, used)
        return
    # before anybody can know of it: who is frozen from here on is missed
    heartbeat.touch()
    journal.append(
        records.CLAIMED,
        at_us=now_us(),
        sync=False,
        pid=os.getpid(),
        start=processes.start_ticks(os.getpid()),
        boot_id=processes.boot_id(),
    )
    try:
        Supervisor(Attempt(document, journal, group, secrets)).run()
    except BaseException:
        diary.note_exception()
        cleaner.finish(document, journal, group)
        raise


def _lock(journal: records.Journal) -> bool:
    """True if no other supervisor lives. Tried again: an engine that looks holds it a moment."""
    for _ in range(LOCK_TRIES):
        if _locks_now(journal):
            return True
        time.sleep(LOCK_AGAIN_S)
    return False


def _locks_now(journal: records.Journal) -> bool:
    try:
        fcntl.flock(journal.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def now_us() -> int:
    return time.time_ns() // 1000


class Supervisor:
    """The loop. What it supervises is in `attempt`; how it ends, in `stop`."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.selector = selectors.DefaultSelector()
        self.pipes = Pipes(attempt, self.selector)
        self.stopper = Stopper(attempt)
        self.control = ControlSocket(self)
        self.meeting = Meeting(attempt)
        kinds = {"mpi": MpiRanks, "torchrun": TorchrunRanks}
        kind: type[Ranks] = kinds.get(attempt.document.launcher, Ranks)
        self.ranks = kind(attempt, self.pipes)
        self.memory: MemoryWatch | None = None
        self.checkpoints: CheckpointWatch | None = None
        self.hang: HangWatch | None = None
        self.watches: list[Watch] = [Heartbeat(attempt.document.heartbeat_s)]
        self.staging = 0
        self.time_limit_at = 0.0
        self.share_cpu_at = 0.0
        self.protected = False
        self.begun = False
        self.started = False
        self.exited = False
        self.childless = False

    def run(self) -> None:
        kernel.become_subreaper()
        signals = _watch_signals()
        self.selector.register(signals, selectors.EVENT_READ, self._on_signal)
        self.control.open(self.selector)
        self._read_orders()
        if self.attempt.cause is None:
            try:
                self._begin()
            except OSError as error:
                self.attempt.blame(staging.cause_of(error))
        while not self._step():
            for key, _ in self.selector.select(self._timeout_s()):
                # what an earlier one of this round has closed is not called any more
                current = self.selector.get_map().get(key.fd)
                if current is not None and current.data == key.data:
                    key.data(key.fd)
        self.control.close()

    # -- beginning ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.attempt.open()
        document = self.attempt.document
        self.attempt.group.create(document.memory_bytes, document.cpu_milli)
        if document.data is None:
            self._enclose()
        if document.code_dir or gpus.given(document) or document.data is not None:
            self.staging = staging.start(self.attempt)
            return
        cause = staging.unfit(health.check(health.of(document)))
        if cause is not None:
            self.attempt.blame(cause)
            return
        staging.prepare(self.attempt)
        self._start_ranks()

    def _enclose(self) -> None:
        """From here on this process and all below it have shared memory and mounts of their own."""
        remains.hide(self.attempt.document)
        self.protected = staging.protect_environment(self.attempt.document)

    def _start_ranks(self) -> None:
        document = self.attempt.document
        cause = None
        if document.data is not None:
            # not before: what the node's helper has mounted meanwhile is for other jobs too
            self._enclose()
            cause = staging.show_data(self.attempt)
        cause = cause or self.meeting.arrange()
        if cause is not None:
            self.attempt.blame(cause)
            return
        self.begun = True
        self.hang = HangWatch(self.attempt, self.ranks, self._hung)
        self.pipes.heard = self.hang.heard
        self.watches.append(self.hang)
        self.failed(self.ranks.start())
        if self.attempt.group.cpu_is_due:
            self.share_cpu_at = time.monotonic() + SHARE_CPU_S
        if document.time_limit_s:
            self.time_limit_at = time.monotonic() + document.time_limit_s
        if document.memory_bytes and not self.attempt.group.limits_memory:
            self.memory = MemoryWatch(document.memory_bytes)
        if document.checkpoint is not None:
            self.checkpoints = CheckpointWatch(self.attempt, self.ranks.pids, self._stop_for)
            self.watches.append(self.checkpoints)

    def _stop_for(self, stop: Stop) -> None:
        self._end_with(Cause(stop.reason), stop.grace_s)

    def _hung(self, cause: Cause, grace_s: float) -> None:
        if self.attempt.cause is None:
            self._end_with(cause, grace_s)
            self._tell_other_nodes(cause)

    # -- one round ---------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Everything that time or an event makes due. True when all is done."""
        now = time.monotonic()
        self._reap()
        self.pipes.flush(now_us())
        if self.ranks.running and not self.started:
            self.started = True
            # lost in a power cut it is a lost node all the same: need not reach the disk
            env = "read-only" if self.protected else "as it is"
            cpus = self.attempt.group.shares_cpu or "not enforced"
            self.attempt.report(records.STARTED, sync=False, env=env, cpus=cpus)
        if self.time_limit_at and now >= self.time_limit_at and not self.exited:
            self.time_limit_at = 0.0
            limit_s = self.attempt.document.time_limit_s
            self._end_with(Cause("time_limit", detail=f"ran for its time limit of {limit_s:g} s"))
        if self.share_cpu_at and now >= self.share_cpu_at:
            self.share_cpu_at = 0.0
            self.attempt.group.share_cpu(self._pids)
        if self.memory is not None and self.memory.exceeded(now, self._pids):
            self.attempt.blame(Cause("out_of_memory", detail=self.memory.text))
            self.memory = None
            self.stopper.kill_now()
        if self.attempt.disk_full and self.attempt.cause is None:
            self._end_with(Cause("disk_full", detail="the disk with the attempt's log is full"))
        for watch in self.watches:
            watch.work(now)
        if self.begun and not self.exited and self.ranks.over:
            self._ranks_ended()
        self.stopper.work(self._pids)
        if not self._empty():
            return False
        self._finish()
        return True

    def _pids(self) -> list[int]:
        found = set(processes.below(os.getpid())) | self.attempt.group.members()
        return sorted(found - {os.getpid()})

    def _empty(self) -> bool:
        if not self.childless or self.staging or (self.begun and not self.exited):
            return False
        return not self.attempt.group.members()

    def _timeout_s(self) -> float:
        now = time.monotonic()
        due = [now + IDLE_TICK_S, self.stopper.due_at(now, childless=self.childless)]
        if self.time_limit_at and not self.exited:
            due.append(self.time_limit_at)
        if self.share_cpu_at:
            due.append(self.share_cpu_at)
        if self.memory is not None:
            due.append(self.memory.next_at)
        due += [watch.due_at(now) for watch in self.watches]
        output_us = self.pipes.deadline_us()
        if output_us:
            due.append(now + max(0.0, (output_us - now_us()) / 1e6))
        return max(0.0, min(due) - now)

    # -- events ------------------------------------------------------------------------------------

    def _on_signal(self, fd: int) -> None:
        try:
            numbers = os.read(fd, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self._end_with(Cause("node_lost", detail="the supervisor was told to end (SIGTERM)"))

    def on_wake(self) -> None:
        """Somebody wrote into the inbox. What had ended before that, did so by itself."""
        self._reap()
        self._read_orders()

    def _read_orders(self) -> None:
        for order in self.attempt.new_orders():
            if order["kind"] == records.STOP:
                self._order_to_stop(order)
            elif order["kind"] == records.ASK and self.checkpoints is not None:
                self.checkpoints.ask(float(order["deadline_s"]))
            elif order["kind"] == records.DUMP and self.hang is not None:
                self.hang.ask_dump()
            elif order["kind"] == records.HUNG:
                cause = Cause("hung", rank=int(order["rank"]), detail=str(order["detail"]))
                self._hung(cause, float(order["grace_s"]))

    def _order_to_stop(self, order: records.Record) -> None:
        """At once, or when the ranks have saved a checkpoint: from then on they end because of it,

        whatever they do. Ranks that have all ended before they could know have not.
        """
        cause, grace_s = Cause(str(order["reason"])), float(order["grace_s"])
        checkpoint_s = float(order.get("checkpoint_s", 0.0))
        if checkpoint_s > 0 and self.checkpoints is not None and not self.stopper.begun:
            self._reap()
            if self.ranks.pids():
                self.attempt.blame(cause)
                self.checkpoints.ask(checkpoint_s, Stop(cause.reason, grace_s))
                return
            if self.ranks.over:
                return
        self._end_with(cause, grace_s)

    def _end_with(self, cause: Cause, grace_s: float | None = None) -> None:
        self.attempt.blame(cause)
        if self.staging:
            processes.send(self.staging, signal.SIGKILL)
        if self.checkpoints is not None:
            self.checkpoints.give_up()
        grace_s = self.attempt.document.grace_s if grace_s is None else grace_s
        if not self.stopper.begun:
            self.pipes.mark()
        self.stopper.begin(grace_s, self.ranks.to_terminate)

    def _reap(self) -> None:
        """Collect all children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                self.childless = False
                return
            self._reaped(pid, status)

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self.staging:
            self.staging = 0
            cause = staging.verdict(status)
            if cause is not None:
                self.attempt.blame(cause)
            elif self.attempt.cause is None:
                self._start_ranks()
            return
        if self.control.command_ended(pid, status):
            return
        if self.hang is not None and self.hang.reaped(pid):
            return
        self.failed(self.ranks.ended(pid, status))

    def failed(self, cause: Cause | None) -> None:
        """A rank has ended; with a cause, the attempt does."""
        for watch in self.watches:
            watch.rank_ended()
        if cause is None or self.attempt.cause is not None:
            return
        document = self.attempt.document
        alone = document.nodes * document.ranks == 1
        self._end_with(cause, None if alone else min(document.grace_s, PEERS_GRACE_S))
        self._tell_other_nodes(cause)

    def _tell_other_nodes(self, cause: Cause) -> None:
        """They are not to wait until everything here has ended."""
        if self.attempt.document.nodes > 1:
            self.attempt.report(records.FAILED, sync=False, reason=cause.reason, rank=cause.rank)

    # -- ending ------------------------------------------------------------------------------------

    def _ranks_ended(self) -> None:
        """All ranks have ended; what they left behind is stopped next."""
        self.exited = True
        for watch in self.watches:
            watch.finish()
        if not self.childless or self.attempt.group.members():
            self._report_exit(sync=True)
            self.stopper.begin(self.attempt.document.grace_s, self._pids)
            self.stopper.ask_late(self._left_behind())

    def _left_behind(self) -> list[int]:
        """What the ranks of this node have left: not what still serves those of others."""
        serving = [*self.ranks.launchers(), *self.control.links()]
        spared = {pid for top in serving for pid in [top, *processes.below(top)]}
        return [pid for pid in self._pids() if pid not in spared]

    def _report_exit(self, *, sync: bool) -> None:
        self.pipes.drain(DRAIN_BYTES)
        said = self.ranks.last_words(self.attempt.cause)
        said = diagnosis.explain(self.attempt, said, self.pipes.tails, self.ranks.ends)
        self.attempt.report_exit(said, sync=sync)

    def _finish(self) -> None:
        """Nothing is left: say so, last of all."""
        self.pipes.drain(DRAIN_BYTES)
        self.pipes.close()
        if not self.attempt.journal.last(records.EXITED):
            self._report_exit(sync=False)
        self.attempt.close()
        remains.clear(self.attempt.document, self.stopper.used, self.stopper.tell_left, LEFT_S)
        proof = self.attempt.group.proof if self.begun else NEVER_STARTED
        self.attempt.group.remove()
        staging.remove_private(self.attempt.document)
        self.attempt.report(records.RELEASED, proof=proof)


def _watch_signals() -> int:
    """Signals become bytes in a pipe, so that the loop sleeps in one place only."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    # what is handled here is at its default again in what is executed; what is ignored stays so
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _note)
    return read_end


def _note(_number: int, _frame: object) -> None:
    """The wake-up descriptor carries the signal; nothing is done in a handler."""
