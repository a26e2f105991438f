"""A training with mpi4py whose every sample is noted outside of it. Run in a job by its test.

    python -m mpi4py mpi_training.py FOLDER STEPS

Each step every rank takes the next sample of its own (`Position`), all add up what they took, and
each appends a line to FOLDER/ATTEMPT-RANK: step and sample. All save when one of them is to.
Steps take their time until FOLDER/go is there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import zenkei.sdk as zk
from zenkei.sdk import checkpoint
from zenkei.sdk.checkpoint_torch import Position

SAMPLES = 120
SEED = 7
PAUSE_S = 0.1


def train(folder: Path, steps: int) -> None:
    from mpi4py import MPI  # type: ignore[import-not-found,unused-ignore]

    world, here = MPI.COMM_WORLD, zk.context()
    assert (world.rank, world.size) == (here.rank, here.world_size)
    position, step, total = Position(SAMPLES, seed=SEED), 0, 0
    found = checkpoint.resume()
    if found is not None:
        state = json.loads(Path(checkpoint.find()).read_text())
        step, total = state["step"], state["total"]
        position.load_state_dict(state["position"])
        assert step == found.step, (state, found)
    with open(folder / f"{here.attempt.partition('/')[2]}-{here.rank}", "a", buffering=1) as notes:
        while step < steps:
            if len(position) == 0:
                position.next_epoch()
            sample = next(iter(position))
            position.advance(1)
            step += 1
            total += world.allreduce(sample * step)
            notes.write(f"{step} {sample}\n")
            if here.rank == 0:
                zk.report(step=step, total=total)
            if not (folder / "go").exists():
                time.sleep(PAUSE_S)
            if checkpoint.all_agree(checkpoint.due(), world):
                with checkpoint.file(step) as path:
                    state = {"step": step, "total": total, "position": position.state_dict()}
                    Path(path).write_text(json.dumps(state))
    if here.rank == 0:
        Path(zk.output_dir(), "total").write_text(str(total))


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
