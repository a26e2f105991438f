"""The variables of one rank: those of the launch document, its place in the gang, its secrets."""

from __future__ import annotations

import os

from zenkei.agent import mpi
from zenkei.protocol import launch, names


def secret_folder(document: launch.Launch) -> str:
    """Where secrets that are files lie while the attempt lives: in memory, not on a disk."""
    return names.SECRETS_PREFIX + document.tree


def variables(
    document: launch.Launch, rank: int, local: int, secrets: dict[str, bytes]
) -> dict[str, str]:
    """Complete environment of a rank."""
    world = document.nodes * document.ranks
    found = dict(document.env)
    found.update(
        {
            names.RANK: str(rank),
            names.LOCAL_RANK: str(local),
            names.WORLD_SIZE: str(world),
            names.LOCAL_WORLD_SIZE: str(document.ranks),
            names.OUTPUT_DIR: os.path.abspath(names.OUTPUTS_DIR),
            names.METRICS_DIR: os.path.abspath(names.METRICS_SUBDIR),
            names.TMPDIR: os.path.abspath(names.TMP_DIR),
            "TMPDIR": os.path.abspath(names.TMP_DIR),
            names.TREE: document.tree,
        }
    )
    found.update(_of_checkpoint(document, rank))
    if document.launcher == "mpi":
        found.update(mpi.variables(document, os.getcwd()))
    elif world > 1:
        # what torch.distributed and others read by themselves
        found.update({"RANK": str(rank), "LOCAL_RANK": str(local), "WORLD_SIZE": str(world)})
    for slot in document.secrets:
        if slot.as_file:
            found[slot.variable] = os.path.join(secret_folder(document), slot.variable)
        else:
            found[slot.variable] = os.fsdecode(secrets[slot.variable])
    return found


def _of_checkpoint(document: launch.Launch, rank: int) -> dict[str, str]:
    """Where checkpoints are saved, told and asked for, and the one to go on from."""
    policy = document.checkpoint
    if policy is None:
        return {}
    found = {
        names.CHECKPOINT_DIR: os.path.abspath(names.CHECKPOINTS_DIR),
        names.CHECKPOINT_MARKER: os.path.abspath(f"{names.MARKERS_DIR}/{rank}"),
        names.CHECKPOINT_ASK: os.path.abspath(names.ASK_FILE),
        names.FAILURES_PER_DAY: f"{policy.failures_per_day:g}",
    }
    if policy.every_s:
        found[names.CHECKPOINT_EVERY_S] = f"{policy.every_s:g}"
    if policy.resume_step >= 0:
        found[names.RESUME_DIR] = policy.resume_dir
        found[names.RESUME_STEP] = str(policy.resume_step)
        found[names.RESUME_PATH] = os.path.join(policy.resume_dir, policy.resume_path)
    return found
