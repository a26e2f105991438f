"""A run that can be run again: jobs, nodes and setting as one JSON document.

Written by `running` when a check fails, read by `zenkei sim replay`. Pure but for the form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from zenkei.model.cluster import Node
from zenkei.model.errors import InvalidInput
from zenkei.model.resources import Capacity, Device
from zenkei.sim.faults import FaultRates
from zenkei.sim.replaying import Costs
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import CLUSTER, TraceJob
from zenkei.sim.traceworld import Setting

VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """All that a run depends on."""

    jobs: tuple[TraceJob, ...]
    nodes: tuple[Node, ...]
    setting: Setting

    def with_jobs(self, jobs: Iterable[TraceJob]) -> Script:
        return replace(self, jobs=tuple(jobs))


def dump(script: Script) -> str:
    setting = script.setting
    document = {
        "simulation": VERSION,
        "seed": setting.seed,
        "check": setting.check,
        "round_s": setting.round_s,
        "costs": asdict(setting.costs),
        "faults": asdict(setting.rates),
        "policy": setting.policy.decode(),
        "nodes": [_node(node) for node in script.nodes],
        "jobs": [job._asdict() for job in script.jobs],
    }
    return json.dumps(document, indent=1)


def load(text: str, file: str) -> Script:
    """Raises InvalidInput for what `dump` of this version did not write."""
    try:
        document = json.loads(text)
        if document["simulation"] != VERSION:
            raise ValueError(f"it is of version {document['simulation']}")
        setting = Setting(
            policy=str(document["policy"]).encode(),
            file=file,
            round_s=float(document["round_s"]),
            costs=Costs(**document["costs"]),
            rates=FaultRates(**document["faults"]),
            seed=int(document["seed"]),
            check=Check(document["check"]),
        )
        jobs = (TraceJob(**{**job, "kinds": tuple(job["kinds"])}) for job in document["jobs"])
        nodes = tuple(_read_node(node) for node in document["nodes"])
        return Script(jobs=tuple(jobs), nodes=nodes, setting=setting)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            "bad-simulation",
            f"`{file}` is no simulation: {error}",
            hint="`zenkei sim run` writes one when a check fails",
        ) from error


def _node(node: Node) -> dict[str, Any]:
    capacity = node.capacity
    return {
        "name": node.name,
        "labels": node.labels,
        "cpu_milli": capacity.cpu_milli,
        "memory_bytes": capacity.memory_bytes,
        "tmp_bytes": capacity.tmp_bytes,
        "gpus": [device.kind for device in capacity.devices],
    }


def _read_node(data: dict[str, Any]) -> Node:
    devices = tuple(Device(index=i, kind=str(kind)) for i, kind in enumerate(data["gpus"]))
    return Node(
        name=str(data["name"]),
        cluster=CLUSTER,
        capacity=Capacity(
            cpu_milli=int(data["cpu_milli"]),
            memory_bytes=int(data["memory_bytes"]),
            tmp_bytes=int(data["tmp_bytes"]),
            devices=devices,
        ),
        labels={str(key): str(value) for key, value in data["labels"].items()},
        boot_id=f"boot-{data['name']}",
        virtual=True,
    )
