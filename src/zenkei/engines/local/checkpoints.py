"""Checkpoints on this machine: where the ranks left them, how one is laid out to go on from.

Called by `engine`. A path in a marker is a stranger's word: it must lead to something below the
attempt's own checkpoint directory, through no link; nothing else is read or removed. What a program
changes after it has said that a step is saved is no checkpoint of that step any more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from zenkei.engines.local.layout import Layout
from zenkei.model.data import CheckpointPart
from zenkei.model.errors import CheckpointDamaged, PermanentEngineError, ZenkeiError
from zenkei.model.ids import AttemptId
from zenkei.ports.engine import ResumePoint
from zenkei.ports.trees import Trees
from zenkei.protocol import names


def place(layout: Layout, attempt: AttemptId, part: CheckpointPart) -> Path:
    """Raises PermanentEngineError if nothing is there, or the path leads elsewhere."""
    node = layout.node(attempt, part.node_rank)
    path = node / names.CHECKPOINTS_DIR / part.path
    if not os.path.lexists(path):
        raise PermanentEngineError(f"`{part.path}` is not there (any more)")
    if os.path.realpath(path) != f"{os.path.realpath(node)}/{names.CHECKPOINTS_DIR}/{part.path}":
        raise PermanentEngineError(f"`{part.path}` leads out of the checkpoint directory")
    return path


def unchanged(
    layout: Layout, attempt: AttemptId, step: int, part: CheckpointPart, told_us: int
) -> Path:
    """Its place, if nothing in it was written, added or removed after the step was said to be

    saved: what a program removes while it is read would be half a checkpoint. told_us: when that
    was; 0 if it is not known.
    """
    path = place(layout, attempt, part)
    if _is_later(told_us, (str(path), *_below(path, folders=True))):
        raise PermanentEngineError(
            f"`{part.path}` was changed after step {step} was said to be saved there;"
            " a checkpoint needs a path of its own"
        )
    return path


def remove(layout: Layout, attempt: AttemptId, part: CheckpointPart, told_us: int) -> None:
    """What is not there, not ours, or in use again, is left alone. Goes on where it was cut off."""
    try:
        path = place(layout, attempt, part)
    except PermanentEngineError:
        return
    if path.is_dir():
        if not _is_later(told_us, _below(path, folders=False)):
            shutil.rmtree(path, ignore_errors=True)
    elif not _is_later(told_us, (str(path),)):
        path.unlink(missing_ok=True)


def lay_out(layout: Layout, trees: Trees, attempt: AttemptId, resume: ResumePoint) -> Path:
    """The files of a kept checkpoint for all ranks of this machine; safe to repeat.

    Raises CheckpointDamaged if what is stored is not what was kept; Unavailable (disk full).
    """
    target = layout.resume(attempt)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        trees.checkout(resume.manifest, target)
    except ZenkeiError as error:
        if error.status == 503:
            raise
        raise CheckpointDamaged(
            f"the checkpoint of step {resume.step} by attempt {resume.attempt} is damaged:"
            f" {error.message}"
        ) from error
    return target


def forget_resume(layout: Layout, attempt: AttemptId) -> None:
    """The attempt is over: its own copy of what it went on from is not needed any more."""
    target = layout.resume(attempt)
    shutil.rmtree(target, ignore_errors=True)
    (target.parent / f".{target.name}.made").unlink(missing_ok=True)


def _is_later(told_us: int, paths: Iterable[str]) -> bool:
    """Whether something was changed after the step was said to be saved (if that is known)."""
    return told_us > 0 and any(_changed_us(path) > told_us for path in paths)


def _changed_us(path: str) -> int:
    """Of what is gone, the directory tells."""
    try:
        return os.lstat(path).st_mtime_ns // 1000
    except FileNotFoundError:
        return 0


def _below(path: Path, *, folders: bool) -> Iterator[str]:
    for where, inner, files in os.walk(path):
        for name in (*inner, *files) if folders else files:
            yield os.path.join(where, name)
