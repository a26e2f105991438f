"""Checkpoints of PyTorch programs: `from zenkei.sdk import checkpoint_torch`.

    step = checkpoint_torch.load(model=model, optimizer=optimizer)       0 at the beginning
    if checkpoint.all_agree(checkpoint.due()):
        checkpoint_torch.save(step, model=model, optimizer=optimizer)

Whatever has `state_dict` and `load_state_dict` may be named: model, optimizer, scheduler, gradient
scaler, `Position`. Random generators (Python, NumPy, CPU, CUDA) are saved for every rank. What the
ranks share is written by rank 0; with `sharded` each rank writes its own (FSDP, pipeline stages).
Files are read with `weights_only`: nothing in them is executed.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any, Iterator

from zenkei.sdk import checkpoint
from zenkei.sdk.context import context

SHARED = "shared.pt"


def save(step: int, *, sharded: bool = False, **parts: Any) -> None:
    """Of all ranks together, at the same step."""
    torch = _torch()
    here = context()
    states = {name: _state_of(part) for name, part in parts.items()}
    folder = os.path.join(checkpoint.directory(), f"step-{int(step)}")
    if not sharded and here.rank == 0:
        os.makedirs(folder, exist_ok=True)
        draft = os.path.join(folder, f".{SHARED}.draft")
        torch.save(states, draft)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, os.path.join(folder, SHARED))
    own = {"random": _random_states(torch), "states": states if sharded else {}}
    with checkpoint.file(step, f"rank-{here.rank}.pt") as path:
        torch.save(own, path)


def load(*, map_location: Any = "cpu", **parts: Any) -> int:
    """Put everything back as it was; the step, or 0 if there is nothing to go on from."""
    found = checkpoint.resume()
    if found is None:
        return 0
    torch = _torch()
    path = os.path.join(found.directory, f"rank-{context().rank}.pt")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"the checkpoint of step {found.step} has nothing of rank {context().rank}: each rank"
            " writes a file of its own, so all must say that they saved, which is not so with"
            " `checkpoint.ranks: first` or another number of ranks"
        )
    own = _read(torch, path, "cpu")
    shared = os.path.join(found.directory, SHARED)
    states = _read(torch, shared, map_location) if os.path.exists(shared) else own["states"]
    missing = sorted(set(parts) - set(states))
    if missing:
        raise KeyError(f"the checkpoint of step {found.step} has no {', '.join(missing)}")
    for name, part in parts.items():
        part.load_state_dict(states[name])
    _restore_random(torch, own["random"])
    return found.step


class Position:
    """A sampler that knows how far the program is: give it to the DataLoader, `advance` per batch.

    What workers have fetched ahead does not count. The order of an epoch depends on seed and epoch
    alone; each rank takes every world_size-th sample.
    """

    def __init__(self, samples: int, *, seed: int | None = None, shuffle: bool = True) -> None:
        here = context()
        self._samples = samples
        self._seed = here.seed if seed is None else seed
        self._shuffle = shuffle
        self._rank, self._world = here.rank, here.world_size
        self.epoch, self.consumed = 0, 0

    def __len__(self) -> int:
        return max(0, self._samples // self._world - self.consumed)

    def __iter__(self) -> Iterator[int]:
        order: list[int] = list(range(self._samples))
        if self._shuffle:
            random.Random(f"{self._seed}:{self.epoch}").shuffle(order)  # noqa: S311
        own = order[self._rank : self._samples - self._samples % self._world : self._world]
        return iter(own[self.consumed :])

    def advance(self, samples: int) -> None:
        """So many samples of this rank have been used."""
        self.consumed += samples

    def next_epoch(self) -> None:
        self.epoch, self.consumed = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "consumed": self.consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.consumed = state["epoch"], state["consumed"]


def _torch() -> Any:
    import torch  # type: ignore[import-not-found,unused-ignore]

    return torch


def _state_of(part: Any) -> Any:
    state = part.state_dict()
    return dict(state) if isinstance(state, dict) else state


def _random_states(torch: Any) -> dict[str, Any]:
    """Plain values and tensors only, so that they can be read without executing anything."""
    version, numbers, gauss = random.getstate()
    found: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        found["numpy"] = [str(name), [int(key) for key in keys], *rest]
    return found


def _restore_random(torch: Any, states: dict[str, Any]) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(states["cpu"])
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found and len(states["cuda"]) == found:
        torch.cuda.set_rng_state_all(states["cuda"])
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and "numpy" in states:
        name, keys, *rest = states["numpy"]
        numpy.random.set_state((name, numpy.array(keys, dtype=numpy.uint32), *rest))


def _read(torch: Any, path: str, map_location: Any) -> Any:
    return torch.load(path, map_location=map_location, weights_only=True)
