"""Checkpoints of the ranks of one node: asked for, heard of, reported; a stop waits for them.

Called by the supervisor's loop. Ranks say what they saved in files of their own (`protocol.
checkpoint`), which are looked at once a second, oftener while an answer is awaited. A step counts
when all ranks of this node that must say so have said it. What a rank says is never trusted: a line
that makes no sense, a step that goes back, a path that is not there or leads out of the checkpoint
directory is told in the log and as a notice, and changes nothing.

An order to stop that gives time for a checkpoint: the file $ZENKEI_CHECKPOINT_ASK appears, then the
signal of the job's policy goes to the topmost process of each rank that handles it. The stop begins
when a step is complete that was said after the order; with several nodes, when the engine says that
all of them are; at the latest when the time is over, or nothing can be awaited any more.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import time
from typing import Any, Callable, NamedTuple

from zenkei.agent import processes
from zenkei.agent.attempt import FULL, Attempt
from zenkei.agent.watching import INFINITE, Watch
from zenkei.protocol import checkpoint, names, records

EVERY_S = 1.0
ASKED_EVERY_S = 0.02
READ_BYTES = 1 << 16
MOST_OPEN = 64
"""Steps that some ranks have said and others have not (yet)."""
MOST_NOTICES = 20
AGREE_S = 5.0
"""All ranks have answered, with different steps: so long they may still come to the same one."""
BURST = 16
"""Checkpoints reported at once; after that one a second."""

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISCHR, "a device"),
)
"""What a marker must not be."""

# what starts a program and hands signals on, or dies of them: looked through for who handles them
_SHELLS = frozenset(b"ash bash busybox dash env fish ksh nohup sh time timeout uv zsh".split())


class Stop(NamedTuple):
    """What follows when the checkpoint is saved or the time is over."""

    reason: str
    grace_s: float


class _Ask(NamedTuple):
    until: float
    stop: Stop | None


class CheckpointWatch(Watch):
    """alive: ranks of this node that live, with their processes. stop: begins the stop."""

    def __init__(
        self,
        attempt: Attempt,
        alive: Callable[[], dict[int, int]],
        stop: Callable[[Stop], None],
    ) -> None:
        document = attempt.document
        assert document.checkpoint is not None
        self._attempt = attempt
        self._policy = document.checkpoint
        self._alive = alive
        self._stop = stop
        first = document.node_rank * document.ranks
        local = range(first, first + document.ranks)
        self._must = [rank for rank in local if self._policy.all_ranks or rank == 0]
        self._markers = {rank: _Marker(f"{names.MARKERS_DIR}/{rank}") for rank in local}
        self._last = dict.fromkeys(local, -1)
        self._before = self._last
        self._resumed = -1
        self._open: dict[int, dict[int, str]] = {}
        self._complete = -1
        self._waiting: list[tuple[int, list[str]]] = []
        self._tokens = float(BURST)
        self._ask: _Ask | None = None
        self._next_at = 0.0
        self._looked_at = time.monotonic()
        self._told: set[str] = set()

    # -- the loop ----------------------------------------------------------------------------------

    def due_at(self, now: float) -> float:
        if self._ask is None:
            return self._next_at
        return min(self._next_at, self._ask.until)

    def work(self, now: float) -> None:
        if now < self.due_at(now):
            return
        self._look(now)
        if self._ask is not None:
            self._judge(self._ask, now)

    def rank_ended(self) -> None:
        self._next_at = 0.0

    def finish(self) -> None:
        """What was said last counts as well."""
        self._look(time.monotonic())
        self._report(all_of_them=True)
        self._ask = None
        self._next_at = INFINITE

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, deadline_s: float, stop: Stop | None = None) -> None:
        """Ask the ranks for a checkpoint; with `stop`, stop when it is there."""
        now = time.monotonic()
        self._look(now)
        until = now + deadline_s
        before = self._ask
        if before is not None and before.stop is not None:
            # who is about to be stopped gets no more time than was said first
            stop, until = before.stop, min(until, before.until)
        self._ask = _Ask(until, stop)
        self._before = dict(self._last)
        if stop is not None and self._attempt.saved is None:
            self._attempt.saved = -1 if self._must else -2
        try:
            _write_ask(stop is not None, until - now)
        except OSError as error:
            self._notice(-1, f"the file that asks for one cannot be made: {error.strerror}")
        if self._policy.signal:
            number = getattr(signal, "SIG" + self._policy.signal)
            for pid in self._alive().values():
                for handler in handlers(pid, number):
                    processes.send(handler, number)
        self._next_at = now

    def _judge(self, ask: _Ask, now: float) -> None:
        """Whether the answer is there, may still come, or is too late."""
        stop, until = ask.stop, ask.until
        if stop is None:
            if now >= until:
                self._notice(-1, "no checkpoint was saved in the time that was given for it")
                self._answered()
            return
        is_saved = self._attempt.saved is not None and self._attempt.saved >= 0
        if not is_saved and self._must and self._have_answered():
            until = min(until, now + AGREE_S)
            self._ask = _Ask(until, stop)
        if is_saved and self._attempt.document.nodes == 1:
            self._end(stop)
        elif now >= until:
            if not is_saved and self._must:
                self._notice(-1, "it is stopped without a checkpoint: the time for it is over")
            self._end(stop)
        elif not is_saved and not self._may_come():
            self._notice(-1, "it is stopped without a checkpoint: a rank ended without saving one")
            self._end(stop)

    def _have_answered(self) -> bool:
        return all(self._last[rank] > self._before[rank] for rank in self._must)

    def _may_come(self) -> bool:
        """False if a rank that must say something is gone without having said it."""
        alive = self._alive()
        newest = max(self._last.values(), default=-1)
        return all(
            rank in alive or self._last[rank] == newest > self._complete for rank in self._must
        )

    def _end(self, stop: Stop) -> None:
        self._report(all_of_them=True)
        self.give_up()
        self._stop(stop)

    def give_up(self) -> None:
        """Nothing is awaited any more: the ranks are being stopped."""
        if self._ask is not None:
            self._answered()

    def _answered(self) -> None:
        self._ask = None
        _remove(names.ASK_FILE)

    # -- hearing -----------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        self._tokens = min(float(BURST), self._tokens + now - self._looked_at)
        self._looked_at = now
        self._next_at = now + (EVERY_S if self._ask is None else ASKED_EVERY_S)
        for rank, marker in self._markers.items():
            marks, complaints = marker.read()
            for complaint in complaints:
                self._notice(rank, complaint)
            for mark in marks:
                self._hear(rank, mark)
        self._report(all_of_them=False)

    def _hear(self, rank: int, mark: checkpoint.Mark) -> None:
        if mark.resumed:
            self._hear_resumed(rank, mark.step)
            return
        last = self._last[rank]
        if mark.step <= last:
            if mark.step < last:
                self._notice(rank, f"step {mark.step} is said to be saved after step {last}")
            return
        problem = _problem(mark.path)
        if problem:
            self._notice(rank, f"checkpoint of step {mark.step}: {problem}")
            return
        self._last[rank] = mark.step
        if rank not in self._must:
            return
        self._open.setdefault(mark.step, {})[rank] = mark.path
        if len(self._open[mark.step]) == len(self._must):
            self._completed(mark.step)
        self._drop_dead()

    def _hear_resumed(self, rank: int, step: int) -> None:
        if self._resumed < 0:
            self._resumed = step
            self._attempt.report(records.RESUMED, sync=False, rank=rank, step=step)
        elif self._resumed != step:
            self._notice(rank, f"it goes on from step {step}, another rank from {self._resumed}")

    def _completed(self, step: int) -> None:
        paths = [path for _, path in sorted(self._open[step].items()) if path]
        self._open = {other: said for other, said in self._open.items() if other > step}
        self._complete = step
        self._waiting.append((step, list(dict.fromkeys(paths))))
        if self._ask is not None and self._ask.stop is not None:
            self._attempt.saved = step
            _remove(names.ASK_FILE)
        elif self._ask is not None:
            self._answered()

    def _drop_dead(self) -> None:
        """Steps that a rank went past without saying them will never be complete."""
        least = min((self._last[rank] for rank in self._must), default=-1)
        for step in sorted(self._open):
            missing = [rank for rank in self._must if rank not in self._open[step]]
            past = [rank for rank in missing if self._last[rank] > step]
            if (past and step < least) or len(self._open) > MOST_OPEN:
                said = sorted(self._open.pop(step))[0]
                rank = (past or missing)[0]
                self._notice(
                    rank,
                    f"rank {said} has saved step {step}, rank {rank} has not, and is at step"
                    f" {self._last[rank]}: it is no checkpoint until all ranks save the same step",
                )

    # -- telling -----------------------------------------------------------------------------------

    def _report(self, *, all_of_them: bool) -> None:
        """Complete steps into the spool, a few at once, then one a second: the newest.

        Of several nodes each must choose the same one: the roundest.
        """
        while self._waiting and (all_of_them or self._ask is not None or self._tokens >= 1):
            step, paths = self._waiting.pop(0)
            self._tokens -= 1
            stop = self._ask.stop if self._ask is not None and step == self._attempt.saved else None
            more: dict[str, Any] = {} if self._policy.all_ranks else {"first": True}
            if stop is not None:
                more.update(stop=stop.reason, grace_s=stop.grace_s)
            self._attempt.report(records.SAVED, step=step, paths=paths, **more)
        if len(self._waiting) > 1:
            alone = self._attempt.document.nodes == 1
            key = (lambda one: one[0]) if alone else (lambda one: (one[0] & -one[0], one[0]))
            self._waiting = [max(self._waiting, key=key)]

    def _notice(self, rank: int, detail: str) -> None:
        """Into the log and to the engine; each thing once, and not without end."""
        # names of files may be no text
        shown = detail[:500].encode("utf-8", "backslashreplace").decode()
        if shown in self._told or len(self._told) >= MOST_NOTICES:
            return
        self._told.add(shown)
        who = f"rank {rank}: " if rank >= 0 else ""
        self._attempt.remark(f"checkpoint: {who}{shown}")
        self._attempt.report(
            records.NOTICE, sync=False, notice="checkpoint", rank=rank, detail=shown
        )


class _Marker:
    """The file of one rank, read as it grows. It is the job's: it may be anything."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0
        self._seen = (0, 0, 0)

    def read(self) -> tuple[list[checkpoint.Mark], list[str]]:
        """What has been added, and what is wrong. A file written anew counts with its last line."""
        try:
            data, is_anew = self._more()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [f"its marker file cannot be read: {self._why(error)}"]
        if not data:
            return [], []
        marks, found, rest = checkpoint.decode(data)
        self._at += len(data) - len(rest)
        if len(rest) > checkpoint.MOST_LINE:
            found.append(f"more than {checkpoint.MOST_LINE} bytes without a newline")
            self._at += len(rest)
        complaints = [f"its marker file has a line that is none: {one}" for one in found]
        return marks[-1:] if is_anew else marks, complaints

    def _more(self) -> tuple[bytes, bool]:
        """Raises OSError; a pipe without writers does not block."""
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "")
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if seen == self._seen and self._at == seen[1]:
                return b"", False
            begins_anew = self._at > 0 and os.pread(fd, 1, self._at - 1) != b"\n"
            if begins_anew or seen[1] <= self._at:
                is_anew, self._at = self._at > 0, 0
            else:
                is_anew = False
            self._seen = seen
            return os.pread(fd, READ_BYTES, self._at), is_anew
        finally:
            os.close(fd)

    def _why(self, error: OSError) -> str:
        """In the words of whoever put something else there: there are a few kinds it can be."""
        try:
            mode = os.lstat(self._path).st_mode
        except OSError:
            return str(error.strerror)
        kind = next((word for test, word in _KINDS if test(mode)), "")
        if not kind:
            return str(error.strerror)
        return f"it is {kind}; remove it, and append to a plain file of that name"


def _problem(path: str) -> str:
    """Why what lies there cannot be a checkpoint; empty if it can."""
    if not path:
        return ""
    place, mode = ".", 0
    for part in (names.CHECKPOINTS_DIR, *path.split("/")):
        place = f"{place}/{part}"
        try:
            mode = os.lstat(place).st_mode
        except OSError as error:
            return f"`{path}` cannot be found in the checkpoint directory ({error.strerror})"
        if stat.S_ISLNK(mode):
            return f"`{path}` leads through a link; save real files"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return f"`{path}` is neither a file nor a directory"
    return ""


def handlers(pid: int, number: int) -> list[int]:
    """The topmost processes from `pid` on that handle the signal.

    Only shells and their like are looked through: a program that does not handle it itself may have
    helpers that do, and would end of it (data loaders).
    """
    program = _program(pid)
    if program != b"timeout" and _handles(pid, number):
        return [pid]
    if program not in _SHELLS:
        return []
    return [found for child in processes.children(pid) for found in handlers(child, number)]


def _handles(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except OSError:
        pass
    return False


def _program(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().strip()
    except OSError:
        return b""


def _write_ask(stop: bool, deadline_s: float) -> None:
    """Appears at once and whole; one that lies there already is replaced, as a new question.

    On a full disk it is empty: that it is there says enough.
    """
    text = json.dumps({"stop": stop, "deadline_s": deadline_s, "at_us": time.time_ns() // 1000})
    draft = names.ASK_FILE + ".draft"
    try:
        with open(draft, "w", encoding="ascii") as file:
            file.write(text + "\n")
    except OSError as error:
        if error.errno not in FULL:
            raise
    os.replace(draft, names.ASK_FILE)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone, or something that the program has put there
