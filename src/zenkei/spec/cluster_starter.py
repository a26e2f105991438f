"""A first cluster.yaml from the nodes there are: `zenkei cluster init`. Pure text.

What it writes changes nothing: one open queue `default`, everything else commented.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zenkei.spec.quantities import show_bytes


class Machine(NamedTuple):
    """One node: cpus in whole cores, gpus by model."""

    name: str
    cpus: int
    memory_bytes: int
    gpus: dict[str, int]


def starter(machines: Sequence[Machine]) -> str:
    """The text of the file."""
    gpus: dict[str, int] = {}
    for machine in machines:
        for kind, number in machine.gpus.items():
            gpus[kind] = gpus.get(kind, 0) + number
    total = sum(gpus.values())
    cpus = sum(machine.cpus for machine in machines)
    memory = show_bytes(sum(m.memory_bytes for m in machines) >> 30 << 30)
    have = ", ".join(f"{number} x {kind}" for kind, number in sorted(gpus.items())) or "no GPUs"
    part = f"gpus: {max(1, total // 2)}" if total else f"cpus: {max(1, cpus // 2)}"
    small = f"gpus: {max(1, total // 4)}" if total else f"cpus: {max(1, cpus // 4)}"
    first = machines[0].name if machines else "node-1"
    nodes = "1 node" if len(machines) == 1 else f"{len(machines)} nodes"
    return _TEXT.format(
        nodes=nodes, have=have, cpus=cpus, memory=memory, part=part, small=small, first=first
    )


_TEXT = """\
# What the cluster is for: `zenkei cluster apply FILE --diff` shows what would change.
# There are {nodes}: {have}, {cpus} cores, {memory} of memory.
version: 1
# timezone: Asia/Tokyo   # of times that name no zone; UTC otherwise

# Jobs wait in the innermost queues. Without `quota` nothing is guaranteed to a queue, and it
# borrows what is free; without `cap` it may have everything.
queues:
  default: {{}}
  # vision:
  #   quota: {{{part}}}     # guaranteed: whoever borrows it gives it back
  #   weight: 2            # of its part of what is borrowed
  #   queues:
  #     train: {{cap: {{{part}}}}}
  #     debug: {{priority: 10, user_cap: {{{small}}}}}

# Where nodes stand, for jobs that want them close together, and labels for `constraints`.
# topology: {{levels: [rack]}}
# nodes:
#   - match: {first}          # a name, or a pattern: n[01-16], gpu-*
#     topology: {{rack: r1}}
#     labels: {{disk: nvme}}

# Nodes that are set aside for a time; with `queues` or `users` only for those.
# reservations:
#   maintenance:
#     nodes: {first}
#     from: 2030-01-01 09:00
#     for: 8h
#     reason: new disks

# policy:
#   half_life: 7d          # after which past usage counts half
#   preempt: true          # running jobs give back what they borrow
#   backfill: true         # later jobs may pass a blocked gang that they do not delay
"""
