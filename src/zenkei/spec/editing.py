"""A spec with some of its keys changed: `zenkei edit JOB`. Called by `control.editing`.

Only what the planner weighs can be changed: environment, code and command of a job stay what they
were, so that what is prepared for it still serves. Values are as on the command line and go through
the same table and the same rules as a job file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec, Launcher
from zenkei.spec import limits
from zenkei.spec.build import build
from zenkei.spec.keys import FILE, HOMES
from zenkei.spec.problems import Reading, listing, show
from zenkei.spec.quantities import show_bytes, show_ms
from zenkei.spec.tree import from_values

Values = dict[str, Any]

KEYS: Final = ("queue", "priority", "time_limit", "topology")
RESOURCES: Final = ("nodes", "ranks", "gpus", "gpu_type", "cpus", "memory", "tmp")
ALL: Final = (*KEYS, *(f"resources.{name}" for name in RESOURCES))
"""Keys that can be changed while a job waits."""


def edited(spec: JobSpec, changes: Mapping[str, object]) -> JobSpec:
    """`spec` with `changes`, nested as in a job file; None takes a key away.

    Raises InvalidInput.
    """
    flat = _flat(changes)
    strange = [key for key in flat if key not in ALL]
    if strange:
        raise InvalidInput(
            "not-editable",
            f"`{show(strange[0])}` of a job cannot be changed",
            hint=f"what can: {listing(ALL, len(ALL))}; for all else submit it anew",
        )
    wanted = wishes(spec)
    wanted.update(flat)
    if "resources.ranks" not in flat and _by_default(spec):
        del wanted["resources.ranks"]
    to = Reading("command line", HOMES)
    fields = FILE.read(from_values(_nested(wanted, spec.launcher)), "", to)
    made = build(fields, to, None) if fields is not None else spec
    to.finish()
    return replace(
        spec,
        queue=made.queue,
        priority=made.priority,
        time_limit_s=made.time_limit_s,
        topology=made.topology,
        resources=made.resources,
    )


def changes(before: JobSpec, after: JobSpec) -> tuple[str, ...]:
    """What is different, each for people: `resources.gpus: 1 to 4`."""
    old, new = wishes(before), wishes(after)
    told = (
        f"{key}: {_told(old.get(key))} to {_told(new.get(key))}"
        for key in ALL
        if old.get(key) != new.get(key)
    )
    return tuple(told)


def wishes(spec: JobSpec) -> Values:
    """The keys that can be changed, as a job file would have them; absent where it says nothing."""
    asks, node = spec.resources, spec.resources.node
    nodes: object = {"min": asks.least, "max": asks.nodes} if asks.least else asks.nodes
    gpus = node.gpu_count * node.gpu_milli
    level = {"required" if spec.topology.required else "preferred": spec.topology.level}
    values: Values = {
        "queue": spec.queue,
        "priority": spec.priority,
        "time_limit": None if spec.time_limit_s is None else _time(spec.time_limit_s),
        "topology": level if spec.topology.level else None,
        "resources.nodes": nodes,
        "resources.ranks": asks.ranks,
        "resources.gpus": _decimal(gpus) if gpus else None,
        "resources.gpu_type": list(node.gpu_kinds) or None,
        "resources.cpus": _decimal(node.cpu_milli),
        "resources.memory": show_bytes(node.memory_bytes) if node.memory_bytes else None,
        "resources.tmp": show_bytes(node.tmp_bytes) if node.tmp_bytes else None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _decimal(milli: int) -> str:
    whole, rest = divmod(milli, 1000)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)


def _time(seconds: float) -> str:
    return show_ms(round(seconds * 1000))


def _by_default(spec: JobSpec) -> bool:
    """Whether it has as many ranks as it would have without saying so."""
    node = spec.resources.node
    per_gpu = node.gpu_count if node.gpu_milli == 1000 else 0
    if spec.launcher not in (Launcher.MPI, Launcher.TORCHRUN):
        per_gpu = 0
    return spec.resources.ranks == max(1, min(per_gpu, limits.RANKS))


def _flat(values: Mapping[str, object]) -> Values:
    found: Values = {}
    for key, value in values.items():
        if key == "resources" and isinstance(value, Mapping):
            found |= {f"resources.{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found


def _nested(wanted: Values, launcher: Launcher) -> Values:
    """As a job file. Its own command is not looked at again: it is what it was."""
    file: Values = {"name": "job", "command": ["true"], "launcher": str(launcher)}
    for key, value in wanted.items():
        section, _, name = key.rpartition(".")
        if value is not None:
            (file.setdefault(section, {}) if section else file)[name] = value
    return file


def _told(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        numbers = all(isinstance(inner, int) for inner in value.values())
        texts = (
            [str(i) for i in value.values()]
            if numbers
            else [f"{i} ({k})" for k, i in value.items()]
        )
        return "-".join(texts)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
