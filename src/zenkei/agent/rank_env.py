"""The variables of one rank: those of the launch document, its place in the gang, its secrets.

Called by supervisors, and by `rank_wrapper` once the rank's number is known. What a job has set
itself (it stands in the document) is never overruled, but for a rank's place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, MutableMapping

from zenkei.protocol import launch, names

if TYPE_CHECKING:
    from zenkei.agent.attempt import Attempt

FOREIGN = ("mpi", "torchrun")
"""Launchers that start the ranks themselves: what zenkei starts is no rank yet."""
_LOOPBACK = "lo"
_OPEN_MPI = "OMPI_COMM_WORLD_RANK"


def secret_folder(document: launch.Launch) -> str:
    """Where secrets that are files lie while the attempt lives: in memory, not on a disk."""
    return names.SECRETS_PREFIX + document.tree


def variables(attempt: Attempt, rank: int, local: int) -> dict[str, str]:
    """Complete environment of a rank, or of what starts ranks."""
    document = attempt.document
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
            names.STARTS_DIR: os.path.abspath(names.STARTS_SUBDIR),
            names.TMPDIR: os.path.abspath(names.TMP_DIR),
            "TMPDIR": os.path.abspath(names.TMP_DIR),
            names.TREE: document.tree,
            names.STACKS: f"{names.STACKS_SIGNAL}:{os.path.abspath(names.STACKS_RAW)}",
        }
    )
    if document.data is not None:
        found[names.DATASETS] = os.path.abspath(names.DATASETS_FILE)
    found.update(_of_checkpoint(document, rank))
    if attempt.interface:
        found[names.INTERFACE] = attempt.interface
        for name, value in _of_interface(attempt.interface, rdma=document.rdma).items():
            found.setdefault(name, value)
    if document.launcher in FOREIGN:
        found[names.ATTEMPT_DIR] = os.path.dirname(os.getcwd())
        if document.virtual:
            found.setdefault("PMIX_MCA_gds", "hash")
    elif world > 1:
        place(found, rank, local)
    if document.launcher == "jax":
        found.update(_of_jax(document, rank, local))
    for slot in document.secrets:
        if slot.as_file:
            found[slot.variable] = os.path.join(secret_folder(document), slot.variable)
        else:
            found[slot.variable] = os.fsdecode(attempt.secrets[slot.variable])
    return found


def place(env: MutableMapping[str, str], rank: int, local: int | None) -> None:
    """The rank's place in zenkei's words and in those that torch.distributed and others read."""
    env[names.RANK] = str(rank)
    if names.CHECKPOINT_MARKER in env:
        markers = os.path.dirname(env[names.CHECKPOINT_MARKER])
        env[names.CHECKPOINT_MARKER] = os.path.join(markers, str(rank))
    if local is None:
        local = rank % int(env[names.LOCAL_WORLD_SIZE])
    env[names.LOCAL_RANK] = str(local)
    for theirs, ours in (
        ("RANK", names.RANK),
        ("WORLD_SIZE", names.WORLD_SIZE),
        ("LOCAL_RANK", names.LOCAL_RANK),
        ("LOCAL_WORLD_SIZE", names.LOCAL_WORLD_SIZE),
        ("GROUP_RANK", names.NODE_RANK),
        ("NODE_RANK", names.NODE_RANK),
    ):
        env[theirs] = env[ours]
    if names.INTERFACE in env and _OPEN_MPI in env:
        # not earlier: mpiexec would give that of its own node on to the others
        env.setdefault("OMPI_MCA_btl_tcp_if_include", env[names.INTERFACE])


def host_name(document: launch.Launch) -> str:
    """A host name that the ranks see instead of the machine's; empty: they see that.

    JAX's collectives on CPUs listen where the host's own name leads, and that is the loopback on
    many machines: a name that is the address needs no resolver.
    """
    on_cpus = document.launcher == "jax" and document.env.get(names.GPUS, "0") == "0"
    return document.addresses[document.node_rank] if on_cpus and document.nodes > 1 else ""


def _of_interface(interface: str, *, rdma: bool) -> dict[str, str]:
    """What libraries take for the interface of the job's traffic. `=`: exactly this name."""
    found = {
        "NCCL_SOCKET_IFNAME": f"={interface}",
        "GLOO_SOCKET_IFNAME": interface,
        "TP_SOCKET_IFNAME": interface,
        "FI_TCP_IFACE": interface,
        "FI_SOCKETS_IFACE": interface,
    }
    if not rdma and interface != _LOOPBACK:
        # UCX takes no loopback for a way to another node, not even of the same machine
        found["UCX_NET_DEVICES"] = interface
    return found


def _of_jax(document: launch.Launch, rank: int, local: int) -> dict[str, str]:
    """What `jax.distributed.initialize()` reads without arguments.

    JAX takes the coordinator from its own variable, but the number of processes and the place
    among them only from those of a cluster that it knows: Slurm's are plain numbers.
    """
    found = {
        "JAX_COORDINATOR_ADDRESS": f"{_bracketed(document.addresses[0])}:{document.port}",
        "SLURM_JOB_ID": document.attempt.partition("/")[0].partition(".")[0],
        "SLURM_STEP_NODELIST": document.addresses[0],
        "SLURM_STEP_NUM_NODES": str(document.nodes),
        "SLURM_NTASKS": str(document.nodes * document.ranks),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local),
    }
    gpus = int(document.env.get(names.GPUS, "0"))
    if gpus:
        # else JAX gives every process one device, whatever there is
        each = max(1, gpus // document.ranks)
        first = local * each
        found["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, range(first, first + each)))
    return {name: document.env.get(name, value) for name, value in found.items()}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


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
