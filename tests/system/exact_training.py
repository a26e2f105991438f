"""A data-parallel training whose model is an exact number: a step lost, doubled or moved shows.

Run as a program by the ranks of a job: `exact_training.py LEDGER STEPS PAUSE_S EVERY_S`. Gradients
are summed over all ranks by sockets; the model is a vector of integers, and each step depends on
all before it and on what every rank gave. `expected` says what must come out.

Each rank keeps a file of its own in LEDGER, outside of the attempt: when it began, from which step,
each step, each save, the end; with the machine's monotonic clock. It looks there for ranks of other
attempts of its job that still live, and says so.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

import zenkei.sdk as zk
from zenkei.sdk import checkpoint

SIZE = 4
MODULUS = (1 << 61) - 1
FACTOR = 6364136223846793005
PATIENCE_S = 2.0
"""For an answer of the other ranks, as NCCL has it; theirs may take so much longer to start."""
START_S = 8.0
LINGER_S = 3.0
"""A rank that has lost the others does not end by itself at once, as one in a GPU kernel."""
BROKEN = 75
Vector = tuple[int, ...]


def gradient(model: Vector, step: int, rank: int) -> Vector:
    """What one rank gives for a step."""
    return tuple(
        pow(weight + 1000003 * step + 8191 * (rank + 1) + place, 2, MODULUS)
        for place, weight in enumerate(model)
    )


def updated(model: Vector, total: Vector) -> Vector:
    return tuple((w * FACTOR + g) % MODULUS for w, g in zip(model, total, strict=True))


def added(one: Vector, other: Vector) -> Vector:
    return tuple((a + b) % MODULUS for a, b in zip(one, other, strict=True))


def expected(steps: int, ranks: int) -> Vector:
    """The model after all steps, each of them once and in order."""
    model: Vector = (0,) * SIZE
    for step in range(steps):
        total: Vector = (0,) * SIZE
        for rank in range(ranks):
            total = added(total, gradient(model, step, rank))
        model = updated(model, total)
    return model


class Ring:
    """All-reduce of a vector and a flag, by rank 0."""

    _MESSAGE = struct.Struct(f"!{SIZE + 1}Q")

    def __init__(self, rank: int, world: int) -> None:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._peers: list[socket.socket] = []
        if rank == 0:
            with socket.create_server(address) as server:
                server.settimeout(START_S)
                while len(self._peers) < world - 1:
                    self._peers.append(server.accept()[0])
        else:
            until = time.monotonic() + START_S
            while not self._peers:
                try:
                    self._peers.append(socket.create_connection(address, PATIENCE_S))
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)
        self._is_first = rank == 0
        for peer in self._peers:
            peer.settimeout(PATIENCE_S)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def all_reduce(self, own: Vector, flag: bool) -> tuple[Vector, bool]:
        if not self._is_first:
            self._peers[0].sendall(self._MESSAGE.pack(*own, flag))
            *total, flags = self._receive(self._peers[0])
            return tuple(total), flags > 0
        flags = int(flag)
        for peer in self._peers:
            *theirs, given = self._receive(peer)
            own, flags = added(own, tuple(theirs)), flags + given
        for peer in self._peers:
            peer.sendall(self._MESSAGE.pack(*own, flags))
        return own, flags > 0

    def _receive(self, peer: socket.socket) -> tuple[int, ...]:
        data = b""
        while len(data) < self._MESSAGE.size:
            piece = peer.recv(self._MESSAGE.size - len(data))
            if not piece:
                raise ConnectionError("a rank has gone")
            data += piece
        return self._MESSAGE.unpack(data)


class Ledger:
    """The file of one rank of one attempt; see the module's docstring."""

    def __init__(self, folder: Path, step: int) -> None:
        here = zk.context()
        job, _, attempt = here.attempt.partition("/")
        name = f"{job}_{attempt}_{here.rank}"
        try:
            self._fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        except FileExistsError:
            (folder / f"twice_{name}_{os.getpid()}").touch()
            raise
        self.say("begin", step, os.getpid(), start_ticks(os.getpid()))
        for other in folder.glob(f"{job}_*_*"):
            if other.name.split("_")[1] != attempt and _lives(other):
                self.say("overlaps", step, other.name)

    def linger(self) -> None:
        until = time.monotonic() + LINGER_S
        while time.monotonic() < until:
            self.say("lingers", 0)
            time.sleep(0.02)

    def say(self, what: str, step: int, *more: object) -> None:
        words = (what, step, time.monotonic(), *more)
        os.write(self._fd, (" ".join(map(str, words)) + "\n").encode())


def start_ticks(pid: int) -> int:
    """When a process began; 0 if it is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _lives(ledger: Path) -> bool:
    words = ledger.read_text().partition("\n")[0].split()
    return len(words) == 5 and 0 < int(words[4]) == start_ticks(int(words[3]))


def load() -> tuple[int, Vector]:
    """Step and model to go on from."""
    found = checkpoint.resume()
    if found is None:
        return 0, (0,) * SIZE
    state = json.loads(Path(checkpoint.find()).read_text())
    assert state["step"] == found.step, (state, found)
    return found.step, tuple(state["model"])


def save(step: int, model: Vector, ledger: Ledger) -> None:
    with checkpoint.file(step) as path:
        Path(path).write_text(json.dumps({"step": step, "model": model}))
    ledger.say("saved", step)


def train(folder: Path, steps: int, pause_s: float, every_s: float) -> None:
    here = zk.context()
    step, model = load()
    ledger = Ledger(folder, step)
    Path(f"/dev/shm/exact-{here.attempt.replace('/', '-')}-{here.rank}").touch()
    try:
        run(ledger, model, step, steps, pause_s, every_s)
    except (ConnectionError, TimeoutError) as error:
        with suppress(OSError):
            print(f"the other ranks do not answer: {error!r}", file=sys.stderr, flush=True)
        ledger.linger()
        raise SystemExit(BROKEN) from None


def run(
    ledger: Ledger, model: Vector, step: int, steps: int, pause_s: float, every_s: float
) -> None:
    here = zk.context()
    ring = Ring(here.rank, here.world_size)
    while step < steps:
        own = gradient(model, step, here.rank)
        total, is_due = ring.all_reduce(own, checkpoint.due(every_s))
        model, step = updated(model, total), step + 1
        ledger.say("step", step)
        if here.rank == 0:
            zk.report(step=step, weight=model[0])
        time.sleep(pause_s)
        if is_due:
            save(step, model, ledger)
    if here.rank == 0:
        (Path(zk.output_dir()) / "model.json").write_text(json.dumps(model))
    ledger.say("end", step)


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
