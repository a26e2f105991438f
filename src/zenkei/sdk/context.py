"""What a rank knows about itself, from the variables that its supervisor set."""

from __future__ import annotations

import os
from typing import Mapping, NamedTuple

from zenkei.protocol import names


class Context(NamedTuple):
    """job, attempt: ids as people type them; empty outside a job.

    rank of world_size over all nodes; local_rank of local_world_size on this node. seed: the same
    for all ranks. params: values of array and matrix. output_dir: files here become the result.
    """

    job: str = ""
    attempt: str = ""
    node: str = ""
    node_rank: int = 0
    nodes: int = 1
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    seed: int = 0
    deterministic: bool = False
    params: Mapping[str, str] = {}
    output_dir: str = ""
    metrics_dir: str = ""

    @property
    def in_job(self) -> bool:
        """False if the program was started by hand."""
        return bool(self.job)


def context(environ: Mapping[str, str] | None = None) -> Context:
    """This process's place in its job. Cheap: reads variables only.

    Under `mpiexec` the ranks are numbered by MPI, so its variables go before the supervisor's.
    """
    env = os.environ if environ is None else environ
    return Context(
        job=env.get(names.JOB, ""),
        attempt=env.get(names.ATTEMPT, ""),
        node=env.get(names.NODE, ""),
        node_rank=_number(env, 0, names.NODE_RANK),
        nodes=_number(env, 1, names.NODES),
        rank=_number(env, 0, "OMPI_COMM_WORLD_RANK", "PMI_RANK", names.RANK),
        world_size=_number(env, 1, "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", names.WORLD_SIZE),
        local_rank=_number(
            env, 0, "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", names.LOCAL_RANK
        ),
        local_world_size=_number(
            env, 1, "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", names.LOCAL_WORLD_SIZE
        ),
        seed=_number(env, 0, names.SEED),
        deterministic=env.get(names.DETERMINISTIC, "") == "1",
        params=_params(env),
        output_dir=env.get(names.OUTPUT_DIR, ""),
        metrics_dir=env.get(names.METRICS_DIR, ""),
    )


def output_dir() -> str:
    """Where to write files that shall be kept; `outputs` below the current directory by hand."""
    path = context().output_dir or os.path.abspath("outputs")
    os.makedirs(path, exist_ok=True)
    return path


def _params(env: Mapping[str, str]) -> dict[str, str]:
    prefix = names.PARAM_PREFIX
    return {key[len(prefix) :]: value for key, value in env.items() if key.startswith(prefix)}


def _number(env: Mapping[str, str], default: int, *variables: str) -> int:
    for variable in variables:
        text = env.get(variable, "")
        if text.isdigit():
            return int(text)
    return default
