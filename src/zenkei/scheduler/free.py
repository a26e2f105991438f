"""What is free on a node, and whether a part may go there: one text for planner and applier.

Called by `planner` with what it believes, and by `control.apply` inside the transaction with what
is committed. Both get the same devices from the same facts, so a plan that is refused was stale,
never wrong. Pure. Cost: `free_of` O(parts on the node), `check` O(devices of the node).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from zenkei.model.cluster import Allocation, Node, NodeState
from zenkei.model.resources import DeviceShare, Free, Misfit, Request, fits, matches


class HeldPart(NamedTuple):
    """What one job holds on one node. job: its id's key. devices: (index, milli) pairs."""

    job: int
    node: str
    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int
    devices: tuple[DeviceShare, ...] = ()


def held_parts(allocation: Allocation) -> tuple[HeldPart, ...]:
    """The parts of an allocation, in rank order."""
    job = allocation.attempt.job.key
    return tuple(
        HeldPart(
            job,
            part.node,
            part.request.cpu_milli,
            part.request.memory_bytes,
            part.request.tmp_bytes,
            part.devices,
        )
        for part in allocation.parts
    )


def free_of(node: Node, allocations: Iterable[Allocation]) -> Free:
    """What `allocations` leave of `node`; parts on other nodes do not count."""
    return left_of(
        node,
        (part for held in allocations for part in held_parts(held) if part.node == node.name),
    )


def left_of(node: Node, parts: Iterable[HeldPart]) -> Free:
    """What `parts`, all on this node, leave of it.

    A blocked device has nothing left. A device that is held but no longer there is passed over, and
    CPU or memory may be below zero: a node that shrank takes nothing until its jobs have ended.
    """
    free = Free.of(node.capacity)
    gpus = free.gpu_milli
    for part in parts:
        free.cpu_milli -= part.cpu_milli
        free.memory_bytes -= part.memory_bytes
        free.tmp_bytes -= part.tmp_bytes
        for index, milli in part.devices:
            if index < len(gpus):
                gpus[index] -= milli
    for index in node.blocked:
        if index < len(gpus):
            gpus[index] = 0
    return free


def check(
    node: Node,
    free: Free,
    request: Request,
    constraints: Mapping[str, tuple[str, ...]],
    avoid: Collection[str] = (),
    on: Sequence[DeviceShare] = (),
) -> tuple[DeviceShare, ...] | Misfit:
    """The devices that a part with `request` gets on `node` where `free` is left, or why none.

    on: those very devices; empty: the best ones.
    """
    if node.state is not NodeState.READY:
        return Misfit.STATE
    if node.name in avoid:
        return Misfit.AVOIDED
    if not matches(node.labels, constraints):
        return Misfit.CONSTRAINT
    return fits(node.capacity, free, request, on)
