"""The job's seed, given to the random generators that are present.

What it cannot control (threads of numerical libraries, some GPU kernels) is said in the record.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys

from zenkei.sdk.context import context


def seed_everything(seed: int | None = None, *, per_rank: bool = False) -> int:
    """Seed Python, NumPy, PyTorch (CPU and CUDA) where the program has imported or can import them.

    per_rank: add the rank, for data augmentation that must differ. With `deterministic: true` in
    the job file, PyTorch is told to use deterministic algorithms. Returns the seed that was used.
    JAX has no global state: use the returned number with `jax.random.PRNGKey`.
    """
    here = context()
    chosen = (here.seed if seed is None else seed) + (here.rank if per_rank else 0)
    random.seed(chosen)
    for module in _present(("numpy", "torch")):
        loaded = importlib.import_module(module)
        if module == "numpy":
            loaded.random.seed(chosen % 2**32)
        else:
            loaded.manual_seed(chosen)
            if here.deterministic:
                loaded.use_deterministic_algorithms(True, warn_only=True)
    return chosen


def _present(modules: tuple[str, ...]) -> list[str]:
    """Imported already, or importable; a program without NumPy does not pay for it."""
    return [m for m in modules if m in sys.modules or importlib.util.find_spec(m) is not None]
