"""Checkpoints of Chainer and ChainerMN programs: `from zenkei.sdk import checkpoint_chainer`.

    step = checkpoint_chainer.load(model=model, optimizer=optimizer)     0 at the beginning
    if checkpoint.all_agree(checkpoint.due(), comm):
        checkpoint_chainer.save(step, model=model, optimizer=optimizer)

Or as an extension of a trainer, after which a trainer may be loaded whole:

    trainer.extend(checkpoint_chainer.extension(comm), trigger=(1, "iteration"))

Each rank writes what it is given: iterators differ from rank to rank, models are small.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from zenkei.sdk import checkpoint
from zenkei.sdk.context import context

LAST = -100
"""Chainer's own snapshots have the same priority."""


def save(step: int, **parts: Any) -> None:
    """Of all ranks together, at the same step. parts: links, optimizers, iterators, trainers."""
    chainer = _chainer()
    with checkpoint.folder(step, f"rank-{context().rank}") as path:
        for name, part in parts.items():
            chainer.serializers.save_npz(os.path.join(path, f"{name}.npz"), part)


def load(**parts: Any) -> int:
    """Put everything back as it was; the step, or 0 if there is nothing to go on from."""
    found = checkpoint.resume()
    if found is None:
        return 0
    chainer = _chainer()
    folder = os.path.join(found.directory, f"rank-{context().rank}")
    for name, part in parts.items():
        chainer.serializers.load_npz(os.path.join(folder, f"{name}.npz"), part)
    return found.step


def extension(comm: Any = None) -> Callable[[Any], None]:
    """Saves the trainer when it is due, at the same iteration on all ranks of `comm`.

    Never after the first one: with `comm` it only gives all ranks the same weights, the optimizer
    has no state yet, and Chainer refuses to load what was saved without one.
    """

    def save_trainer(trainer: Any) -> None:
        if trainer.updater.iteration <= 1:
            return
        if checkpoint.all_agree(checkpoint.due(), comm):
            save(trainer.updater.iteration, trainer=trainer)

    # after all others: what has not run yet would run again after a resumption, without the rest
    save_trainer.priority = LAST  # type: ignore[attr-defined]
    return save_trainer


def _chainer() -> Any:
    import chainer  # type: ignore[import-not-found,unused-ignore]

    return chainer
