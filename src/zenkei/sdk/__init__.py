"""Inside a job's program: `import zenkei.sdk as zk`.

    zk.context().rank            which rank this is, of how many, with what seed
    zk.report(step=10, loss=0.3) a point of a metric, seen live and kept
    zk.progress(0.4)             how far the program thinks it is
    zk.output_dir()              files written here are the job's result
    zk.seed_everything()         Python, NumPy, PyTorch, JAX where they are present
    zk.checkpoint.due()          time to save progress, with which the job can go on elsewhere
    from zenkei.sdk import data  the datasets that the job file names, their splits and samplers

Outside a job all of it does nothing harmless: the same program runs by hand. Standard library only,
Python 3.8 and later; zenkei need not be installed in the job's environment.
"""

from __future__ import annotations

from zenkei.sdk import checkpoint
from zenkei.sdk.context import Context, context, output_dir
from zenkei.sdk.metrics import progress, report
from zenkei.sdk.seeds import seed_everything

__all__ = [
    "Context",
    "checkpoint",
    "context",
    "output_dir",
    "progress",
    "report",
    "seed_everything",
]
