"""Rules that join the launcher with the command and the resources. Called by `build`.

A command that itself starts a launcher would be started once for every rank: jobs of that kind hang
or train alone, without an error. What is looked at is the first word of each simple command of a
shell text; a program that hides its launcher in a script is not found out.
"""

from __future__ import annotations

import re
from typing import Final

from zenkei.model.job import Launcher, ResourceRequest
from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.model.wording import count
from zenkei.spec.problems import Code, Reading
from zenkei.spec.shapes import Fields

_NAMES: Final = r"torchrun|mpirun|mpiexec|srun|horovodrun|deepspeed"
_MODULES: Final = r"torch\.distributed\.(?:run|launch)|accelerate\.commands\.launch"
_START: Final = r"(?:^|[\n;]|&&|\|\|)\s*(?:(?:exec|time|env|[A-Za-z_]\w*=\S*)\s+)*"
_STARTER: Final = re.compile(
    rf"{_START}(?:(?:\S*/)?(?P<name>{_NAMES}|accelerate\s+launch)(?=\s|$)"
    rf"|(?:\S*/)?python[\d.]*\s+(?:-\w+\s+)*?-m\s+(?P<module>{_MODULES})(?=\s|$))"
)
_OWN: Final = {
    "torchrun": Launcher.TORCHRUN,
    "torch.distributed.run": Launcher.TORCHRUN,
    "torch.distributed.launch": Launcher.TORCHRUN,
    "mpirun": Launcher.MPI,
    "mpiexec": Launcher.MPI,
}
_SCRIPT: Final = re.compile(r"\s*[\w./+-]+\.py(?=\s|$)")


def starter(command: str | tuple[str, ...]) -> str:
    """The launcher that a command starts itself, as it names it; empty if none is seen."""
    text = command if isinstance(command, str) else " ".join(command[:8])
    found = _STARTER.search(text)
    return "" if found is None else " ".join((found["name"] or found["module"]).split())


def with_python(command: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """A command of `torchrun`'s: `train.py` is run by Python, as torchrun itself has it."""
    if isinstance(command, str):
        return f"python {command.lstrip()}" if _SCRIPT.match(command) else command
    return ("python", *command) if command and command[0].endswith(".py") else command


def check(
    fields: Fields,
    command: str | tuple[str, ...],
    launcher: Launcher,
    asks: ResourceRequest,
    to: Reading,
) -> None:
    """Record what cannot be meant."""
    _check_starter(fields, command, launcher, asks, to)
    gpus, ranks = asks.node.gpu_count, asks.ranks
    whole = asks.node.gpu_milli == WHOLE_GPU_MILLI
    if launcher in (Launcher.TORCHRUN, Launcher.JAX) and whole and gpus % ranks:
        message = f"{count(gpus, 'GPU')} cannot be shared evenly by {count(ranks, 'rank')}"
        fitting = ", ".join(str(n) for n in range(1, gpus + 1) if gpus % n == 0)
        hint = f"`launcher: {launcher}` gives each rank its own: `ranks` can be {fitting}"
        resources: Fields = fields.get("resources")
        to.add(resources.at("ranks"), Code.CONFLICT, message, hint)


def _check_starter(
    fields: Fields,
    command: str | tuple[str, ...],
    launcher: Launcher,
    asks: ResourceRequest,
    to: Reading,
) -> None:
    name = starter(command)
    if not name or (launcher is Launcher.NONE and asks.ranks == 1):
        return
    if launcher is Launcher.NONE:
        message = f"each of the {asks.ranks} ranks of a node would start `{name}` once more"
        own = _OWN.get(name)
        hint = "leave `resources.ranks` out"
        hint += f", or write `launcher: {own}` and what `{name}` starts as `command`" if own else ""
    else:
        message = (
            f"`launcher: {launcher}` starts the ranks, and each would start `{name}` once more"
        )
        hint = (
            f"leave `{name}` and its options out of `command`: zenkei starts "
            f"{_processes(asks)} (`resources.nodes` times `resources.ranks`)"
        )
    to.add(fields.at("command"), Code.CONFLICT, message, hint)


def _processes(asks: ResourceRequest) -> str:
    most = count(asks.nodes * asks.ranks, "process", "processes")
    return f"{asks.least * asks.ranks} to {most}" if asks.least else most
