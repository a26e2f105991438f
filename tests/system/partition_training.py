"""The PyTorch example as ranks that write on when their host is cut off. Run in a job by its test.

    torchrun … partition_training.py FOLDER --steps N

Steps take their time until FOLDER/go is there. A thread of each rank looks for FOLDER/cut, which
names the attempt that is in trouble: its ranks then save a checkpoint of a step that they cannot
have reached, a result and a line in FOLDER/stale-NODE-RANK, over and over, for as long as they
live. (Programs do so whose saving has a thread of its own, while the training waits for the lost.)
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import zenkei.sdk as zk
from zenkei.sdk import checkpoint

FAR = 1_000_000
PAUSE_S = 0.2


def report(step: int, loss: float) -> None:
    zk.report(step=step, loss=loss)
    if not (FOLDER / "go").exists():
        time.sleep(PAUSE_S)


def write_on() -> None:
    here = zk.context()
    cut = FOLDER / "cut"
    while not cut.exists() or cut.read_text() != here.attempt:
        time.sleep(0.05)
    step = FAR
    while True:
        step += 1
        with checkpoint.file(step) as path:
            Path(path).write_text("of a host that was cut off")
        Path(zk.output_dir(), "summary.json").write_text(json.dumps({"stale": step}))
        with (FOLDER / f"stale-{here.node}-{here.rank}").open("a") as file:
            file.write(f"{step}\n")
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    import train  # type: ignore[import-not-found]

    FOLDER = Path(sys.argv.pop(1))
    train.report = report
    threading.Thread(target=write_on, daemon=True).start()
    train.main()
