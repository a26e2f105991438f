"""Checkpoints as the ranks of this machine left them: where they lie, and how they are removed.

Called by `engine`. A path in a marker is a stranger's word: it must lead to something below the
attempt's own checkpoint directory, through no link.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from zenkei.engines.local.layout import Layout
from zenkei.model.data import CheckpointPart
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.protocol import names


def place(layout: Layout, attempt: AttemptId, part: CheckpointPart) -> Path:
    """Raises PermanentEngineError if nothing is there, or the path leads elsewhere."""
    root = layout.node(attempt, part.node_rank) / names.CHECKPOINTS_DIR
    path = root / part.path
    if not path.exists():
        raise PermanentEngineError(f"`{part.path}` is not there (any more)")
    if os.path.realpath(path) != os.path.join(os.path.realpath(root), part.path):
        raise PermanentEngineError(f"`{part.path}` leads out of the checkpoint directory")
    return path


def remove(layout: Layout, attempt: AttemptId, part: CheckpointPart) -> None:
    """What is not there, or not ours, is left alone."""
    try:
        path = place(layout, attempt, part)
    except PermanentEngineError:
        return
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
