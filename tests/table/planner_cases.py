"""Cases of the planner as YAML: a world, and what the plan must say about each job.

A file is a list of cases. Nodes, held parts and jobs take the arguments of `tests.planner_worlds`.
starts: by job `node`, or `node:0,1` with its devices, or a list of these. waits: by job what its
reason must be, as far as it is said. A job that stands in neither is an error in the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.planner_worlds import GIB, World, ask, node
from zenkei.model.cluster import NodePart, NodeState
from zenkei.model.ids import JobId
from zenkei.model.resources import DeviceShare
from zenkei.scheduler import HeldPart, Plan, Reason, Start

FOLDER = Path(__file__).parent / "planner"
KEYS = {
    "title", "nodes", "held", "jobs", "starts", "waits", "paused", "now_s", "next_s",
    "max_starts", "more",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    title: str
    world: World
    names: dict[JobId, str]
    now_us: int
    max_starts: int
    starts: dict[str, list[str]]
    waits: dict[str, dict[str, str]]
    more: bool
    next_us: int | None


def load_cases(name: str) -> list[Case]:
    cases = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return [_case(case) for case in cases]


def _case(raw: dict[str, Any]) -> Case:
    assert set(raw) <= KEYS, f"{raw['title']}: unknown keys {set(raw) - KEYS}"
    world = World(*(_node(one) for one in raw["nodes"]))
    world.paused = raw.get("paused", "")
    for number, part in enumerate(raw.get("held", ())):
        world.hold(_held(number, part))
    names = {_submit(world, job): job["name"] for job in raw["jobs"]}
    starts = {k: v if isinstance(v, list) else [v] for k, v in raw.get("starts", {}).items()}
    waits = raw.get("waits", {})
    assert sorted([*starts, *waits]) == sorted(names.values()), (
        f"{raw['title']}: say it of each job"
    )
    return Case(
        title=raw["title"],
        world=world,
        names=names,
        now_us=_us(raw.get("now_s", 0)),
        max_starts=raw.get("max_starts", 256),
        starts=starts,
        waits=waits,
        more=raw.get("more", False),
        next_us=_us(raw["next_s"]) if "next_s" in raw else None,
    )


def _us(seconds: float) -> int:
    return int(seconds * 1e6)


def _node(raw: dict[str, Any]) -> Any:
    state, blocked = NodeState(raw.get("state", "ready")), tuple(raw.get("blocked", ()))
    return node(**{**raw, "state": state, "blocked": blocked})


def _held(number: int, raw: dict[str, Any]) -> HeldPart:
    milli = round(raw.get("share", 1) * 1000)
    return HeldPart(
        JobId(1_000 + number).key,
        raw["node"],
        raw.get("cpus", 0) * 1000,
        raw.get("memory_gib", 0) * GIB,
        0,
        tuple(DeviceShare(index, milli) for index in raw.get("gpus", ())),
    )


def _submit(world: World, raw: dict[str, Any]) -> JobId:
    asked = dict(raw)
    del asked["name"]
    priority, not_before_us = asked.pop("priority", 0), _us(asked.pop("not_before_s", 0))
    constraints: dict[str, Any] = {
        key: tuple(value) for key, value in asked.pop("constraints", {}).items()
    }
    for key in ("gpu_type", "avoid", "prefer"):
        asked[key] = tuple(asked.get(key, ()))
    wanted = ask(**asked | constraints)
    return world.submit(wanted, priority=priority, not_before_us=not_before_us)


# -- what a plan says, in the words of a case ----------------------------------------------------
def said_starts(case: Case, plan: Plan) -> dict[str, list[str]]:
    """Devices are said where the case says them."""
    starts = [d for d in plan.decisions if isinstance(d, Start)]
    return {
        case.names[start.job]: [
            _place(part, exact=":" in "".join(case.starts.get(case.names[start.job], ())))
            for part in start.parts
        ]
        for start in starts
    }


def _place(part: NodePart, *, exact: bool) -> str:
    devices = ",".join(str(share.index) for share in part.devices)
    return f"{part.node}:{devices}" if exact else part.node


def said_waits(case: Case, plan: Plan) -> dict[str, dict[str, str]]:
    """Of each job that waits, what the case asks about."""
    said = {}
    for job, name in case.names.items():
        reason = plan.reason(job)
        if reason is not None:
            said[name] = {key: _said(reason, key) for key in case.waits.get(name, {"code": ""})}
    return said


def _said(reason: Reason, key: str) -> str:
    return str(getattr(reason, key))
