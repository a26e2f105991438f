"""Stacks of all processes of the ranks, written to a file of the attempt; called by `hang`.

A dump is taken by a child process: it has a time limit, so no process that does not answer (a
stopped one, one in the kernel) holds up the supervisor. Three ways, the best first: py-spy, if the
environment or the machine has it and tracing is allowed; faulthandler, which the `sitecustomize`
that zenkei ships has registered in every Python of the job; what the kernel says (state, call,
where it waits), for everything. One dump is one line of JSON in `stacks/dumps`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any, Callable, Dict, NamedTuple

from zenkei.agent import diary, processes, tracebacks, vitals, waits
from zenkei.agent.attempt import Attempt
from zenkei.protocol import names

LIMIT_S = 12.0
SOFT_LIMIT_S = 9.0
MOST_BYTES = 4 << 20
MOST_PROCESSES = 64
MOST_THREADS = 24

Json = Dict[str, Any]


class Seen(NamedTuple):
    """Of one rank, from a dump: where the main thread of its Python is.

    collective: in a call that needs the other ranks. joins: it waits for threads of its own.
    """

    place: str
    collective: bool
    joins: bool
    gpu_busy: bool


class Dumper:
    """One dump at a time; a second request waits for the first. groups: pids by rank, now.

    pid: of the process that takes one, 0 if none does.
    """

    def __init__(self, attempt: Attempt, groups: Callable[[], dict[int, list[int]]]) -> None:
        self.count = 0
        self._attempt = attempt
        self._groups = groups
        self.pid = 0
        self._until = 0.0
        self._waiting = ""
        self._offset = 0

    @property
    def is_running(self) -> bool:
        return self.pid > 0

    def due_at(self) -> float:
        return self._until if self.pid else float("inf")

    def begin(self, why: str, now: float) -> None:
        """Start a dump. why: for people."""
        if self.pid:
            self._waiting = why
            return
        self.count += 1
        groups = self._groups()
        self._offset = _room()
        self._until = now + LIMIT_S
        self.pid = os.fork()
        if self.pid == 0:
            self._take(groups, why)

    def _take(self, groups: dict[int, list[int]], why: str) -> None:
        """In the child; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # else a supervisor that has died would seem to live as long as this does
            os.close(self._attempt.journal.fileno())
            _write(_dump(self._attempt, groups, self.count, why))
        except BaseException:  # noqa: BLE001 - a dump that fails is no dump, nothing else
            diary.note_exception()
        finally:
            os._exit(0)

    def work(self, now: float) -> None:
        """End what takes too long."""
        if self.pid and now >= self._until:
            processes.send(self.pid, signal.SIGKILL)
            self._until = now + LIMIT_S

    def reaped(self, pid: int) -> bool:
        """True if the process that took a dump has ended."""
        if pid != self.pid:
            return False
        self.pid = 0
        return True

    def next(self, now: float) -> None:
        """Begin what has been waiting."""
        if self._waiting and not self.pid:
            why, self._waiting = self._waiting, ""
            self.begin(why, now)

    def result(self) -> dict[int, Seen]:
        """By rank, of the dump that has just ended; nothing if it failed."""
        try:
            with open(_FILE, "rb") as file:
                file.seek(self._offset)
                lines = file.read(MOST_BYTES).splitlines()
            dump = json.loads(lines[-1])
        except (OSError, ValueError, IndexError):
            return {}
        return summary(dump)


_FILE = f"{names.STACKS_SUBDIR}/{names.STACKS_DUMPS}"


def _room() -> int:
    """Size of the file of dumps; the older half goes when it is full."""
    try:
        size = os.path.getsize(_FILE)
        if size > MOST_BYTES:
            with open(_FILE, "rb") as file:
                file.seek(size // 2)
                kept = file.read().partition(b"\n")[2]
            with open(_FILE, "wb") as file:
                file.write(kept)
            return len(kept)
    except OSError:
        return 0
    return size


def _write(dump: Json) -> None:
    os.makedirs(names.STACKS_SUBDIR, mode=0o700, exist_ok=True)
    data = json.dumps(dump, separators=(",", ":")).encode() + b"\n"
    with open(_FILE, "ab") as file:
        file.write(data)


# -- taking one, in the child ----------------------------------------------------------------------


def _dump(attempt: Attempt, groups: dict[int, list[int]], number: int, why: str) -> Json:
    until = time.monotonic() + SOFT_LIMIT_S
    found = []
    # what belongs to no rank comes last
    by_rank = sorted(groups.items(), key=lambda item: (item[0] < 0, item[0]))
    chosen = [(rank, pid) for rank, pids in by_rank for pid in pids]
    for rank, pid in chosen[:MOST_PROCESSES]:
        process = _process(rank, pid)
        if process is not None:
            found.append(process)
    tracebacks.add(found, attempt.document, names.STACKS_RAW, until)
    for process in found:
        _add_kernel(process)
        tracebacks.add_source(process, until)
    return {
        "number": number,
        "at_us": time.time_ns() // 1000,
        "why": why,
        "node": attempt.document.node_rank,
        "processes": found,
        "left_out": max(0, len(chosen) - MOST_PROCESSES),
        "gpu_percent": tracebacks.gpu_percent(attempt.document.env, until),
    }


def _process(rank: int, pid: int) -> Json | None:
    fields = processes.stat(pid)
    if not fields:
        return None
    state = fields[0].decode("ascii", "replace")
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(2000).rstrip(b"\0").split(b"\0")
        command = b" ".join(words).decode("utf-8", "replace")
    except OSError:
        command = ""
    return {
        "rank": rank,
        "pid": pid,
        "state": state,
        "command": command[:300],
        "how": "kernel",
        "threads": [],
        "waits": [],
    }


def _add_kernel(process: Json) -> None:
    """What the kernel says about each thread."""
    look = vitals.look(0.0, [process["pid"]], None)
    seen = look.processes.get(process["pid"])
    for thread in seen.threads[:MOST_THREADS] if seen else ():
        process["waits"].append(
            {"tid": thread.tid, "state": thread.state, "wait": thread.wait.text}
        )


# -- reading one -----------------------------------------------------------------------------------

_COLLECTIVE = re.compile(
    r"\b(all_?reduce\w*|all_?gather\w*|all_?to_?all\w*|reduce_scatter\w*|(monitored_)?barrier|"
    r"bcast\w*|init_process_group|sync_global_devices|[IR]?(Allreduce|Allgatherv?|Alltoall[vw]?|"
    r"Barrier|Bcast|Gatherv?|Scatterv?|Reduce|Recv|Send|Sendrecv|Wait|Waitall))\s*\("
)
_ALSO = r"(broadcast|reduce|gather|scatter|i?recv|i?send|sendrecv|wait|waitall)\w*"
"""Names that mean the other ranks only where they belong to something that does."""
_OF_OTHERS = re.compile(
    r"\b(\w*_)?(comm|communicator|COMM_WORLD|world|dist|hvd|works?|handles?|reqs?|requests?)"
    rf"(\[[^]]*\])?\.{_ALSO}\s*\("
)
_DISTRIBUTED = re.compile(
    r"/(torch/distributed(?!/elastic|/launch|/run)|horovod|mpi4py|chainermn|deepspeed/comm)\b"
)
_IN_DISTRIBUTED = re.compile(rf"_*({_ALSO}|\w*rendezvous\w*)$")
_JOINS = re.compile(r"/(threading|queue|concurrent/futures/\w+|multiprocessing/pool)\.py$")
_LIBRARY = re.compile(r"^<frozen|/(site|dist)-packages/|/lib/python\d|/python\d+\.zip/")


def summary(dump: Json) -> dict[int, Seen]:
    """Where each rank's Python is."""
    ranks: dict[int, list[Json]] = {}
    for process in dump.get("processes", ()):
        main = next((t for t in process["threads"] if t.get("main")), None)
        if main is not None and main["frames"]:
            ranks.setdefault(process["rank"], []).append({**process, "frames": main["frames"]})
    busy = any(value > 0 for value in dump.get("gpu_percent") or [])
    return {rank: _seen(pythons, busy=busy) for rank, pythons in ranks.items()}


def _seen(pythons: list[Json], *, busy: bool) -> Seen:
    """The first that does not wait for a child is the program, and what it starts are its workers:

    they are shown if they compute, or need other ranks.
    """
    own = next((p for p in pythons if not _waits_for_child(p)), pythons[0])
    inside = next((p for p in pythons if is_collective(p["frames"])), None)
    running = next((p for p in (own, *pythons) if p["state"] == "R"), own)
    place = place_of((inside or running)["frames"])
    joins = bool(_JOINS.search(own["frames"][0]["file"]))
    return Seen(place, inside is not None, joins, busy)


def _waits_for_child(process: Json) -> bool:
    main = next((one for one in process["waits"] if one["tid"] == process["pid"]), None)
    return main is not None and main["wait"] == waits.WORDS[waits.CHILD]


def place_of(frames: list[Json]) -> str:
    """The innermost line of the program's own."""
    own = next((f for f in frames if not _LIBRARY.search(f["file"])), frames[0])
    return f"{os.path.basename(own['file'])}:{own['line']} in {own['function']}"


def is_collective(frames: list[Json]) -> bool:
    """True if one of the innermost frames is in a call that needs the other ranks."""
    return any(
        _COLLECTIVE.search(f"{frame['function']}(")
        or _COLLECTIVE.search(frame.get("text", ""))
        or _OF_OTHERS.search(frame.get("text", ""))
        or (_DISTRIBUTED.search(frame["file"]) and _IN_DISTRIBUTED.match(frame["function"]))
        for frame in frames[:8]
    )
