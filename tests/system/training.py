"""A small training over sockets for the tests of checkpoints: ranks that must move together.

Every rank has a part of the data; gradients are summed over all ranks, in the order of ranks, so
that the loss of a step is the same number on every run. Rank 0 prints `loss STEP VALUE`. All ranks
save when one of them was asked, or every `every` steps. No package is needed but zenkei's SDK.
"""

from __future__ import annotations

import re
from pathlib import Path

PROGRAM = '''
import json, os, socket, struct, sys, time
import zenkei.sdk as zk
from zenkei.sdk import checkpoint

STEPS, EVERY, PAUSE_S = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
here = zk.context()


class Ring:
    """Sums one number over all ranks, at rank 0, in the order of ranks."""

    def __init__(self):
        address = (os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0")))
        self.peers, self.head = {}, None
        if here.world_size == 1:
            return
        if here.rank == 0:
            server = socket.create_server(address)
            while len(self.peers) < here.world_size - 1:
                peer, _ = server.accept()
                self.peers[struct.unpack("!i", peer.recv(4, socket.MSG_WAITALL))[0]] = peer
            return
        while self.head is None:
            try:
                self.head = socket.create_connection(address)
            except OSError:
                time.sleep(0.02)
        self.head.sendall(struct.pack("!i", here.rank))

    def allreduce(self, value):
        if self.head is not None:
            self.head.sendall(struct.pack("!d", value))
            return struct.unpack("!d", self.head.recv(8, socket.MSG_WAITALL))[0]
        for rank in sorted(self.peers):
            value += struct.unpack("!d", self.peers[rank].recv(8, socket.MSG_WAITALL))[0]
        for peer in self.peers.values():
            peer.sendall(struct.pack("!d", value))
        return value


def save(step, weight):
    with checkpoint.file(step) as path:
        with open(path, "w") as file:
            json.dump({"step": step, "weight": weight}, file)


print("begin", here.rank, here.attempt, os.getpid(), flush=True)
step, weight = 0, 1.0
found = checkpoint.resume()
if found is not None:
    with open(checkpoint.find()) as file:
        state = json.load(file)
    step, weight = state["step"], state["weight"]
    assert step == found.step, (step, found)
ring = Ring()
while step < STEPS:
    step += 1
    gradient = ring.allreduce(2 * (weight - 0.3 * (here.rank + 1)) / (step + 5))
    weight -= 0.05 * gradient
    loss = ring.allreduce((weight - 0.3 * (here.rank + 1)) ** 2)
    if here.rank == 0:
        zk.report(step=step, loss=loss)
        print("loss", step, loss.hex(), flush=True)
    if PAUSE_S:
        time.sleep(PAUSE_S)
    if ring.allreduce(int(checkpoint.requested() or step % EVERY == 0)):
        save(step, weight)
if here.rank == 0:
    with open(os.path.join(zk.output_dir(), "weight"), "w") as file:
        file.write(weight.hex())
print("done", here.rank, flush=True)
'''


def write(folder: Path) -> Path:
    """The program's file."""
    path = folder / "training.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def losses(log: bytes) -> list[tuple[int, str]]:
    """(step, loss) in the order in which they were printed."""
    return [(int(s), v) for s, v in re.findall(r"loss (\d+) (\S+)", log.decode())]


def pids(log: bytes) -> list[int]:
    """Processes of the ranks."""
    return [int(pid) for pid in re.findall(r"begin \d+ \S+ (\d+)", log.decode())]
