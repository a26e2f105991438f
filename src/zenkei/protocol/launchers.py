"""What a launcher needs to find: one text for the engine and the agent.

The engine refuses a job before it has devices, the agent starts it; both look here, at files only:
nothing of an environment is run.
"""

from __future__ import annotations

import os
import shutil

OPEN_MPI = "openmpi"
MPICH = "mpich"


def find_mpi(path: str) -> tuple[str, str]:
    """Kind of MPI and its `mpiexec`, by looking along `path`; two empty texts if none is known."""
    program = shutil.which("mpiexec", path=path)
    folder = os.path.dirname(program) if program else ""
    has = {
        name: os.access(os.path.join(folder, name), os.X_OK)
        for name in ("prted", "prterun", "hydra_pmi_proxy")
    }
    if program and has["prted"] and has["prterun"]:
        return OPEN_MPI, program
    if program and has["hydra_pmi_proxy"]:
        return MPICH, program
    return "", ""
