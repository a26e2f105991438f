"""Save progress so that the job can be stopped and go on: `from zenkei.sdk import checkpoint`.

    found = checkpoint.resume()               None, or read(found.path) and go on after found.step
    if checkpoint.due():                      asked for, or worth its cost by now
        with checkpoint.file(step) as path:   written beside, synced, renamed, told
            write(path)

With several ranks all must save at the same step: `if checkpoint.all_agree(checkpoint.due()):`.
A program need not end itself when it has been asked: it is stopped once all ranks have saved, and
whatever it does after that is not counted. Outside a job nothing is asked and nothing is told.

No signal handler is installed: an ask is a file that appears, and looking for it costs less than a
microsecond most of the time. Standard library only, Python 3.8; see `checkpoint_torch` and
`checkpoint_chainer` for more.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import sys
import threading
import time
from contextlib import contextmanager
from typing import Any, Iterator, NamedTuple

from zenkei.protocol import checkpoint as wire
from zenkei.protocol import names
from zenkei.sdk.context import context

LOOK_EVERY_S = 0.02
FIRST_S = 300.0
"""The first one comes after so long: what one costs is known only then."""
LEAST_S, MOST_S = 30.0, 6 * 3600.0
COSTS = 5
FAILURES_PER_DAY = 0.1
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | _PLAIN


class Resume(NamedTuple):
    """Go on after `step`, from a copy of what was saved.

    directory: what was given to `saved`, or one that has everything if the ranks gave different
    paths. path: what this rank wrote with `file` or `folder`; the same as `directory` if it did
    not, or gave it a name (see `find`).
    """

    step: int
    path: str
    directory: str


class _Keeper:
    """What this process knows of asks and of what it has saved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._ask: tuple[int, int] | None = None
        self._answered: tuple[int, int] | None = None
        self._since = time.monotonic()
        self._began = 0.0
        self._costs: list[float] = []
        self._has_resumed = False

    def requested(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._ask = _identity(os.environ.get(names.CHECKPOINT_ASK, ""))
        return self._ask is not None and self._ask != self._answered

    def due(self, every_s: float | None) -> bool:
        now = time.monotonic()
        wanted = self.requested() or now - self._since >= self.interval_s(every_s)
        if wanted and not self._began:
            self._began = now
        return wanted

    def interval_s(self, every_s: float | None) -> float:
        fixed = every_s or _number(names.CHECKPOINT_EVERY_S)
        if fixed:
            return fixed
        if not context().in_job:
            return math.inf
        if not self._costs:
            return FIRST_S
        middle = sorted(self._costs)[len(self._costs) // 2]
        return worth_s(middle, _number(names.FAILURES_PER_DAY) or FAILURES_PER_DAY)

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def saved(self, step: int, path: str) -> bool:
        with self._lock:
            now = time.monotonic()
            if self._began:
                self._costs = [*self._costs, now - self._began][-COSTS:]
            self._began, self._since = 0.0, now
            self._answered = self._ask
            return _tell(wire.Mark(step, path))

    def resume(self) -> Resume | None:
        step, path = os.environ.get(names.RESUME_STEP, ""), os.environ.get(names.RESUME_PATH, "")
        if not step.isdigit() or not os.path.exists(path):
            return None
        with self._lock:
            if not self._has_resumed:
                self._has_resumed = _tell(wire.Mark(int(step), resumed=True))
        whole = os.path.normpath(path)
        own = os.path.join(whole, _own_name())
        return Resume(int(step), own if os.path.exists(own) else whole, whole)


_keeper = _Keeper()


def requested() -> bool:
    """True from the moment a checkpoint is asked for until this rank has saved one."""
    return _keeper.requested()


def due(every_s: float | None = None) -> bool:
    """True if one is asked for, or the interval since the last one is over.

    The interval: every_s; else `checkpoint.every` of the job file; else what is worth its cost, by
    what the last ones took and how often attempts of this size fail (`worth_s`). Each rank has a
    clock of its own: with several of them, ask all of them (`all_agree`).
    """
    return _keeper.due(every_s)


def worth_s(cost_s: float, failures_per_day: float) -> float:
    """Interval that loses least, to saving and to failures: sqrt(2 · cost · time between failures).

    Source: Young 1974; Daly 2006 adds terms that matter only if saving takes a great part of the
    time between failures. Departure: never less than 30 s, never more than 6 h.
    """
    between_s = 86400.0 / max(1e-9, failures_per_day)
    return min(MOST_S, max(LEAST_S, math.sqrt(2.0 * max(0.0, cost_s) * between_s)))


def saved(step: int, path: str | None = None) -> bool:
    """Say that the progress at `step` is saved, completely. False if it could not be told.

    path: a file or directory below `directory()` that stays as it is from now on; None: this rank
    wrote nothing of its own. All ranks say so, for the same step. Raises ValueError for a path that
    is somewhere else or not there, or a step that is no whole number from 0.
    """
    if not context().in_job:
        return False
    return _keeper.saved(int(step), _inside(path) if path else "")


def resume() -> Resume | None:
    """Where to go on, and tells that this rank does; None: begin at the beginning."""
    return _keeper.resume()


def directory() -> str:
    """Below it checkpoints are saved; `checkpoints` below the current directory by hand."""
    path = os.environ.get(names.CHECKPOINT_DIR, "") or os.path.abspath("checkpoints")
    os.makedirs(path, exist_ok=True)
    return path


@contextmanager
def file(step: int, name: str = "") -> Iterator[str]:
    """A path to write one file to; then it is synced, gets its name, and `saved` is told.

    name: its name in the directory `step-N`, which all ranks share; `state`, or `rank-R` if there
    are several. Nothing is told if the block raises.
    """
    target = os.path.join(_step_folder(step), name or _own_name())
    os.makedirs(os.path.dirname(target), exist_ok=True)
    draft = f"{target}.draft-{os.getpid()}"
    _keeper.begin()
    try:
        yield draft
        _sync(draft)
        os.replace(draft, target)
    finally:
        _remove(draft)
    _sync(os.path.dirname(target))
    saved(step, _step_folder(step))


@contextmanager
def folder(step: int, name: str = "") -> Iterator[str]:
    """As `file`, for programs that write directories (Orbax and the like)."""
    target = os.path.join(_step_folder(step), name or _own_name())
    draft = f"{target}.draft-{os.getpid()}"
    os.makedirs(draft)
    _keeper.begin()
    try:
        yield draft
        for where, _folders, files in os.walk(draft):
            for one in files:
                _sync(os.path.join(where, one))
            _sync(where)
        _remove(target)
        os.rename(draft, target)
    finally:
        _remove(draft)
    _sync(os.path.dirname(target))
    saved(step, _step_folder(step))


def find(name: str = "") -> str:
    """Path of what `file` or `folder` wrote under that name, in the checkpoint to go on from.

    Raises FileNotFoundError.
    """
    found = resume()
    path = os.path.join(found.directory, name or _own_name()) if found else ""
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no `{name or _own_name()}` to go on from")
    return path


def all_agree(flag: bool, comm: Any = None) -> bool:
    """True on all ranks if it is true on any: so that all save at the same step.

    Uses torch.distributed or JAX if the program has set them up, or `comm`, an mpi4py communicator
    (or one of ChainerMN). A collective: every rank calls it, at the same place. Raises RuntimeError
    if there are several ranks and no way to ask them.
    """
    if comm is not None:
        return int(getattr(comm, "mpi_comm", comm).allreduce(int(bool(flag)))) > 0
    torch: Any = sys.modules.get("torch")
    if (
        torch is not None
        and torch.distributed.is_available()
        and torch.distributed.is_initialized()
    ):
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        count = torch.tensor([int(bool(flag))], device=device)
        torch.distributed.all_reduce(count)
        return bool(count.item() > 0)
    jax: Any = sys.modules.get("jax")
    if jax is not None and jax.process_count() > 1:
        from jax.experimental import multihost_utils  # type: ignore[import-not-found,unused-ignore]

        return bool(multihost_utils.process_allgather(bool(flag)).any())
    if context().world_size > 1:
        raise RuntimeError(
            "all_agree: several ranks, but no torch.distributed or JAX that is set up;"
            " give an mpi4py communicator"
        )
    return bool(flag)


def _step_folder(step: int) -> str:
    return os.path.join(directory(), f"step-{int(step)}")


def _own_name() -> str:
    here = context()
    return "state" if here.world_size == 1 else f"rank-{here.rank}"


def _inside(path: str) -> str:
    """Relative to the checkpoint directory. Raises ValueError."""
    root = directory()
    full = os.path.normpath(os.path.join(root, path))
    relative = os.path.relpath(full, root)
    if relative == "." or relative.startswith(".."):
        raise ValueError(f"checkpoint: {path} is not below {root}")
    if not os.path.exists(full):
        raise ValueError(f"checkpoint: {path} is not there")
    return relative


def _tell(mark: wire.Mark) -> bool:
    """One line for the supervisor. A full disk, or a pipe that nobody reads, must not end, or hold
    up, a training.
    """
    path = os.environ.get(names.CHECKPOINT_MARKER, "")
    if not path:
        return False
    path = os.path.join(os.path.dirname(path), str(context().rank))
    line = wire.encode(mark)
    try:
        fd = os.open(path, _APPEND, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "the marker is no plain file", path)
            return os.write(fd, line) == len(line)
        finally:
            os.close(fd)
    except OSError as error:
        sys.stderr.write(f"zenkei: a checkpoint cannot be told: {error}\n")
        return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _number(variable: str) -> float:
    try:
        return max(0.0, float(os.environ.get(variable, "")))
    except ValueError:
        return 0.0


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)
