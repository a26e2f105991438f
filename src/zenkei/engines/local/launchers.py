"""Whether what a job's launcher starts is there, before the job is given anything.

Called by the engine while a job is prepared. Looks where the agent will look: in the job's
environment and along the PATH that its ranks will have. What only a run would show is not refused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from zenkei import spec as specs
from zenkei.model.errors import NotAvailable
from zenkei.model.job import JobSpec, Launcher
from zenkei.protocol import launchers


def refuse_missing(
    spec: JobSpec, params: Mapping[str, str], *, env_dir: str, search_path: str
) -> None:
    """env_dir: of the job's environment, or empty. search_path: PATH, unless the job has its own.

    Raises NotAvailable with what to add.
    """
    own = specs.variables(spec, params)
    where = "the job's environment" if env_dir else "this machine"
    path = own.get("PATH", search_path)
    brings_modules = bool({"PATH", "PYTHONPATH"} & own.keys())
    if spec.launcher is Launcher.MPI and not any(launchers.find_mpi(path)):
        text = f"{where} has neither Open MPI 5 nor MPICH"
        raise _missing(spec.launcher, text, "openmpi", "mpich")
    if spec.launcher is Launcher.TORCHRUN and not (brings_modules or _has("torch", env_dir)):
        raise _missing(spec.launcher, f"{where} has no PyTorch", "torch")
    if spec.launcher is Launcher.JAX and not (brings_modules or _has("jax", env_dir)):
        raise _missing(spec.launcher, f"{where} has no JAX", "jax")


def _has(name: str, env_dir: str) -> bool:
    """Whether a module is in an environment, or beside the interpreter under zenkei's own."""
    if env_dir:
        return any(Path(env_dir).glob(f"lib/python*/site-packages/{name}/__init__.py"))
    if sys.prefix == sys.base_prefix:
        return find_spec(name) is not None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    places = (
        f"{sys.base_prefix}/lib/python{version}/site-packages",
        f"/usr/local/lib/python{version}/dist-packages",
        "/usr/lib/python3/dist-packages",
    )
    return any(Path(place, name, "__init__.py").exists() for place in places)


def _missing(launcher: Launcher, text: str, *packages: str) -> NotAvailable:
    names = " or ".join(f"`{name}`" for name in packages)
    return NotAvailable(
        "launcher-missing",
        f"launcher `{launcher}` cannot start: {text}",
        hint=f"add {names} to `env.packages`",
        details={"launcher": str(launcher), "packages": list(packages)},
    )
